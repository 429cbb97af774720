"use strict";
// Asks for what changed, and exchanges only that: place, zoom, scrolled tables and focus stay as they are.
(() => {
  const PATIENCE_MS = 2000;
  const strip = document.getElementById("live");
  const text = document.getElementById("live-text");
  let etag = null;
  let shown = {}; // HTML of every part as it was received
  let since = Date.now();
  let gone = null; // when the server first gave no answer
  let trouble = "";

  function element(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content.firstElementChild;
  }

  // Puts the new part where the old one is; a figure keeps its drawing.
  function exchange(old, fresh) {
    const plot = old.querySelector(".plot");
    const place = fresh.querySelector(".plot");
    if (plot && place && plot.id === place.id) {
      plot.setAttribute("aria-label", place.getAttribute("aria-label"));
      place.replaceWith(plot);
    }
    const scrolled = [...old.querySelectorAll(".scroll, pre")].map((box) => box.scrollLeft);
    const reachable = (part) => [part, ...part.querySelectorAll("a, button, summary, [tabindex]")];
    const focused = reachable(old).indexOf(document.activeElement);
    const opened = old.querySelector("details")?.open;
    old.replaceWith(fresh);
    fresh.querySelectorAll(".scroll, pre").forEach((box, i) => (box.scrollLeft = scrolled[i] ?? 0));
    if (opened !== undefined) fresh.querySelector("details").open = opened;
    if (focused >= 0) reachable(fresh)[focused]?.focus({ preventScroll: true });
  }

  function showSections(sections) {
    const main = document.getElementById("report");
    const wanted = new Set(sections.map((section) => section.id));
    [...main.children].forEach((child) => wanted.has(child.id) || child.remove());
    sections.forEach(({ id, html }, i) => {
      const old = document.getElementById(id);
      if (!old) main.insertBefore(element(html), main.children[i] ?? null);
      else if (shown[id] !== html) exchange(old, element(html));
      shown[id] = html;
    });
  }

  // Does something to the page; what the reader looks at stays where it is, also if something grows above it.
  function inPlace(change) {
    const topOf = (id) => document.getElementById(id)?.getBoundingClientRect().top;
    const read = thermotune.place();
    const before = topOf(read);
    change();
    const after = topOf(read);
    if (scrollY > 0 && after !== undefined) scrollBy({ top: after - before, behavior: "instant" });
  }

  function show(page) {
    document.title = page.title;
    for (const id of ["head", "contents", "foot"]) {
      if (shown[id] !== page[id]) exchange(document.getElementById(id), element(page[id]));
      shown[id] = page[id];
    }
    showSections(page.sections);
    thermotune.showCopyButtons();
    thermotune.markPlace();
    thermotune.take(page.drawings);
  }

  function showStrip() {
    const age = Math.round((Date.now() - since) / 1000);
    const ago = age < 100 ? `${age} s ago` : `${Math.round(age / 60)} min ago`;
    strip.classList.toggle("gone", gone !== null);
    const lost = () => `No answer from thermotune watch since ${gone.toLocaleTimeString()}. ` +
      `The page shows what was known then${trouble}.`;
    const complete = document.querySelector("#head .state.completed") !== null;
    text.textContent = gone !== null ? lost() : complete ? "The study is complete" : `Live, updated ${ago}`;
  }

  async function ask() {
    try {
      const headers = etag ? { "If-None-Match": etag } : {};
      const answer = await fetch("page.json", { headers, cache: "no-store" });
      if (answer.status === 200) {
        const page = await answer.json();
        inPlace(() => show(page));
        etag = answer.headers.get("ETag");
        since = Date.now();
      } else if (answer.status !== 304) {
        throw new Error(await answer.text());
      }
      if (gone !== null) thermotune.say("The page is live again.");
      gone = null;
    } catch (error) {
      trouble = error instanceof TypeError ? "" : `: ${error.message}`; // fetch itself fails with a TypeError
      gone ??= new Date();
      if (strip.className !== "gone") thermotune.say("The page is not live any more.");
    }
    showStrip();
    setTimeout(ask, PATIENCE_MS);
  }

  setInterval(showStrip, 1000);
  ask();
})();
