// The decoder, layer by layer, as reporting/decoder.py describes it. z: an array of numbers for each facet.
import { el } from "./dom.js";
import { array, facts } from "./content.js";

const weights = new Map();

// The weights of a layer, made by `make` from rounded numbers of eight bits and their scales, once.
function weightsOf(layer, make) {
  if (!weights.has(layer)) weights.set(layer, make(array("decoder_weights").numbers, array("decoder_numbers").numbers));
  return weights.get(layer);
}

function linear(layer, maps) {
  const { in: n, out } = layer;
  const [floats, x] = [array("decoder_numbers").numbers, maps.values];
  const w = weightsOf(layer, (rounded) => Float32Array.from({ length: n * out }, (_, i) => rounded[layer.weights + i] * floats[layer.scale + Math.floor(i / n)]));
  const values = new Float32Array(out);
  for (let o = 0, at = 0; o < out; o++) {
    let sum = floats[layer.bias + o];
    for (let i = 0; i < n; i++, at++) sum += w[at] * x[i];
    values[o] = sum;
  }
  return { values, side: 1 };
}

// The rows of a matrix in groups of so many; within a group numbers lie column by column, as `product` reads them.
function grouped(rows, columns, size, number) {
  const values = new Float32Array(Math.ceil(rows / size) * size * columns);
  for (let row = 0; row < rows; row++) {
    const first = (row - row % size) * columns + row % size;
    for (let column = 0; column < columns; column++) values[first + column * size] = number(row, column);
  }
  return values;
}

const [HIGH, WIDE] = [4, 2];

// Each row of a, grouped by HIGH, times each row of b, grouped by WIDE, both of n columns: (rows of a, rows of b).
// Eight sums at a time, so that a number is read once for several of them: three times as fast as one by one.
function product(a, b, n) {
  const [rows, columns] = [a.length / n, b.length / n];
  const values = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row += HIGH) {
    for (let column = 0; column < columns; column += WIDE) {
      let s0 = 0, s1 = 0, s2 = 0, s3 = 0, t0 = 0, t1 = 0, t2 = 0, t3 = 0;
      for (let c = 0, i = row * n, k = column * n; c < n; c++, i += HIGH, k += WIDE) {
        const left = b[k];
        const right = b[k + 1];
        s0 += a[i] * left; s1 += a[i + 1] * left; s2 += a[i + 2] * left; s3 += a[i + 3] * left;
        t0 += a[i] * right; t1 += a[i + 1] * right; t2 += a[i + 2] * right; t3 += a[i + 3] * right;
      }
      const at = row * columns + column;
      values[at] = s0; values[at + columns] = s1; values[at + 2 * columns] = s2; values[at + 3 * columns] = s3;
      values[at + 1] = t0; values[at + columns + 1] = t1; values[at + 2 * columns + 1] = t2; values[at + 3 * columns + 1] = t3;
    }
  }
  return { values, columns };
}

// A transposed convolution: what every pixel spreads over a window, then all windows laid upon each other.
function transposed(layer, maps) {
  const { in: n, out, kernel, stride, padding, extra } = layer;
  const [area, window] = [maps.side ** 2, out * kernel ** 2];
  const w = weightsOf(layer, (rounded, floats) => grouped(window, n, HIGH, (q, c) => rounded[layer.weights + c * window + q] * floats[layer.scale + Math.floor(q / kernel ** 2)]));
  const spread = product(w, grouped(area, n, WIDE, (p, c) => maps.values[c * area + p]), n);
  const side = (maps.side - 1) * stride - 2 * padding + kernel + extra;
  const values = new Float32Array(out * side ** 2);
  const floats = array("decoder_numbers").numbers;
  for (let o = 0; o < out; o++) values.fill(floats[layer.bias + o], o * side ** 2, (o + 1) * side ** 2);
  for (let q = 0; q < window; q++) {
    const [top, left] = [Math.floor(q / kernel) % kernel - padding, q % kernel - padding];
    const plane = Math.floor(q / kernel ** 2) * side ** 2;
    for (let row = 0; row < maps.side; row++) {
      const y = row * stride + top;
      if (y < 0 || y >= side) continue;
      for (let column = 0, from = q * spread.columns + row * maps.side; column < maps.side; column++, from++) {
        const x = column * stride + left;
        if (x >= 0 && x < side) values[plane + y * side + x] += spread.values[from];
      }
    }
  }
  return { values, side };
}

function affine(layer, maps) {
  const floats = array("decoder_numbers").numbers;
  const [area, values] = [maps.values.length / layer.channels, new Float32Array(maps.values.length)];
  for (let c = 0, i = 0; c < layer.channels; c++) {
    const [scale, bias] = [floats[layer.scale + c], floats[layer.bias + c]];
    for (const end = i + area; i < end; i++) values[i] = maps.values[i] * scale + bias;
  }
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

// What facet j makes of its latents, joined with what comes from the facets above it.
function joined(plan, j, z) {
  const rung = through(plan.facets[j].rung, asMaps(z[j]));
  const side = plan.join === "stack" ? plan.sides[j] : 1;
  if (j === z.length - 1) return { values: rung.values, side };
  const above = handedDown(plan, j + 1, z);
  if (plan.join === "add") return { values: rung.values.map((x, i) => plan.gate * x + above.values[i]), side };
  const values = new Float32Array(rung.values.length + above.values.length);
  values.set(rung.values);
  values.set(above.values, rung.values.length);
  return { values, side };
}

const KEPT = 200;
const kept = new Map();

// What facets j and above make of their latents. It is kept, as facet j - 1 may move while these stay.
function handedDown(plan, j, z) {
  const key = `${j}:${z.slice(j).join(";")}`;
  if (!kept.has(key)) {
    if (kept.size >= KEPT) kept.delete(kept.keys().next().value);
    kept.set(key, through(plan.facets[j].backbone, joined(plan, j, z)));
  }
  return kept.get(key);
}

// Pixels (C, H, W) in [0, 1] of one image.
export function decode(z) {
  const plan = facts.decoder;
  const maps = plan.join === "concatenate" ? asMaps(z.flat()) : through(plan.facets[0].backbone, joined(plan, 0, z));
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
