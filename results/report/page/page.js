"use strict";
// Draws the figures one after the other, light or dark or for paper; copies; marks the place in the contents.
const thermotune = (() => {
  const PRINTED_WIDTH = 660; // pixels that fit on A4 and on Letter
  const PRINTED_HEIGHT = 0.78; // of that on the screen: two figures a page
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const byTouch = matchMedia("(pointer: coarse)").matches;
  const placeOf = (key) => document.getElementById("plot-" + key);
  let known = { figures: {}, dark: {} };
  let waiting = [];
  let printing = false;

  // The figure with its colours exchanged for those of the dark page.
  function onDark(part, isColor = false) {
    if (typeof part === "string") return isColor && Object.hasOwn(known.dark, part) ? known.dark[part] : part;
    if (Array.isArray(part)) return part.map((item) => onDark(item, isColor));
    if (part === null || typeof part !== "object") return part;
    const exchanged = ([name, item]) => [name, onDark(item, isColor || /color(scale|way)?$/.test(name))];
    return Object.fromEntries(Object.entries(part).map(exchanged));
  }

  function draw(key) {
    const figure = known.figures[key];
    const { data, layout } = dark.matches && !printing ? onDark(figure) : structuredClone(figure);
    layout.uirevision = "kept"; // what the reader zoomed into stays
    if (byTouch) layout.dragmode = false; // a finger scrolls the page
    if (printing) Object.assign(layout, { width: PRINTED_WIDTH, height: PRINTED_HEIGHT * layout.height, autosize: false });
    else delete layout.width;
    return Plotly.react(placeOf(key), data, layout, { responsive: true, displayModeBar: false });
  }

  function drawNext() {
    if (!waiting.length) {
      document.documentElement.dataset.drawn = "all";
      return;
    }
    setTimeout(drawNext); // one at a time, so that the page answers meanwhile; if one fails the others still come
    draw(waiting.shift());
  }

  function drawSoon(keys) {
    const idle = !waiting.length;
    waiting = [...new Set([...waiting, ...keys])];
    delete document.documentElement.dataset.drawn;
    if (idle) setTimeout(drawNext);
  }

  function drawAllNow() {
    waiting = [];
    Object.keys(known.figures).forEach(draw);
  }

  // Takes figures in, and draws those that are new or differ.
  function take(drawings) {
    const before = known;
    known = drawings;
    const same = (key) => JSON.stringify(before.figures[key]) === JSON.stringify(known.figures[key]);
    drawSoon(Object.keys(known.figures).filter((key) => !same(key)));
  }

  function say(text) {
    document.getElementById("said").textContent = text;
  }

  async function copy(button) {
    const source = button.parentElement.querySelector("pre");
    let done = true;
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch { // no permission, or a page from a file: the old way, and if that fails too the text is left selected
      getSelection().selectAllChildren(source);
      done = document.execCommand("copy");
      if (done) getSelection().removeAllRanges();
    }
    button.textContent = done ? "Copied" : "Selected";
    say(done ? "Copied." : "Selected. Copy it with Ctrl+C.");
    setTimeout(() => (button.textContent = "Copy"), 2000);
  }

  function showCopyButtons() {
    document.querySelectorAll(".copy").forEach((button) => (button.hidden = false));
  }

  // The section that is being read: the one across the upper third of the window.
  function place() {
    const begun = (section) => section.getBoundingClientRect().top < innerHeight / 3;
    return [...document.querySelectorAll("main > section")].filter(begun).at(-1)?.id;
  }

  function markPlace() {
    const here = place();
    const nav = document.querySelector("nav");
    nav.querySelectorAll("a").forEach((link) => {
      if (link.hash !== "#" + here) link.removeAttribute("aria-current");
      else if (!link.hasAttribute("aria-current")) {
        link.setAttribute("aria-current", "true");
        nav.scrollTop = link.offsetTop - nav.clientHeight / 2; // only where the contents are longer than the window
      }
    });
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".copy");
    if (button) copy(button);
  });
  document.addEventListener("scroll", () => requestAnimationFrame(markPlace), { passive: true });
  dark.addEventListener("change", () => drawSoon(Object.keys(known.figures)));
  addEventListener("beforeprint", () => {
    printing = true;
    drawAllNow();
  });
  addEventListener("afterprint", () => {
    printing = false;
    drawAllNow();
    Object.keys(known.figures).forEach((key) => Plotly.Plots.resize(placeOf(key)));
  });
  const narrow = matchMedia("(max-width: 1020px)"); // the contents stand above the page, not beside it
  const foldContents = () => (document.querySelector("nav details").open = !narrow.matches);
  narrow.addEventListener("change", foldContents);
  foldContents();
  showCopyButtons();
  markPlace();
  take(JSON.parse(document.getElementById("figures").textContent));
  return { take, say, showCopyButtons, place, markPlace };
})();
