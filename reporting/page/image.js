// One image: what the model says of it, what it decodes it to, and what it would be in another cluster.
import { el, openDialog, percent, select } from "./dom.js";
import { clusterOf, confidenceOf, facts, imageName, latentsOf, nFacets } from "./content.js";
import { picture } from "./atlas.js";
import { blank, canDecode, paint, paintAll } from "./decoder.js";
import { clustersOf, combination, pairWith, TOO_LARGE } from "./combined.js";
import { clusterName, clusterText, facetName, facetText } from "./names.js";
import { imageTable, opens } from "./thumbs.js";

const pending = { stop: () => {} };

// The latents with those of facet j at the mean of cluster k.
export const moved = (z, j, k) => z.map((each, i) => (i === j ? facts.facets[j].prior_means[k] : each));

export const stopPainting = () => pending.stop();

// Latents in every cluster of facet j, a canvas each: the element, and what paints it.
export function inOtherClusters(j, onchoose) {
  const figures = facts.facets[j].clusters.flatMap(({ size }, k) => (size ? [{ k, canvas: blank() }] : []));
  const buttons = figures.map(({ k, canvas }) => el("button", { class: "other", type: "button", "aria-label": `in ${clusterName(j, k)}`, onclick: () => onchoose(k) }, canvas, clusterText(j, k)));
  const show = (z, current) => {
    buttons.forEach((button, at) => button.classList.toggle("current", figures[at].k === current));
    stopPainting();
    pending.stop = paintAll(figures.map(({ k, canvas }) => [canvas, moved(z, j, k)]));
  };
  return { element: el("div", { class: "others" }, buttons), show };
}

// The clusters that image i is in, with each cluster of facet j in place of its own, as they were decoded beforehand.
function combinedWithOthers(i, j) {
  const pair = pairWith(j);
  const own = facts.facets.map((_, facet) => clusterOf(facet, i));
  const decoded = (k) => combination(pair, own.map((each, facet) => (facet === j ? k : each)));
  const buttons = clustersOf(pair, j).filter((k) => decoded(k) >= 0).map((k) => el("button", {
    class: `other ${k === own[j] ? "current" : ""}`, type: "button", "data-open-cluster": `${j}:${k}`,
  }, picture("decoded", decoded(k)), clusterText(j, k)));
  return el("div", { class: "others" }, buttons);
}

function figure(canvas, words) {
  return el("figure", {}, canvas, el("figcaption", {}, words));
}

const MOVED = "The same image, decoded with one facet moved to the mean of each cluster. Choose one to play on from there.";
const MOVED_CLUSTERS = `${TOO_LARGE} Here are those of the clusters that the image is in, with one facet moved to each cluster.`;
let startPlaying = () => {};
export const playsWith = (start) => { startPlaying = start; };

export function openImage(i) {
  const z = latentsOf(i);
  const figures = [figure(picture("images", i), "the image")];
  const strip = el("div");
  if (canDecode()) {
    const decoded = blank();
    paint(decoded, z);
    figures.push(figure(decoded, "what the model makes of it"));
  }
  const show = (value) => {
    const j = Number(value);
    if (!canDecode()) return strip.replaceChildren(combinedWithOthers(i, j));
    const others = inOtherClusters(j, (k) => startPlaying(moved(z, j, k), j));
    others.show(z, clusterOf(j, i));
    strip.replaceChildren(others.element);
  };
  const options = facts.facets.map((_, j) => [String(j), facetName(j)]);
  const clusters = facts.facets.map((_, j) => el("li", {},
    el("span", {}, facetText(j)),
    el("button", { class: "link", type: "button", "data-open-cluster": `${j}:${clusterOf(j, i)}` }, clusterText(j, clusterOf(j, i))),
    el("meter", { value: confidenceOf(j, i), "aria-label": "probability" }),
    el("span", { class: "number" }, percent(confidenceOf(j, i), 1))));
  const play = canDecode() ? el("button", { type: "button", class: "primary", onclick: () => startPlaying(z) }, "Play with this image") : null;
  openDialog(imageName(i),
    el("div", { class: "image-view" }, el("div", { class: "figures" }, figures),
      el("div", {}, facts.labels.length ? imageTableOfLabels(i) : null, el("ul", { class: "probabilities" }, clusters), play)),
    el("section", {}, el("h3", {}, "In another cluster"), el("p", { class: "muted" }, canDecode() ? MOVED : MOVED_CLUSTERS),
      nFacets > 1 ? select("Facet that is moved", options, show, String(nFacets - 1)) : null, strip));
  show(nFacets - 1);
}

function imageTableOfLabels(i) {
  const table = imageTable(i);
  [...table.querySelectorAll("tr")].slice(facts.labels.length).forEach((line) => line.remove());
  return table;
}

opens("image", openImage);
