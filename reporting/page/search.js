// Search: images by name, class or cluster, and clusters by name or majority class. Every word has to be found.
import { announce, el, find, plural } from "./dom.js";
import { className, clusterOf, facts, imageName, nFacets, nShown } from "./content.js";
import { clusterWords } from "./facet.js";
import { gallery } from "./gallery.js";
import { clusterText, facetText, givenName } from "./names.js";
import { meanThumb } from "./thumbs.js";

const PAUSE = 150;

function imageWords(i) {
  const clusters = Array.from({ length: nFacets }, (_, j) => givenName(j, clusterOf(j, i)));
  return [imageName(i), ...facts.labels.map((_, label) => className(label, i)), ...clusters].join(" ").toLowerCase();
}

// Whether every word is part of the text; a number has to be a word of it.
export function matches(words, text) {
  return words.every((word) => (/^\d+$/.test(word) ? text.split(/[^\p{L}\p{N}]+/u).includes(word) : text.includes(word)));
}

function show(query) {
  const results = find("#results");
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  results.hidden = !words.length;
  if (!words.length) return;
  const clusters = facts.facets.flatMap((facet, j) => facet.clusters.flatMap(({ size }, k) => (size && matches(words, clusterWords(j, k)) ? [[j, k]] : [])));
  const images = [];
  for (let i = 0; i < nShown; i++) if (matches(words, imageWords(i))) images.push(i);
  const title = `${plural(clusters.length, "cluster")} and ${plural(images.length, "image")} for “${query.trim()}”`;
  announce(title);
  results.replaceChildren(el("h2", {}, title),
    el("div", { class: "neighbours" }, clusters.slice(0, 60).map(([j, k]) => el("figure", {}, meanThumb(j, k), el("figcaption", {}, facetText(j), ": ", clusterText(j, k))))),
    gallery(images, "images found"));
}

export function listenToSearch() {
  const query = find("#query");
  let later;
  query.addEventListener("input", () => { clearTimeout(later); later = setTimeout(() => show(query.value), PAUSE); });
  find("#search").addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(later); show(query.value); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.matches("input, textarea, select") && !find("#dialog").open) { event.preventDefault(); query.focus(); }
  });
}
