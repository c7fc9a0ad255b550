// The decoder, layer by layer, as reporting/decoder.py describes it. z: an array of numbers for each facet.
import { el } from "./dom.js";
import { array, facts } from "./content.js";

const weights = new Map();

// The weights of a layer with their scales: rounded numbers of eight bits become real ones once.
function weightsOf(layer, outputs, outputOf) {
  if (!weights.has(layer)) {
    const [rounded, floats] = [array("decoder_weights").numbers, array("decoder_numbers").numbers];
    const values = new Float32Array(outputs);
    for (let i = 0; i < outputs; i++) values[i] = rounded[layer.weights + i] * floats[layer.scale + outputOf(i)];
    weights.set(layer, values);
  }
  return weights.get(layer);
}

function linear(layer, maps) {
  const { in: n, out } = layer;
  const [w, floats, x] = [weightsOf(layer, n * out, (i) => Math.floor(i / n)), array("decoder_numbers").numbers, maps.values];
  const values = new Float32Array(out);
  for (let o = 0, at = 0; o < out; o++) {
    let sum = floats[layer.bias + o];
    for (let i = 0; i < n; i++, at++) sum += w[at] * x[i];
    values[o] = sum;
  }
  return { values, side: 1 };
}

// A transposed convolution: what every pixel spreads over a window, then all windows laid upon each other.
function transposed(layer, maps) {
  const { in: n, out, kernel, stride, padding, extra } = layer;
  const window = out * kernel * kernel;
  const w = weightsOf(layer, n * window, (i) => Math.floor(i / (kernel * kernel)) % out);
  const side = (maps.side - 1) * stride - 2 * padding + kernel + extra;
  const [area, larger] = [maps.side ** 2, side ** 2];
  const values = new Float32Array(out * larger);
  const floats = array("decoder_numbers").numbers;
  for (let o = 0; o < out; o++) values.fill(floats[layer.bias + o], o * larger, (o + 1) * larger);
  const spread = new Float32Array(window);
  for (let p = 0; p < area; p++) {
    spread.fill(0);
    for (let c = 0; c < n; c++) {
      const x = maps.values[c * area + p];
      if (x === 0) continue;
      for (let q = 0, at = c * window; q < window; q++, at++) spread[q] += w[at] * x;
    }
    const [top, left] = [Math.floor(p / maps.side) * stride - padding, (p % maps.side) * stride - padding];
    for (let q = 0; q < window; q++) {
      const [o, y, x] = [Math.floor(q / kernel ** 2), top + Math.floor((q % kernel ** 2) / kernel), left + (q % kernel)];
      if (y >= 0 && y < side && x >= 0 && x < side) values[o * larger + y * side + x] += spread[q];
    }
  }
  return { values, side };
}

function affine(layer, maps) {
  const floats = array("decoder_numbers").numbers;
  const area = maps.values.length / layer.channels;
  const values = maps.values.map((x, i) => x * floats[layer.scale + Math.floor(i / area)] + floats[layer.bias + Math.floor(i / area)]);
  return { values, side: maps.side };
}

const LAYERS = {
  linear,
  transposed,
  affine,
  relu: (layer, { values, side }) => ({ values: values.map((x) => (x > 0 ? x : layer.slope * x)), side }),
  elu: (layer, { values, side }) => ({ values: values.map((x) => (x > 0 ? x : Math.expm1(x))), side }),
};
const through = (layers, maps) => layers.reduce((found, layer) => LAYERS[layer.kind](layer, found), maps);
const asMaps = (values) => ({ values: Float32Array.from(values), side: 1 });

function joined(plan, j, z, above) {
  const rung = through(plan.facets[j].rung, asMaps(z));
  if (plan.join === "add") return { values: rung.values.map((x, i) => plan.gate * x + above.values[i]), side: 1 };
  const values = new Float32Array(rung.values.length + above.values.length);
  values.set(rung.values);
  values.set(above.values, rung.values.length);
  return { values, side: plan.sides[j] };
}

// Pixels (C, H, W) in [0, 1] of one image.
export function decode(z) {
  const plan = facts.decoder;
  let maps;
  if (plan.join === "concatenate") {
    maps = asMaps(z.flat());
  } else {
    const top = z.length - 1;
    maps = through(plan.facets[top].rung, asMaps(z[top]));
    if (plan.sides) maps.side = plan.sides[top];
    maps = through(plan.facets[top].backbone, maps);
    for (let j = top - 1; j >= 0; j--) maps = through(plan.facets[j].backbone, joined(plan, j, z[j], maps));
  }
  const { values } = through(plan.pixels, maps);
  return plan.squash ? values.map((x) => 1 / (1 + Math.exp(-x))) : values.map((x) => Math.min(1, Math.max(0, x)));
}

export const canDecode = () => facts.decoder !== null;

export function paint(canvas, z) {
  const [channels, height, width] = facts.decoder.shape;
  const [pixels, area] = [decode(z), height * width];
  const image = new ImageData(width, height);
  for (let p = 0; p < area; p++) {
    for (let c = 0; c < 3; c++) image.data[4 * p + c] = 255 * pixels[(c < channels ? c : 0) * area + p];
    image.data[4 * p + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// A canvas of a decoded image's size.
export function blank(attributes = {}) {
  const [, height, width] = facts.decoder.shape;
  return el("canvas", { width, height, class: width < 48 ? "pixels" : "smooth", ...attributes });
}

// Paint many canvases a few at a time, so that the page stays awake; the returned function stops it.
export function paintAll(jobs) {
  let next = 0;
  let stopped = false;
  const work = () => {
    const until = performance.now() + 12;
    while (!stopped && next < jobs.length && performance.now() < until) {
      const [canvas, z] = jobs[next++];
      paint(canvas, z);
    }
    if (!stopped && next < jobs.length) setTimeout(work);
  };
  setTimeout(work);
  return () => { stopped = true; };
}
