// Many images in pages.
import { announce, count, el } from "./dom.js";
import { thumb } from "./thumbs.js";

const PER_PAGE = 120;

export function gallery(images, label) {
  const nPages = Math.ceil(images.length / PER_PAGE);
  const grid = el("div", { class: "thumbs", role: "group", "aria-label": label });
  const where = el("span", { class: "number" });
  const step = (by, text) => el("button", { type: "button", onclick: () => show(page + by) }, text);
  const [back, on] = [step(-1, "← Previous"), step(1, "Next →")];
  let page = 0;
  function show(next) {
    page = Math.max(0, Math.min(nPages - 1, next));
    const [first, last] = [page * PER_PAGE, Math.min(images.length, (page + 1) * PER_PAGE)];
    grid.replaceChildren(...images.slice(first, last).map(thumb));
    where.textContent = `${count(first + 1)} to ${count(last)} of ${count(images.length)}`;
    back.disabled = page === 0;
    on.disabled = page === nPages - 1;
    if (nPages > 1) announce(where.textContent);
  }
  if (!images.length) return el("p", { class: "muted" }, "No images.");
  show(0);
  return el("div", { class: "gallery" }, grid, nPages > 1 ? el("div", { class: "pager" }, back, where, on) : null);
}
