// A facet: a card for each of its clusters.
import { count, el, percent, plural, select } from "./dom.js";
import { facts } from "./content.js";
import { clusterName, clusterText, colourOf, facetText, givenName, statusText } from "./names.js";
import { meanThumb, thumbs } from "./thumbs.js";
import { health, pill, verdict } from "./overview.js";

const ORDERS = {
  size: (clusters) => (a, b) => clusters[b].size - clusters[a].size,
  sure: (clusters) => (a, b) => (clusters[b].confidence ?? -1) - (clusters[a].confidence ?? -1),
  unsure: (clusters) => (a, b) => (clusters[a].confidence ?? 2) - (clusters[b].confidence ?? 2),
  number: () => (a, b) => a - b,
};
const FIRST = 60;

function majorities(cluster) {
  return cluster.classes.map(([[c, n]], label) => el("span", { class: "tag" }, `${facts.labels[label].classes[c]} `, el("b", {}, percent(n / cluster.size))));
}

function card(j, k) {
  const cluster = facts.facets[j].clusters[k];
  const largest = Math.max(...facts.facets[j].clusters.map(({ size }) => size));
  const rows = [["sure", "most confident"], ["random", "random"], ["unsure", "least confident"]];
  return el("article", { class: "card cluster-card", "data-cluster-card": `${j}:${k}` },
    el("div", { class: "row" }, meanThumb(j, k, "big"),
      el("div", { class: "grow" },
        el("h3", {}, el("button", { class: "link clip", type: "button", "data-open-cluster": `${j}:${k}`, title: clusterName(j, k) }, clusterText(j, k))),
        el("div", { class: "size-bar", "aria-hidden": "true" }, el("i", { style: `width:${100 * cluster.size / largest}%;background:${colourOf(j, k)}` })),
        el("p", { class: "muted" }, `${plural(cluster.size, "image")} (${percent(cluster.size / facts.n_images)}) · confidence ${cluster.confidence.toFixed(2)} `, statusText(j, k)),
        el("div", { class: "tags" }, majorities(cluster)))),
    rows.map(([part, words]) => el("div", { class: "members" }, el("h4", {}, words), thumbs(cluster[part], words))));
}

export function facetPanel(j) {
  const facet = facts.facets[j];
  const used = facet.clusters.flatMap(({ size }, k) => (size ? [k] : []));
  const cards = el("div", { class: "cards" });
  const more = el("button", { type: "button", onclick: () => show(order, used.length) });
  let order = "size";
  function show(next, n = FIRST) {
    order = next;
    const sorted = [...used].sort(ORDERS[order](facet.clusters));
    cards.replaceChildren(...sorted.slice(0, n).map((k) => card(j, k)));
    more.hidden = n >= used.length;
    more.textContent = `Show all ${used.length} clusters`;
  }
  show("size");
  const empty = facet.clusters.length - used.length;
  return [
    el("div", { class: "row" }, el("h1", {}, facetText(j)), pill(facet)),
    el("p", {}, `${verdict(facet)}. `, el("span", { class: "muted" }, health(facet), empty ? ` · ${count(empty)} empty` : "")),
    select("Order", [["size", "largest first"], ["sure", "most confident first"], ["unsure", "least confident first"], ["number", "by number"]], (next) => show(next)),
    cards, more,
  ];
}

// Whether a cluster is meant by words in lower case: its number, name or majority classes.
export function clusterWords(j, k) {
  const classes = facts.facets[j].clusters[k].classes.map(([[c]], label) => facts.labels[label].classes[c]);
  return [`cluster ${k}`, givenName(j, k), ...classes].join(" ").toLowerCase();
}
