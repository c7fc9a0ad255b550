// Small pictures that tell about themselves when pointed at or focused, and open when clicked.
import { el, find, percent } from "./dom.js";
import { className, clusterOf, confidenceOf, facts, imageName } from "./content.js";
import { draw, picture } from "./atlas.js";
import { clusterName, facetName } from "./names.js";

export const describe = (i) => facts.facets.map((_, j) => `facet ${j}: ${clusterName(j, clusterOf(j, i))} ${percent(confidenceOf(j, i))}`).join(", ");

// A picture of image i.
export function thumb(i) {
  return el("button", { class: "thumb", type: "button", "data-image": i, "aria-label": `${imageName(i)}, ${describe(i)}` }, picture("images", i));
}

export const thumbs = (images, label) => el("div", { class: "thumbs", role: "group", "aria-label": label }, images.map(thumb));

// A decoded picture of a cluster: its mean, beside the largest clusters of the other facets.
export function meanThumb(j, k, size = "") {
  return el("button", { class: `thumb decoded ${size}`, type: "button", "data-open-cluster": `${j}:${k}`, "aria-label": `${clusterName(j, k)} of facet ${j}` },
    picture("decoded", facts.facets[j].means + k));
}

// What is known of an image: a row for each label and each facet.
export function imageTable(i) {
  const labels = facts.labels.map(({ name }, label) => el("tr", {}, el("th", { scope: "row" }, name), el("td", { colspan: 2 }, className(label, i))));
  const facets = facts.facets.map((_, j) => el("tr", {},
    el("th", { scope: "row" }, facetName(j)),
    el("td", {}, clusterName(j, clusterOf(j, i))),
    el("td", { class: "number" }, percent(confidenceOf(j, i), 1))));
  return el("table", { class: "plain" }, el("tbody", {}, labels, facets));
}

const tooltip = find("#tooltip");

export function showTooltip(i, box) {
  const { width, height } = facts.tiles.images;
  const canvas = el("canvas", { width, height, class: `${width < 48 ? "pixels" : "smooth"} large` });
  draw(canvas, "images", i);
  tooltip.replaceChildren(canvas, el("strong", {}, imageName(i)), imageTable(i));
  if (!tooltip.matches(":popover-open")) tooltip.showPopover();
  const { offsetWidth, offsetHeight } = tooltip;
  const right = box.right + 12 + offsetWidth < innerWidth;
  tooltip.style.left = `${Math.max(8, right ? box.right + 12 : box.left - offsetWidth - 12)}px`;
  tooltip.style.top = `${Math.max(8, Math.min(box.top, innerHeight - offsetHeight - 8))}px`;
}

// A popover, so that it lies above the dialog.
export const hideTooltip = () => tooltip.matches(":popover-open") && tooltip.hidePopover();

// What opens when a picture is clicked; image.js and cluster.js say how.
const openers = {};
export const opens = (kind, open) => { openers[kind] = open; };

export function listenToThumbs() {
  const pointed = (event) => {
    const target = event.target.closest?.("[data-image]");
    if (target) showTooltip(Number(target.dataset.image), target.getBoundingClientRect());
    else if (!event.target.closest?.("[data-map]")) hideTooltip();
  };
  document.addEventListener("pointerover", (event) => event.pointerType !== "touch" && pointed(event));
  document.addEventListener("focusin", (event) => event.target.matches?.(":focus-visible") && pointed(event));
  document.addEventListener("scroll", hideTooltip, { capture: true, passive: true });
  document.addEventListener("keydown", (event) => event.key === "Escape" && hideTooltip());
  document.addEventListener("click", (event) => {
    const { image, openCluster } = event.target.closest?.("[data-image], [data-open-cluster]")?.dataset ?? {};
    if (image !== undefined) openers.image(Number(image));
    else if (openCluster) openers.cluster(...openCluster.split(":").map(Number));
  });
}
