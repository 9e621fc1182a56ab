"use strict";
// A contact sheet: a page of pictures at a time; each is decoded and coloured when it is shown, and forgotten after.
(() => {
  const sheet = document.currentScript.closest(".sheet");
  const part = (kind) => [...sheet.querySelectorAll(`script[data-part="${kind}"]`)];
  const facts = JSON.parse(part("facts")[0].textContent);
  const chunks = part("cells");
  const read = new Map(); // the chunks in sight
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const colours = bytes(facts.colours);
  const form = sheet.querySelector("form");
  const grid = sheet.querySelector(".pictures");
  const count = sheet.querySelector("output");
  const place = sheet.querySelector(".place");
  const every = facts.group.map((_, number) => number);
  let found = every;
  let at = 0;
  let turn = 0; // a page that is left before it is drawn is not drawn

  const cell = (number) => {
    const chunk = Math.floor(number / facts.chunk);
    if (!read.has(chunk)) read.set(chunk, JSON.parse(chunks[chunk].textContent));
    return read.get(chunk)[number % facts.chunk];
  };

  const between = (value, low, high) => value < 0 ? low === 0 && high === 1000 : value >= low && value <= high;
  const narrow = () => {
    const asked = Object.fromEntries(new FormData(form));
    const bounds = (name) => [Math.round(asked[`${name}-from`] * 10), Math.round(asked[`${name}-to`] * 10)];
    const confidence = bounds("confidence");
    const spread = bounds("spread");
    found = every.filter((n) =>
      (asked.group === "" || facts.group[n] === Number(asked.group)) &&
      (asked.verdict === "" || facts.verdict[n] === Number(asked.verdict)) &&
      (asked.right === "" || facts.right[n] === Number(asked.right)) &&
      between(facts.confidence[n], ...confidence) && between(facts.spread[n], ...spread));
    const [by, sign] = asked.order.split(" ");
    if (by) found.sort((a, b) => sign * (facts[by][a] - facts[by][b]) || a - b);
    at = 0;
    show();
  };

  const show = () => {
    const pages = Math.max(Math.ceil(found.length / facts.page), 1);
    const numbers = found.slice(at * facts.page, (at + 1) * facts.page);
    const total = every.length.toLocaleString("en");
    count.textContent = found.length === every.length ? `${total} pictures` : `${found.length.toLocaleString("en")} of ${total} pictures`;
    place.textContent = `page ${at + 1} of ${pages}`;
    sheet.querySelector("[data-page='-1']").disabled = at === 0;
    sheet.querySelector("[data-page='1']").disabled = at === pages - 1;
    const wanted = new Set(numbers.map((number) => Math.floor(number / facts.chunk)));
    for (const chunk of read.keys()) if (!wanted.has(chunk)) read.delete(chunk);
    turn += 1;
    grid.replaceChildren(...numbers.map(figure));
  };

  const figure = (number) => {
    const [photo, , , , caption, alt] = cell(number);
    const whole = document.createElement("figure");
    const words = document.createElement("figcaption");
    whole.className = `picture${facts.right[number] === 0 ? " wrong" : ""}`;
    words.textContent = caption;
    if (photo) {
      const button = document.createElement("button");
      const image = document.createElement("img");
      button.type = "button";
      button.className = "enlarge";
      image.alt = alt;
      button.append(image);
      whole.append(button);
      draw(image, number, turn);
    } else {
      const none = document.createElement("p");
      none.className = "none";
      none.textContent = alt;
      whole.append(none);
    }
    whole.append(words);
    return whole;
  };

  const draw = async (image, number, mine) => {
    const [photo, seen, columns, map] = cell(number);
    const plain = `data:image/jpeg;base64,${photo}`;
    if (!columns || !form.elements.maps.checked) {
      image.src = plain;
      return;
    }
    const loaded = new Image();
    loaded.src = plain;
    await loaded.decode();
    if (mine !== turn) return;
    const canvas = document.createElement("canvas");
    const { naturalWidth: width, naturalHeight: height } = loaded;
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(loaded, 0, 0);
    const pixels = context.getImageData(0, 0, width, height);
    lay(pixels, bytes(map), columns, seen);
    context.putImageData(pixels, 0, 0);
    image.src = canvas.toDataURL("image/jpeg", 0.85);
  };

  // Where a pixel lies among the cells along one side, as limelight.heatmap.place has it: the cell before it, and how
  // much of the next one it takes; -1 where the network did not look.
  const places = (pixels, cells, from, to) => Array.from({ length: pixels }, (_, pixel) => {
    const position = (((pixel + 0.5) / pixels - from) / (to - from)) * cells - 0.5;
    if (position < -0.5 || position > cells - 0.5) return [-1, 0];
    const held = Math.min(Math.max(position, 0), cells - 1);
    const before = Math.min(Math.floor(held), Math.max(cells - 2, 0));
    return [before, cells > 1 ? held - before : 0];
  });

  // As limelight.render paints: grey and then coloured as evidence grows, the photograph itself where there is none; and
  // a veil over what the network did not see.
  const lay = ({ data, width, height }, map, columns, seen) => {
    const across = places(width, columns, seen[0], seen[2]);
    const down = places(height, map.length / columns, seen[1], seen[3]);
    const next = columns > 1 ? 1 : 0;
    const below = map.length > columns ? columns : 0;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const [column, right] = across[x];
        const [row, lower] = down[y];
        const pixel = (y * width + x) * 4;
        const grey = 0.299 * data[pixel] + 0.587 * data[pixel + 1] + 0.114 * data[pixel + 2];
        if (column < 0 || row < 0) {
          facts.veil.forEach((shade, channel) => { data[pixel + channel] = grey * 0.4 + shade * 0.6; });
          continue;
        }
        const corner = row * columns + column;
        const upper = map[corner] * (1 - right) + map[corner + next] * right;
        const under = map[corner + below] * (1 - right) + map[corner + below + next] * right;
        const heat = upper * (1 - lower) + under * lower;
        const fade = Math.min(heat / 255 / facts.full, 1);
        const weight = fade * fade * (3 - 2 * fade);
        const colour = Math.round(heat) * 3;
        for (let channel = 0; channel < 3; channel++) {
          const coloured = grey + (colours[colour + channel] - grey) * facts.alpha;
          data[pixel + channel] += (coloured - data[pixel + channel]) * weight;
        }
      }
    }
  };

  const options = (name, names, values) => {
    const select = form.elements[name];
    const counts = names.map(() => 0);
    for (const value of values) counts[value] += 1;
    names.forEach((text, number) => select.add(new Option(`${text || "none"} (${counts[number]})`, number)));
  };
  options("group", facts.groups, facts.group);
  options("verdict", facts.verdicts, facts.verdict);
  form.elements.verdict.closest("label").hidden = facts.verdicts.every((name) => name === "");
  form.elements.right.closest("label").hidden = facts.right.every((value) => value < 0);
  form.addEventListener("input", (event) => event.target.name === "maps" ? show() : narrow());
  form.addEventListener("reset", () => setTimeout(narrow));
  form.addEventListener("submit", (event) => event.preventDefault());
  sheet.addEventListener("click", (event) => {
    const step = event.target.closest("[data-page]");
    if (!step) return;
    at += Number(step.dataset.page);
    show();
    if (step.closest(".pager.last")) form.scrollIntoView();
  });
  form.hidden = false;
  narrow();
})();
