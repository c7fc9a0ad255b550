// Play: choose a cluster in each facet, or pull at its dimensions, and see what the model decodes.
import { announce, el, select } from "./dom.js";
import { array, bySize, facts, imageName, latentsOf, nFacets, nShown } from "./content.js";
import { picture } from "./atlas.js";
import { blank, canDecode, paint } from "./decoder.js";
import { combinedPanel } from "./combined.js";
import { inOtherClusters, moved, stopPainting } from "./image.js";
import { clusterName, clusterText, facetName, facetText } from "./names.js";
import { thumb } from "./thumbs.js";

const REST = 150;
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

// The cluster with members whose mean is nearest.
function nearestCluster(j, z) {
  const distance = (k) => Math.hypot(...facts.facets[j].prior_means[k].map((value, d) => value - z[d]));
  return bySize(j).reduce((best, k) => (distance(k) < distance(best) ? k : best));
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
      type: "range", min: low, max: high, step: (high - low) / 500 || 1, "aria-label": `Facet ${j}, dimension ${d}`,
      oninput: (event) => { state.clusters[j] = null; changed(state.z.map((each, i) => (i === j ? each.map((value, e) => (e === d ? Number(event.target.value) : value)) : each))); },
    });
  });
  const name = el("span", { class: "muted" });
  const element = el("fieldset", {}, el("legend", {}, facetText(j)), name, el("div", { class: "thumbs choose", role: "group", "aria-label": `clusters of facet ${j}` }, buttons),
    el("details", { open: sliders.length <= 12 }, el("summary", {}, `${sliders.length} dimensions`), el("div", { class: "sliders" }, sliders.map((slider, d) => el("label", {}, `dimension ${d}`, slider)))));
  const follow = () => {
    sliders.forEach((slider, d) => { slider.value = state.z[j][d]; });
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(Number(button.dataset.clusterChoice) === state.clusters[j])));
    const k = state.clusters[j];
    name.replaceChildren(...(k === null ? ["nearest to ", clusterText(j, nearestCluster(j, state.z[j])), ", not at its mean"] : ["at the mean of ", clusterText(j, k)]));
  };
  return { element, follow };
}

// The image in every cluster of the facet that is moved, painted when the latents rest.
function everyCluster(changed) {
  const place = el("div");
  const options = facts.facets.map((_, j) => [String(j), facetName(j)]);
  const choice = select("Facet that is moved", options, (value) => { state.moved = Number(value); follow(); });
  let [shown, others] = [null, null];
  function follow() {
    const j = state.moved;
    if (shown !== j) {
      [shown, others] = [j, inOtherClusters(j, (k) => { state.clusters[j] = k; changed(moved(state.z, j, k)); })];
      choice.querySelector("select").value = j;
      place.replaceChildren(others.element);
    }
    others.show(state.z, state.clusters[j]);
  }
  return { follow, element: el("div", {}, nFacets > 1 ? choice : null, place) };
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
  if (!canDecode()) return combinedPanel();
  if (!state.z) playAt(start());
  const canvas = blank({ role: "img", "aria-label": "decoded image", "data-play": true });
  const near = el("div", { class: "near" });
  const controls = facts.facets.map((_, j) => facetControls(j, changed));
  const others = everyCluster(changed);
  let later;
  function follow() {
    stopPainting();
    paint(canvas, state.z);
    controls.forEach((each) => each.follow());
    clearTimeout(later);
    later = setTimeout(() => {
      const i = nearestImage(state.z);
      near.replaceChildren(thumb(i), el("span", { class: "muted" }, `nearest image: ${imageName(i)}`));
      others.follow();
    }, REST);
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
    el("section", {}, el("h2", {}, "The same image in every cluster"), others.element),
  ];
}
