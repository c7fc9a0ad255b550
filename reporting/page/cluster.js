// One cluster: its numbers, what the model believes it looks like, its neighbours, and all of its members.
import { count, el, hue, openDialog, percent, plural, select } from "./dom.js";
import { confidenceOf, facts } from "./content.js";
import { picture } from "./atlas.js";
import { gallery } from "./gallery.js";
import { allMembers, clusterText, facetText, givenName, isWrong, nameCluster, statusText, unnamedCluster } from "./names.js";
import { meanThumb, opens } from "./thumbs.js";

// Classes of a cluster's members as bars: the most frequent ones of each label.
export function classBars(cluster) {
  return cluster.classes.map((classes, label) => {
    const bars = classes.map(([c, n]) => el("li", {},
      el("span", { class: "clip", title: facts.labels[label].classes[c] }, facts.labels[label].classes[c]),
      el("i", { style: `width:${100 * n / cluster.size}%;background:${hue(c)}` }),
      el("span", { class: "number" }, percent(n / cluster.size))));
    return el("section", {}, el("h3", {}, facts.labels[label].name), el("ul", { class: "bars" }, bars));
  });
}

function nameFields(j, k) {
  const name = el("input", { value: givenName(j, k), placeholder: unnamedCluster(j, k), "aria-label": `Name of cluster ${k}`, oninput: (event) => nameCluster(j, k, { name: event.target.value }) });
  const wrong = el("input", { type: "checkbox", checked: isWrong(j, k), onchange: (event) => nameCluster(j, k, { wrong: event.target.checked }) });
  return el("div", { class: "row" }, el("label", { class: "choice" }, el("span", {}, "Name"), name), el("label", { class: "check" }, wrong, "wrong"), statusText(j, k));
}

export function openCluster(j, k) {
  const cluster = facts.facets[j].clusters[k];
  const { means, samples, n_samples, prior_means } = facts.facets[j];
  const sampled = Array.from({ length: n_samples }, (_, i) => picture("decoded", samples + k * n_samples + i));
  const members = allMembers(j, k);
  const list = el("div");
  const orders = {
    sure: () => members,
    unsure: () => [...members].sort((a, b) => confidenceOf(j, a) - confidenceOf(j, b)),
  };
  const show = (order) => list.replaceChildren(gallery(orders[order](), "members"));
  const distance = (other) => Math.hypot(...prior_means[k].map((value, d) => value - prior_means[other][d]));
  const neighbours = cluster.neighbours.map((other) => el("figure", {}, meanThumb(j, other), el("figcaption", {}, clusterText(j, other), ` ${distance(other).toFixed(2)}`)));
  openDialog(clusterText(j, k),
    el("p", { class: "muted" }, facetText(j), ` · ${plural(cluster.size, "image")} · mean confidence ${cluster.confidence === null ? "–" : percent(cluster.confidence)} · weight ${percent(cluster.pi, 1)}`),
    nameFields(j, k),
    el("div", { class: "cluster-view" },
      el("section", {}, el("h3", {}, "Decoded mean"), el("div", { class: "mean" }, picture("decoded", means + k))),
      el("section", {}, el("h3", {}, "Samples drawn from it"), el("div", { class: "thumbs still", role: "img", "aria-label": `${n_samples} decoded samples` }, sampled)),
      classBars(cluster),
      neighbours.length ? el("section", {}, el("h3", {}, "Neighbours, by the distance of their means"), el("div", { class: "neighbours" }, neighbours)) : null),
    el("section", {}, el("div", { class: "row" }, el("h3", {}, "Members"),
      select("Order", [["sure", "most confident first"], ["unsure", "least confident first"]], show)), sampledNote(cluster, members), list));
  show("sure");
}

function sampledNote(cluster, members) {
  if (facts.n_shown === facts.n_images) return null;
  return el("p", { class: "muted" }, `${count(members.length)} members are on this page, which shows ${count(facts.n_shown)} of ${count(facts.n_images)} images.`);
}

opens("cluster", openCluster);
