// Curves over the epochs: point at a chart, or move along it by the arrow keys, for the values.
import { announce, el, hue, svg } from "./dom.js";

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [520, 220, 52, 10, 12, 26];

function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 0.001) return value.toExponential(1);
  return size >= 1000 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));
}

function ticks(low, high, n = 4) {
  const rough = (high - low) / n || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const found = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-6; tick += step) found.push(tick);
  return found;
}

// The range of the values, without the few largest of the first epochs where these would flatten the rest.
function range(series) {
  const values = series.flatMap((each) => each.values).filter((value) => value !== null && value !== undefined).sort((a, b) => a - b);
  if (!values.length) return [0, 1];
  const at = (share) => values[Math.round(share * (values.length - 1))];
  const [low, high] = [values[0], at(1) - at(0) > 4 * (at(0.9) - at(0)) ? at(0.9) : at(1)];
  const margin = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  return [low - margin, high + margin];
}

function path(values, x, y) {
  let isDrawing = false;
  return values.map((value, i) => {
    if (value === null || value === undefined) { isDrawing = false; return ""; }
    const command = isDrawing ? "L" : "M";
    isDrawing = true;
    return `${command}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
  }).join("");
}

export function lineChart(title, epochs, series) {
  const [low, high] = range(series);
  const last = epochs[epochs.length - 1] || 1;
  const x = (i) => LEFT + (epochs[i] / last) * (WIDTH - LEFT - RIGHT);
  const y = (value) => Math.max(TOP - 4, TOP + (1 - (value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM));
  const chart = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", tabindex: "0", "aria-label": `${title} over ${last} epochs; arrow keys tell the values` });
  for (const tick of ticks(low, high)) {
    chart.append(svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(tick), y2: y(tick), class: "rule" }),
      svg("text", { x: LEFT - 6, y: y(tick) + 4, class: "tick end" }, short(tick)));
  }
  for (const tick of ticks(0, last, 6)) chart.append(svg("text", { x: LEFT + (tick / last) * (WIDTH - LEFT - RIGHT), y: HEIGHT - 8, class: "tick middle" }, short(tick)));
  series.forEach(({ values }, s) => chart.append(svg("path", { d: path(values, x, y), class: "curve", stroke: hue(s) })));
  const marker = svg("line", { y1: TOP, y2: HEIGHT - BOTTOM, class: "marker", visibility: "hidden" });
  chart.append(marker);
  const values = series.map((_, s) => el("b", { class: "number", "data-series": s }));
  const epoch = el("span", { class: "muted number" });
  const legend = el("figcaption", {}, series.map(({ name }, s) => el("span", { class: "key" }, el("i", { style: `background:${hue(s)}` }), name, " ", values[s])), epoch);
  let at = epochs.length - 1;
  function show(i) {
    at = Math.max(0, Math.min(epochs.length - 1, i));
    marker.setAttribute("x1", x(at));
    marker.setAttribute("x2", x(at));
    series.forEach((each, s) => { values[s].textContent = each.values[at] === null || each.values[at] === undefined ? "–" : short(each.values[at]); });
    epoch.textContent = `epoch ${epochs[at]}`;
  }
  const point = (event) => {
    const box = chart.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT);
    show(epochs.reduce((best, each, i) => (Math.abs(each - share * last) < Math.abs(epochs[best] - share * last) ? i : best), 0));
    marker.setAttribute("visibility", "visible");
  };
  chart.addEventListener("pointermove", point);
  chart.addEventListener("pointerdown", point);
  chart.addEventListener("pointerleave", () => { marker.setAttribute("visibility", "hidden"); show(epochs.length - 1); });
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    show(at + step * (event.shiftKey ? 10 : 1));
    marker.setAttribute("visibility", "visible");
    announce(`epoch ${epochs[at]}: ${series.map(({ name }, s) => `${name} ${values[s].textContent}`).join(", ")}`);
  });
  show(at);
  return el("figure", { class: "chart-box" }, el("h3", {}, title), chart, legend);
}
