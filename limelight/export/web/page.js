// The page: pixels out of a picture, an answer from the worker, an overlay on the canvas.

const FULL_WEIGHT = 0.5; // strength from which a pixel is coloured in full
const SHOWN = 5; // classes listed
const VEIL = [88, 88, 92]; // over what the network did not see

const at = (id) => document.getElementById(id);
const [canvas, camera, status, list] = ["picture", "camera", "status", "classes"].map(at);
const facts = await (await fetch("facts.json")).json();
const colours = Uint8Array.from(facts.colours.match(/../g), (pair) => parseInt(pair, 16));
const worker = new Worker("worker.js", { type: "module" });
const waiting = new Map();
let count = 0;
let seen = null; // {bitmap, pixels, width, height}
let answer = null;
let stream = null;

const ready = ask({ load: true });
worker.onmessage = ({ data: { id, error, ...result } }) => {
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  error ? reject(new Error(error)) : resolve(result);
};

function ask(message, transfer = []) {
  return new Promise((resolve, reject) => {
    waiting.set(++count, { resolve, reject });
    worker.postMessage({ id: count, ...message }, transfer);
  });
}

/** RGB bytes of anything that can be drawn, at its own size, with what is transparent on white. */
function pixelsOf(source, width, height) {
  const drawn = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  drawn.fillStyle = "white";
  drawn.fillRect(0, 0, width, height);
  drawn.drawImage(source, 0, 0, width, height);
  const { data } = drawn.getImageData(0, 0, width, height);
  const rgb = new Uint8Array(width * height * 3);
  for (let i = 0, j = 0; i < data.length; i += 4) {
    rgb[j++] = data[i];
    rgb[j++] = data[i + 1];
    rgb[j++] = data[i + 2];
  }
  return rgb;
}

/** Explain pixels; `index` is a class, -1 the predicted one. Gives scores, classes, and the map, row by row. */
async function explain(pixels, width, height, index = -1) {
  const copy = pixels.slice();
  return ask({ pixels: copy, width, height, index }, [copy.buffer]);
}

/** Explain a picture file as it is dropped. */
async function explainFile(file, index = -1) {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  seen = { bitmap, width, height, pixels: pixelsOf(bitmap, width, height) };
  return choose(index);
}

async function choose(index) {
  const { pixels, width, height } = seen;
  answer = await explain(pixels, width, height, index);
  paint();
  tell();
  return answer;
}

/** The picture turning grey and then coloured as evidence grows, and veiled where the network did not look. */
function paint() {
  const { width, height, pixels } = seen;
  const alpha = Number(at("strength").value);
  const shown = new ImageData(width, height);
  const [left, top, right, bottom] = answer.box.map((edge) => Math.ceil(edge - 0.5));
  for (let i = 0; i < width * height; i++) {
    const [x, y] = [i % width, Math.floor(i / width)];
    const inside = x >= left && x < right && y >= top && y < bottom;
    const value = answer.map[i];
    const fade = Math.min(value / FULL_WEIGHT, 1);
    const weight = fade * fade * (3 - 2 * fade);
    const place = 3 * Math.round(value * (colours.length / 3 - 1));
    const grey = 0.299 * pixels[3 * i] + 0.587 * pixels[3 * i + 1] + 0.114 * pixels[3 * i + 2];
    for (let c = 0; c < 3; c++) {
      const coloured = grey + alpha * (colours[place + c] - grey);
      if (!inside) shown.data[4 * i + c] = 0.4 * grey + 0.6 * VEIL[c];
      else shown.data[4 * i + c] = pixels[3 * i + c] + weight * Math.min(1, alpha * 4) * (coloured - pixels[3 * i + c]);
    }
    shown.data[4 * i + 3] = 255;
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(shown, 0, 0);
  canvas.hidden = false;
  at("drop").hidden = true;
}

function probabilities(scores) {
  if (scores.length === 1) return [1 / (1 + Math.exp(-scores[0]))];
  const top = scores.reduce((a, b) => Math.max(a, b));
  const powers = Array.from(scores, (score) => Math.exp(score - top));
  const total = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / total);
}

