// What the page holds: texts and numbers as JSON, and arrays of numbers of every image, each read when it is needed.
import { find } from "./dom.js";

export const facts = JSON.parse(find("#facts").textContent);
export const nFacets = facts.facets.length;
export const nShown = facts.n_shown;

const KINDS = { int8: Int8Array, uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, float32: Float32Array };
const read = new Map();

// The text of an embedded file, in base64.
export const embedded = (id) => document.getElementById(id).textContent;

export function array(name) {
  if (!read.has(name)) {
    const description = facts.arrays.find((each) => each.name === name);
    const letters = atob(embedded(`array-${name}`));
    const bytes = new Uint8Array(letters.length);
    for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
    read.set(name, { ...description, numbers: new KINDS[description.dtype](bytes.buffer) });
  }
  return read.get(name);
}

export const clusterOf = (j, i) => array("clusters").numbers[i * nFacets + j];
export const confidenceOf = (j, i) => array("confidences").numbers[i * nFacets + j] / 65535;
export const classOf = (label, i) => array("labels").numbers[i * facts.labels.length + label];
export const className = (label, i) => facts.labels[label].classes[classOf(label, i)];
export const imageName = (i) => facts.names ? facts.names[i] : `${facts.split} image ${array("index").numbers[i]}`;

// z_j = m_j(x) of an image, or a point of the map.
export function row(name, i) {
  const { numbers, shape, low, step } = array(name);
  return Array.from(numbers.subarray(i * shape[1], (i + 1) * shape[1]), (number) => low + number * step);
}
export const latentsOf = (i) => facts.facets.map((_, j) => row(`latents_${j}`, i));

const listed = new Map();

// The images of every cluster of a facet, most confident first.
export function members(j) {
  if (!listed.has(j)) {
    const lists = facts.facets[j].clusters.map(() => []);
    for (let i = 0; i < nShown; i++) lists[clusterOf(j, i)].push(i);
    for (const list of lists) list.sort((a, b) => confidenceOf(j, b) - confidenceOf(j, a));
    listed.set(j, lists);
  }
  return listed.get(j);
}

// Clusters that have members, largest first.
export function bySize(j) {
  const { clusters } = facts.facets[j];
  return [...clusters.keys()].filter((k) => clusters[k].size).sort((a, b) => clusters[b].size - clusters[a].size);
}
