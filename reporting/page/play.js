// Play: choose a cluster in each facet, or pull at its dimensions, and see what the model decodes.
import { announce, el, select } from "./dom.js";
import { array, bySize, facts, imageName, latentsOf, nFacets, nShown } from "./content.js";
import { picture } from "./atlas.js";
import { blank, canDecode, paint } from "./decoder.js";
import { inOtherClusters, moved } from "./image.js";
import { clusterName, clusterText, facetName, facetText } from "./names.js";
import { thumb } from "./thumbs.js";

const state = { z: null, clusters: [], moved: nFacets - 1 };

// How far a slider goes in a dimension: as far as the images do.
function reach(j, d) {
  const { low, step } = array(`latents_${j}`);
  const values = facts.facets[j].prior_means.map((mean) => mean[d]);
  return [Math.min(low, ...values), Math.max(low + 255 * step, ...values)];
}

// A sample of the cluster that each facet is in, with spreads halved.
function sampled() {
  const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  return facts.facets.map(({ prior_means, prior_spread }, j) => {
    const k = state.clusters[j] ?? bySize(j)[0];
    return prior_means[k].map((mean, d) => mean + 0.5 * prior_spread[k][d] * normal());
  });
}

// The image whose latents are nearest to z, each dimension on the scale of its images.
function nearestImage(z) {
  let [best, least] = [0, Infinity];
  const tables = facts.facets.map((_, j) => array(`latents_${j}`));
  const goals = tables.map(({ low, step }, j) => z[j].map((value) => (value - low) / (step || 1)));
  for (let i = 0; i < nShown; i++) {
    let distance = 0;
    for (let j = 0; j < nFacets; j++) {
      const [{ numbers }, goal] = [tables[j], goals[j]];
      for (let d = 0, at = i * goal.length; d < goal.length; d++, at++) distance += (numbers[at] - goal[d]) ** 2;
    }
    if (distance < least) [best, least] = [i, distance];
  }
  return best;
}

function facetControls(j, changed) {
  const choices = facts.facets[j].clusters.map((cluster, k) => [k, cluster]).filter(([, { size }]) => size);
  const buttons = choices.map(([k]) => el("button", {
    type: "button", class: "thumb decoded", "data-cluster-choice": k, "aria-pressed": "false", "aria-label": clusterName(j, k), title: clusterName(j, k),
    onclick: () => { state.clusters[j] = k; changed(moved(state.z, j, k)); },
  }, picture("decoded", facts.facets[j].means + k)));
  const sliders = facts.facets[j].prior_means[0].map((_, d) => {
    const [low, high] = reach(j, d);
    return el("input", {
      type: "range", min: low, max: high, step: (high - low) / 500 || 1, "aria-label": `facet ${j}, dimension ${d}`,
      oninput: (event) => { state.clusters[j] = null; changed(state.z.map((each, i) => (i === j ? each.map((value, e) => (e === d ? Number(event.target.value) : value)) : each))); },
    });
  });
  const name = el("span", { class: "muted" });
  const element = el("fieldset", {}, el("legend", {}, facetText(j)), name, el("div", { class: "thumbs choose", role: "group", "aria-label": `clusters of facet ${j}` }, buttons),
    el("details", { open: sliders.length <= 12 }, el("summary", {}, `${sliders.length} dimensions`), el("div", { class: "sliders" }, sliders)));
  const follow = () => {
    sliders.forEach((slider, d) => { slider.value = state.z[j][d]; });
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(Number(button.dataset.clusterChoice) === state.clusters[j])));
    name.replaceChildren(state.clusters[j] === null || state.clusters[j] === undefined ? "between clusters" : clusterText(j, state.clusters[j]));
  };
  return { element, follow };
}

let restart = null;

// Begin to play at these latents.
export function playAt(z, movedFacet = state.moved) {
  Object.assign(state, { z, moved: movedFacet });
  state.clusters = z.map((each, j) => {
    const at = facts.facets[j].prior_means.findIndex((mean) => mean.every((value, d) => value === each[d]));
    return at < 0 ? null : at;
  });
  restart?.();
}

// The largest cluster of facet 0, and of the others those beside which it shows most.
const start = () => facts.facets.map((facet, j) => facet.prior_means[facts.facets[0].held[j]]);

export function playPanel() {
  if (!canDecode()) return [el("h1", {}, "Play"), el("p", {}, "The decoder of this model is too large for a page. Its combinations of clusters are under facet against facet.")];
  if (!state.z) playAt(start());
  const canvas = blank({ role: "img", "aria-label": "decoded image", "data-play": true });
  const [near, strip, choice] = [el("div", { class: "near" }), el("div"), el("span")];
  const controls = facts.facets.map((_, j) => facetControls(j, changed));
  let later;
  function follow() {
    paint(canvas, state.z);
    controls.forEach((each) => each.follow());
    clearTimeout(later);
    later = setTimeout(() => {
      const i = nearestImage(state.z);
      near.replaceChildren(thumb(i), el("span", { class: "muted" }, `nearest image: ${imageName(i)}`));
      const options = facts.facets.map((_, j) => [String(j), facetName(j)]);
      choice.replaceChildren(nFacets > 1 ? select("Facet that is moved", options, (value) => { state.moved = Number(value); follow(); }, String(state.moved)) : "");
      strip.replaceChildren(inOtherClusters(state.z, state.moved, state.clusters[state.moved], (k) => { state.clusters[state.moved] = k; changed(moved(state.z, state.moved, k)); }));
    }, 150);
  }
  function changed(z) {
    state.z = z;
    follow();
  }
  restart = follow;
  const again = (words, z) => el("button", { type: "button", onclick: () => { playAt(z()); announce(words); } }, words);
  const anyImage = () => latentsOf(Math.floor(Math.random() * nShown));
  follow();
  return [
    el("h1", {}, "Play"),
    el("p", {}, "Choose a cluster in each facet, or pull at its dimensions: the image is decoded as you go."),
    el("div", { class: "play" },
      el("div", { class: "stage" }, canvas, el("div", { class: "row" }, again("Any image", anyImage), again("Sample these clusters", sampled), again("Start again", start)), near),
      el("div", { class: "controls" }, controls.map(({ element }) => element))),
    el("section", {}, el("h2", {}, "The same image in every cluster"), choice, strip),
  ];
}