const label = (index) => facts.labels?.[index] ?? `class ${index}`;

/** The most probable classes as buttons, and what the map is about. */
function tell() {
  const chances = probabilities(answer.scores);
  const order = chances.map((_, index) => index).sort((a, b) => chances[b] - chances[a]);
  const best = order.slice(0, SHOWN);
  const shown = answer.classes[0];
  if (!best.includes(shown)) best.push(shown);
  list.replaceChildren(
    ...best.map((index) => {
      const button = document.createElement("button");
      const [name, chance, bar] = ["span", "span", "progress"].map((tag) => document.createElement(tag));
      name.textContent = label(index);
      chance.textContent = `${(100 * chances[index]).toFixed(1)} %`;
      bar.value = chances[index];
      button.append(name, chance, bar);
      button.type = "button";
      button.disabled = !facts.any_class;
      button.setAttribute("aria-pressed", index === shown);
      button.onclick = () => trying(() => choose(index));
      const item = document.createElement("li");
      item.append(button);
      return item;
    }),
  );
  const peak = answer.map.reduce((a, b) => Math.max(a, b), 0);
  say(peak > 0 ? `Where it sees “${label(shown)}” (${answer.milliseconds.toFixed(0)} ms)` : `It has no evidence for “${label(shown)}” at this layer.`);
}

function say(text, bad = false) {
  status.textContent = text;
  status.classList.toggle("bad", bad);
}

async function trying(work) {
  try {
    return await work();
  } catch (error) {
    say(error.message, true);
  }
}

async function open(file) {
  if (!file) return;
  await halt();
  say("Looking …");
  await trying(async () => {
    await ready;
    await explainFile(file).catch((error) => {
      throw error instanceof DOMException ? new Error(`${file.name || "That"} is no picture this browser can read.`) : error;
    });
  });
}

async function halt() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  at("live").setAttribute("aria-pressed", "false");
}

async function live() {
  if (stream) return halt();
  await trying(async () => {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } } }).catch(() => {
      throw new Error("No camera can be used here.");
    });
    at("live").setAttribute("aria-pressed", "true");
    camera.srcObject = stream;
    await camera.play();
    await ready;
    while (stream) {
      const [width, height] = [camera.videoWidth, camera.videoHeight];
      seen = { width, height, pixels: pixelsOf(camera, width, height) };
      await choose(-1);
    }
  });
}

at("file").onchange = ({ target }) => open(target.files[0]);
at("drop").onkeydown = ({ key }) => key === "Enter" && at("file").click();
at("other").onclick = () => at("file").click();
at("live").onclick = live;
at("strength").oninput = () => answer && paint();
document.onpaste = ({ clipboardData }) => open(clipboardData.files[0]);
document.ondragover = (event) => (event.preventDefault(), document.body.classList.add("over"));
document.ondragleave = () => document.body.classList.remove("over");
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  open(event.dataTransfer.files[0]);
};

at("what").textContent = `${facts.model} (weights: ${facts.weights}), explained by ${facts.method}.`;
const told = { Network: facts.model, Weights: facts.weights, "Licence of the weights": facts.licence ?? "not known", Method: `${facts.method}: ${facts.source}`, Layer: facts.layers.join(", ") };
at("facts").append(
  ...Object.entries(told).flatMap(([name, value]) =>
    [["dt", name], ["dd", value]].map(([tag, text]) => Object.assign(document.createElement(tag), { textContent: text })),
  ),
);
navigator.serviceWorker?.register("offline.js"); // so that it opens again without a connection
await trying(async () => {
  await ready;
  say("Ready.");
  document.body.dataset.ready = "yes";
});
window.limelight = { explain, explainFile, facts }; // for scripts: the same functions
