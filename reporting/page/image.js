// One image: what the model says of it, what it decodes it to, and what it would be in another cluster.
import { el, openDialog, percent, select } from "./dom.js";
import { clusterOf, confidenceOf, facts, imageName, latentsOf, nFacets } from "./content.js";
import { picture } from "./atlas.js";
import { blank, canDecode, paint, paintAll } from "./decoder.js";
import { clusterName, clusterText, facetName, facetText } from "./names.js";
import { imageTable, opens } from "./thumbs.js";

const pending = { stop: () => {} };

// The latents with those of facet j at the mean of cluster k.
export const moved = (z, j, k) => z.map((each, i) => (i === j ? facts.facets[j].prior_means[k] : each));

// A canvas for every cluster of facet j: the same latents, but in that cluster.
export function inOtherClusters(z, j, current, onchoose) {
  const jobs = [];
  const used = facts.facets[j].clusters.flatMap(({ size }, k) => (size ? [k] : []));
  const figures = used.map((k) => {
    const canvas = blank();
    jobs.push([canvas, moved(z, j, k)]);
    const attributes = { class: `other ${k === current ? "current" : ""}`, type: "button", "aria-label": `in ${clusterName(j, k)}`, onclick: () => onchoose(k) };
    return el("button", attributes, canvas, clusterText(j, k));
  });
  pending.stop();
  pending.stop = paintAll(jobs);
  return el("div", { class: "others" }, figures);
}

function figure(canvas, words) {
  return el("figure", {}, canvas, el("figcaption", {}, words));
}

let startPlaying = () => {};
export const playsWith = (start) => { startPlaying = start; };

export function openImage(i) {
  const z = latentsOf(i);
  const figures = [figure(picture("images", i), "the image")];
  const strip = el("div");
  const parts = [];
  if (canDecode()) {
    const decoded = blank();
    paint(decoded, z);
    figures.push(figure(decoded, "what the model makes of it"));
    const show = (value) => {
      const j = Number(value);
      strip.replaceChildren(inOtherClusters(z, j, clusterOf(j, i), (k) => startPlaying(moved(z, j, k), j)));
    };
    const options = facts.facets.map((_, j) => [String(j), facetName(j)]);
    parts.push(el("section", {}, el("h3", {}, "In another cluster"),
      el("p", { class: "muted" }, "The same image, decoded with one facet moved to the mean of each cluster. Choose one to play on from there."),
      nFacets > 1 ? select("Facet that is moved", options, show, String(nFacets - 1)) : null, strip));
    show(String(nFacets - 1));
  }
  const clusters = facts.facets.map((_, j) => el("li", {},
    el("span", {}, facetText(j)),
    el("button", { class: "link", type: "button", "data-open-cluster": `${j}:${clusterOf(j, i)}` }, clusterText(j, clusterOf(j, i))),
    el("meter", { value: confidenceOf(j, i), "aria-label": "probability" }),
    el("span", { class: "number" }, percent(confidenceOf(j, i), 1))));
  const play = canDecode() ? el("button", { type: "button", class: "primary", onclick: () => startPlaying(z) }, "Play with this image") : null;
  openDialog(imageName(i),
    el("div", { class: "image-view" }, el("div", { class: "figures" }, figures),
      el("div", {}, facts.labels.length ? imageTableOfLabels(i) : null, el("ul", { class: "probabilities" }, clusters), play)),
    ...parts);
}

function imageTableOfLabels(i) {
  const table = imageTable(i);
  [...table.querySelectorAll("tr")].slice(facts.labels.length).forEach((line) => line.remove());
  return table;
}

opens("image", openImage);
