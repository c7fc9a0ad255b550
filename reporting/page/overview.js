// The top: the facets at a glance, what was trained on what, scores, curves, and what the model is unsure of.
import { canPoint, count, el, percent, sentence } from "./dom.js";
import { bySize, confidenceOf, facts, nFacets } from "./content.js";
import { lineChart } from "./charts.js";
import { facetText } from "./names.js";
import { meanThumb, thumb } from "./thumbs.js";
import { glossary, term } from "./words.js";

const MEANS = 12;
const SCORES = [["accuracy", "accuracy"], ["hungarian_accuracy", "one to one"], ["nmi", "NMI"], ["ami", "AMI"], ["ari", "ARI"]];

// What a facet is about, in a sentence.
export function verdict(facet) {
  if (facet.complaint) return sentence(facet.complaint);
  if (facet.closest_ami > 0.3) return `Clusters by ${facet.closest}`;
  if (facet.colours) return `Clusters by colour, ${facet.closest === null ? "as their decoded means tell" : "which no label says"}`;
  return facet.closest === null ? "There are no labels: look at its clusters" : "Clusters by something that no label says: look at it";
}

export function health(facet) {
  const words = [`${facet.n_used} of ${facet.clusters.length} clusters used · `, term("confidence"), ` ${percent(facet.confidence)}`];
  if (facet.effect === null) return words;
  return [...words, " · ", term("effect"), ` ${facet.effect.toFixed(2)} · `, term("KL"), ` ${facet.kl.toFixed(1)} nats`];
}

export function pill(facet) {
  return el("span", { class: `pill ${facet.complaint ? "bad" : "good"}` }, facet.complaint ? "needs a look" : "healthy");
}

function facetCard(j, goTo) {
  const facet = facts.facets[j];
  const score = facet.closest_ami !== null && facet.closest_ami > 0.3 ? el("span", { class: "score" }, el("b", {}, facet.closest_ami.toFixed(2)), " ", term("AMI")) : null;
  return el("article", { class: "card facet-card" },
    el("div", { class: "row" }, el("h3", {}, facetText(j)), pill(facet), score),
    el("p", {}, verdict(facet)),
    el("div", { class: "pairs", role: "group", "aria-label": "its largest clusters: decoded mean, and the surest image" },
      bySize(j).slice(0, MEANS).map((k) => el("div", {}, meanThumb(j, k), thumb(facet.clusters[k].sure[0])))),
    el("p", { class: "muted" }, health(facet)),
    facet.tries.length ? el("p", { class: "muted" }, `To try: ${facet.tries.join("; ")}`) : null,
    el("button", { type: "button", class: "link", onclick: () => goTo(`facet-${j}`) }, "Look at its clusters →"));
}

function scoreTable({ label, rows }) {
  const best = Math.max(...rows.map((row) => row.accuracy ?? 0));
  const cell = (row, kind) => {
    const value = row[kind];
    const text = value === undefined || value === null ? "–" : kind.includes("accuracy") ? percent(value, 1) : value.toFixed(3);
    return el("td", { class: kind === "accuracy" && value === best ? "number best" : "number" }, text);
  };
  const head = el("tr", {}, el("th", { scope: "col" }, label), SCORES.map(([, words]) => el("th", { scope: "col", class: "number" }, term(words))));
  const body = rows.map((row) => el("tr", { class: row.facet === undefined ? "muted" : "" },
    el("th", { scope: "row" }, row.facet === undefined ? row.who : facetText(row.facet)), SCORES.map(([kind]) => cell(row, kind))));
  return el("div", { class: "scroll" }, el("table", { class: "scores" }, el("thead", {}, head), el("tbody", {}, body)));
}

function sharedLines() {
  const lines = facts.facets.flatMap((facet, j) => Object.entries(facet.shared).filter(([i]) => Number(i) > j)
    .map(([i, value]) => el("li", {}, facetText(j), " and ", facetText(Number(i)), ` share ${value.toFixed(3)} (`, term("NMI"), "; 0: they group the images by different things)")));
  return lines.length ? el("ul", { class: "muted" }, lines) : null;
}

const [SURE, CERTAIN] = [0.95, 0.9995];

function unsure(j) {
  const images = facts.facets[j].unsure.filter((i) => confidenceOf(j, i) < SURE);
  if (!images.length) {
    const least = confidenceOf(j, facts.facets[j].unsure[0]);
    const words = least >= CERTAIN ? "None: it is sure of every image." : `None: it gives every image a probability of ${percent(least, 1)} or more.`;
    return el("div", {}, el("h3", {}, facetText(j)), el("p", { class: "muted" }, words));
  }
  const figures = images.map((i) => el("figure", {}, thumb(i), el("figcaption", {}, percent(confidenceOf(j, i), 1))));
  return el("div", {}, el("h3", {}, facetText(j)), el("div", { class: "unsure" }, figures));
}

export function overview(goTo) {
  const shown = facts.n_shown < facts.n_images ? `, of which ${count(facts.n_shown)} are on this page (drawn at random)` : "";
  return [
    el("div", { class: "hero" }, el("p", { class: "eyebrow" }, `${nFacets === 1 ? "One facet" : `${nFacets} facets`} of ${count(facts.n_images)} ${facts.split === "test" ? "test" : "training"} images${shown}`),
      el("h1", {}, facts.name)),
    el("section", { class: "facets" }, facts.facets.map((_, j) => facetCard(j, goTo))),
    el("p", { class: "muted" }, "Above in each pair what the model decodes the mean of a cluster to, beside clusters of the other facets where it shows most; below it the image that the model is surest of. ",
      canPoint() ? "Point at any picture for what is known of it; click it to see it in every other cluster." : "Tap any picture for what is known of it, and to see it in every other cluster."),
    glossary(),
    el("div", { class: "columns" },
      el("section", {}, el("h2", {}, "What was trained"), el("dl", { class: "facts" }, facts.facts.flatMap(([name, words]) => [el("dt", {}, name), el("dd", {}, words)]))),
      el("section", {}, el("h2", {}, `Scores on the ${facts.split === "test" ? "test" : "training"} images`), el("div", { class: "tables" }, facts.scores.map(scoreTable)),
        facts.scores.length ? null : el("p", { class: "muted" }, "Without labels there is nothing to compare clusters with."), sharedLines())),
    facts.curves ? el("section", {}, el("h2", {}, "Training"), el("div", { class: "charts" }, facts.curves.charts.map(({ title, series }) => lineChart(title, facts.curves.epochs, series))))
      : el("section", {}, el("h2", {}, "Training"), el("p", { class: "muted" }, "There is no metrics.jsonl beside this model, and so there are no curves.")),
    el("section", {}, el("h2", {}, "What the model is unsure of"), el("p", { class: "muted" }, "The images of the lowest probability in each facet, where it is below 95 %."),
      facts.facets.map((_, j) => unsure(j))),
  ];
}
