"use strict";
(() => {
  const dialog = document.getElementById("enlarged");
  const image = dialog.querySelector("img");
  const text = dialog.querySelector(".text");
  const place = dialog.querySelector(".place");
  let shown = [];
  let at = 0;

  const show = (number) => {
    at = (number + shown.length) % shown.length;
    const picture = shown[at].querySelector("img");
    const caption = shown[at].parentElement.querySelector("figcaption");
    image.src = picture.src;
    image.alt = picture.alt;
    text.textContent = (caption && caption.textContent.trim()) || picture.alt;
    place.textContent = `${at + 1} of ${shown.length}`;
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.enlarge");
    if (!button) return;
    // The others of its own strip or gallery, as far as they are not filtered away.
    const group = button.closest(".pictures") || button.parentElement;
    shown = [...group.querySelectorAll("button.enlarge")].filter((each) => !each.closest("[hidden]"));
    show(shown.indexOf(button));
    dialog.showModal();
  });

  dialog.addEventListener("click", (event) => {
    const step = event.target.closest("[data-step]");
    if (step) show(at + Number(step.dataset.step));
    else if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") show(at + 1);
    if (event.key === "ArrowLeft") show(at - 1);
  });
  dialog.addEventListener("close", () => {
    if (shown[at]) shown[at].focus();
    image.removeAttribute("src");
  });

  for (const filters of document.querySelectorAll(".filters")) {
    const pictures = [...filters.parentElement.querySelectorAll(".picture")];
    const count = filters.querySelector("output");
    const narrow = (tag) => {
      for (const picture of pictures) {
        picture.hidden = tag !== "" && !(picture.dataset.tags || "").split("|").includes(tag);
      }
      for (const button of filters.querySelectorAll("button")) {
        button.setAttribute("aria-pressed", String(button.dataset.filter === tag));
      }
      count.textContent = `${pictures.filter((each) => !each.hidden).length} pictures`;
    };
    filters.hidden = false; // they do nothing without this script
    filters.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) narrow(button.dataset.filter);
    });
    narrow("");
  }

  const folded = [...document.querySelectorAll("details")];
  addEventListener("beforeprint", () => folded.forEach((each) => { each.dataset.was = each.open; each.open = true; }));
  addEventListener("afterprint", () => folded.forEach((each) => { each.open = each.dataset.was === "true"; }));
})();
