// For decoders that are too large for a page: the combinations of two facets' clusters, which were decoded beforehand.
import { el, select } from "./dom.js";
import { bySize, facts } from "./content.js";
import { draw, picture } from "./atlas.js";
import { clusterName, clusterText, colourOf, facetName, facetText } from "./names.js";

export const TOO_LARGE = "The decoder of this model is too large for a page, which has decoded all combinations of clusters beforehand.";

// Two facets whose combinations were decoded; facet j alone where there is no other.
export const pairWith = (j) => facts.pairs.find(({ rows, columns }) => rows === j || columns === j) ?? { rows: j, row_clusters: bySize(j) };
export const facetsOf = ({ rows, columns }) => (columns === undefined ? [rows] : [rows, columns]);

// Which decoded picture has these clusters, one of every facet; less than 0 where a grid leaves out a small one.
export function combination(pair, clusters) {
  if (pair.columns === undefined) return facts.facets[pair.rows].means + clusters[pair.rows];
  const [y, x] = [pair.row_clusters.indexOf(clusters[pair.rows]), pair.column_clusters.indexOf(clusters[pair.columns])];
  return y < 0 || x < 0 ? -1 : pair.first + y * pair.column_clusters.length + x;
}
export const clustersOf = (pair, j) => (pair.rows === j ? pair.row_clusters : pair.column_clusters);

function choices(pair, j, choose) {
  const buttons = clustersOf(pair, j).map((k) => el("button", {
    type: "button", class: "thumb decoded", "data-cluster-choice": k, "aria-label": clusterName(j, k), title: clusterName(j, k), style: `--colour:${colourOf(j, k)}`, onclick: () => choose(j, k),
  }, picture("decoded", facts.facets[j].means + k)));
  const name = el("span", { class: "muted" });
  const follow = (chosen) => {
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(Number(button.dataset.clusterChoice) === chosen)));
    name.replaceChildren(clusterText(j, chosen));
  };
  const thumbs = el("div", { class: "thumbs choose", role: "group", "aria-label": `clusters of facet ${j}` }, buttons);
  return { j, follow, element: el("fieldset", {}, el("legend", {}, facetText(j)), name, thumbs) };
}

// Play without a decoder: a cluster of each of two facets, and what the model makes of both.
export function combinedPanel() {
  const clusters = facts.facets.map((_, j) => bySize(j)[0]);
  const place = el("div");
  const { width, height } = facts.tiles.decoded;
  const show = (pair) => {
    const canvas = el("canvas", { width, height, class: width < 48 ? "pixels" : "smooth", role: "img", "aria-label": "decoded image", "data-play": true });
    const choose = (j, k) => { clusters[j] = k; follow(); };
    const controls = facetsOf(pair).map((j) => choices(pair, j, choose));
    const follow = () => {
      draw(canvas, "decoded", combination(pair, clusters));
      controls.forEach((each) => each.follow(clusters[each.j]));
    };
    place.replaceChildren(el("div", { class: "play" }, el("div", { class: "stage" }, canvas), el("div", { class: "controls" }, controls.map(({ element }) => element))));
    follow();
  };
  const options = facts.pairs.map((pair, i) => [String(i), facetsOf(pair).map(facetName).join(" and ")]);
  show(pairWith(0));
  return [
    el("h1", {}, "Play"), el("p", {}, `${TOO_LARGE} Choose a cluster in each facet.`),
    facts.pairs.length > 1 ? el("div", { class: "row" }, select("Facets", options, (i) => show(facts.pairs[Number(i)])), el("span", { class: "muted" }, "The others are at their largest cluster.")) : null,
    place,
  ];
}
