// Names that the reader gives: of facets and clusters, which clusters are one, and which are wrong. The browser keeps
// them under the model's fingerprint; predict.py reads the exported file.
import { el, find, hue } from "./dom.js";
import { facts, members } from "./content.js";

const KEY = `mfcvae-names-${facts.fingerprint}`;
const FORMAT = "mfcvae-names-1";
const unnamed = () => ({ facets: facts.facets.map(() => ({ name: "", clusters: {} })) });
let given = unnamed();
try {
  given = checked(JSON.parse(localStorage.getItem(KEY))) ?? given;
} catch { /* a browser may keep nothing for files, or something else is kept there */ }

function checked(stored) {
  if (!Array.isArray(stored?.facets) || stored.facets.length !== facts.facets.length) return null;
  const facets = stored.facets.map((facet, j) => {
    const clusters = {};
    for (const [k, { name, merged_into, wrong }] of Object.entries(facet.clusters ?? {})) {
      const isCluster = (n) => Number.isInteger(n) && n >= 0 && n < facts.facets[j].clusters.length;
      if (isCluster(Number(k))) clusters[k] = { name: String(name ?? ""), merged_into: isCluster(merged_into) ? merged_into : null, wrong: wrong === true };
    }
    return { name: String(facet.name ?? ""), clusters };
  });
  return { facets };
}

const entry = (j, k) => given.facets[j].clusters[k] ?? { name: "", merged_into: null, wrong: false };
export const givenName = (j, k) => entry(j, k).name;
export const isWrong = (j, k) => entry(j, k).wrong;
export const mergedInto = (j, k) => entry(j, k).merged_into;
export const givenFacetName = (j) => given.facets[j].name;

// The cluster that k stands for: itself, or the one that it was merged into.
export function standsFor(j, k) {
  const seen = new Set();
  while (mergedInto(j, k) !== null && !seen.has(k)) {
    seen.add(k);
    k = mergedInto(j, k);
  }
  return k;
}

// Each cluster has one colour throughout the page, its own where the facet is one of colour; merged ones share it.
const firstHue = (j) => facts.facets.slice(0, j).reduce((n, { clusters }) => n + clusters.length, 0);
export const colourOf = (j, k) => facts.facets[j].colours?.[standsFor(j, k)] ?? hue(firstHue(j) + standsFor(j, k));

// Where a facet clusters by a label, a cluster is called by the class that most of its members have.
const hint = ({ closest, closest_ami }) => (closest !== null && closest_ami > 0.3 ? closest : "");
export function unnamedCluster(j, k) {
  const [facet, label] = [facts.facets[j], facts.labels.findIndex(({ name }) => name === hint(facts.facets[j]))];
  const classes = facet.clusters[k].classes[label];
  return classes?.length ? `${facts.labels[label].classes[classes[0][0]]} #${k}` : `cluster ${k}`;
}
export const clusterName = (j, k) => givenName(j, k) || unnamedCluster(j, k);

export function facetName(j) {
  const name = givenFacetName(j) || hint(facts.facets[j]);
  return name ? `Facet ${j} · ${name}` : `Facet ${j}`;
}

// All shown images of a cluster and of those that were merged into it, most confident first within each.
export function allMembers(j, k) {
  return members(j).flatMap((list, other) => (standsFor(j, other) === standsFor(j, k) ? list : []));
}

// Texts that follow the names.
const TEXTS = { cluster: (j, k) => clusterName(j, k), facet: (j) => facetName(j), status: statusOf };
function text(kind, j, k) {
  const style = kind === "cluster" ? `--colour:${colourOf(j, k)}` : null;
  return el("span", { "data-named": kind, "data-facet": j, "data-cluster": k ?? 0, class: `named ${kind}`, style }, TEXTS[kind](j, k));
}
export const clusterText = (j, k) => text("cluster", j, k);
export const facetText = (j) => text("facet", j);
export const statusText = (j, k) => text("status", j, k);

function statusOf(j, k) {
  const words = [isWrong(j, k) ? "marked wrong" : "", mergedInto(j, k) === null ? "" : `merged into ${clusterName(j, mergedInto(j, k))}`];
  return words.filter(Boolean).join(", ");
}

function changed() {
  try { localStorage.setItem(KEY, JSON.stringify(given)); } catch { /* kept as long as the page is open */ }
  for (const span of document.querySelectorAll("[data-named]")) {
    const { named, facet, cluster } = span.dataset;
    span.textContent = TEXTS[named](Number(facet), Number(cluster));
    if (named === "cluster") span.style.setProperty("--colour", colourOf(Number(facet), Number(cluster)));
  }
  find("#panels").dispatchEvent(new CustomEvent("renamed"));
}

export function nameFacet(j, name) {
  given.facets[j].name = name;
  changed();
}

// change: {name}, {merged_into} or {wrong}.
export function nameCluster(j, k, change) {
  if (change.merged_into !== undefined && change.merged_into !== null && standsFor(j, change.merged_into) === k) return false;
  given.facets[j].clusters[k] = { ...entry(j, k), ...change };
  changed();
  return true;
}

export function exported() {
  const facets = given.facets.map(({ name, clusters }) => ({
    name,
    clusters: Object.entries(clusters).map(([k, each]) => ({ cluster: Number(k), ...each })),
  }));
  const n_clusters = facts.facets.map((facet) => facet.clusters.length);
  return { format: FORMAT, model: facts.name, fingerprint: facts.fingerprint, n_clusters, facets };
}

// Take names from an exported file; what is wrong with it, or nothing.
export function imported(file) {
  if (file?.format !== FORMAT) return "This is no file of names.";
  if (file.fingerprint !== facts.fingerprint) return "These are names of another model.";
  const facets = file.facets.map(({ name, clusters }) => ({ name, clusters: Object.fromEntries(clusters.map((c) => [c.cluster, c])) }));
  given = checked({ facets }) ?? given;
  changed();
  return "";
}

export function forgetNames() {
  given = unnamed();
  changed();
}
