// A map of a facet's latents: a point for each image, pictures on hover, and a lasso that lists what it encloses.
import { announce, canPoint, count, el, heat, hue, plural, select, sentence } from "./dom.js";
import { array, classOf, clusterOf, confidenceOf, facts, imageName } from "./content.js";
import { draw } from "./atlas.js";
import { gallery } from "./gallery.js";
import { clusterName, clusterText, colourOf, facetName } from "./names.js";
import { describe, hideTooltip, showTooltip } from "./thumbs.js";

const NEAREST = 60;
const REACH = 14;
const MARGIN = 24;
const PICTURE = 34;

// Whether a point is within a polygon of points: a ray to the right crosses its border an odd number of times.
export function isWithin([x, y], polygon) {
  let within = false;
  for (let i = 0, k = polygon.length - 1; i < polygon.length; k = i++) {
    const [[xi, yi], [xk, yk]] = [polygon[i], polygon[k]];
    if (yi > y !== yk > y && x < ((xk - xi) * (y - yi)) / (yk - yi) + xi) within = !within;
  }
  return within;
}

function colourings(j) {
  const labels = facts.labels.map(({ name, classes }, label) => [`label-${label}`, {
    text: name, colour: (i) => hue(classOf(label, i)), keys: classes.map((text, c) => [hue(c), text]),
  }]);
  const { clusters } = facts.facets[j];
  const used = clusters.flatMap(({ size }, k) => (size ? [k] : []));
  const colours = clusters.map((_, k) => colourOf(j, k));
  return Object.fromEntries([
    ["cluster", { text: "cluster", colour: (i) => colours[clusterOf(j, i)], keys: used.map((k) => [colours[k], clusterText(j, k)]) }],
    ...labels,
    ["confidence", { text: "confidence", colour: (i) => heat(confidenceOf(j, i)), keys: [0, 0.25, 0.5, 0.75, 1].map((share) => [heat(share), `${100 * share} %`]) }],
  ]);
}

class LatentMap {
  constructor() {
    this.canvas = el("canvas", { class: "map", tabindex: "0", "data-map": true, role: "img" });
    this.found = el("div", { class: "found" });
    this.legend = el("div", { class: "legend" });
    this.words = el("p", { class: "muted" });
    this.lasso = [];
    this.at = null;
    this.canvas.addEventListener("pointerdown", (event) => this.begin(event));
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    this.canvas.addEventListener("pointerup", () => this.end());
    this.canvas.addEventListener("pointercancel", () => { this.lasso = []; this.paint(); });
    this.canvas.addEventListener("pointerleave", hideTooltip);
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.layOut()).observe(this.canvas);
  }

  show(j, kind) {
    Object.assign(this, { j, kind, at: null, lasso: [] });
    this.colouring = colourings(j)[kind];
    this.words.textContent = `${sentence(facts.facets[j].map)}. ${canPoint() ? "Point at" : "Tap"} an image to see it; draw a loop around some to list them.`;
    this.canvas.setAttribute("aria-label", `Map of ${facetName(j)}. Arrow keys go from image to image, Enter lists those around.`);
    this.legend.replaceChildren(...this.colouring.keys.map(([colour, text]) => el("span", { class: "key" }, el("i", { style: `background:${colour}` }), text)));
    this.layOut();
  }

  // Places of all points on the canvas, for its present size.
  layOut() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || this.j === undefined) return;
    const ratio = devicePixelRatio || 1;
    Object.assign(this.canvas, { width: width * ratio, height: height * ratio });
    const { numbers, shape } = array(`map_${this.j}`);
    const ends = [0, 1].map((axis) => {
      let [low, high] = [Infinity, -Infinity];
      for (let i = axis; i < numbers.length; i += 2) { low = Math.min(low, numbers[i]); high = Math.max(high, numbers[i]); }
      return [low, high];
    });
    const scale = Math.min(...ends.map(([low, high], axis) => ([width, height][axis] - 2 * MARGIN) / (high - low || 1)));
    this.images = facts.facets[this.j].is_map_sampled ? array(`map_images_${this.j}`).numbers : Array.from({ length: shape[0] }, (_, i) => i);
    this.points = Array.from({ length: shape[0] }, (_, p) => ends.map(([low, high], axis) => {
      const offset = (numbers[2 * p + axis] - (low + high) / 2) * scale;
      return axis ? height / 2 - offset : width / 2 + offset;
    }));
    this.squares = null;
    this.paintGround();
  }

  // What stays while one points and draws: all points and pictures.
  paintGround() {
    const ratio = devicePixelRatio || 1;
    this.ground = el("canvas", { width: this.canvas.width, height: this.canvas.height });
    const context = this.ground.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const size = this.pointSize();
    context.globalAlpha = this.points.length > 5000 ? 0.7 : 0.85;
    this.points.forEach(([x, y], p) => {
      context.fillStyle = this.colouring.colour(this.images[p]);
      context.beginPath();
      context.arc(x, y, size / 2, 0, 7);
      context.fill();
    });
    context.globalAlpha = 1;
    if (this.pictures) this.paintPictures(context);
    this.paint();
  }

  pointSize() {
    return Math.max(2, Math.min(7, 260 / Math.sqrt(this.points.length)));
  }

  paint() {
    const context = this.canvas.getContext("2d");
    const ratio = devicePixelRatio || 1;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.drawImage(this.ground, 0, 0);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const style = getComputedStyle(this.canvas);
    context.strokeStyle = context.fillStyle = style.color;
    if (this.lasso.length) {
      context.beginPath();
      this.lasso.forEach(([x, y]) => context.lineTo(x, y));
      context.closePath();
      context.lineWidth = 1.5;
      context.stroke();
      context.globalAlpha = 0.1;
      context.fill();
      context.globalAlpha = 1;
    }
    if (this.at !== null) {
      context.beginPath();
      context.arc(...this.points[this.at], this.pointSize() + 4, 0, 7);
      context.lineWidth = 2;
      context.stroke();
    }
  }

  // The first image of each square of the map, framed by its colour; decoded once for a layout.
  paintPictures(context) {
    const { width, height } = facts.tiles.images;
    if (!this.squares) {
      this.squares = new Map();
      this.points.forEach(([x, y], p) => {
        const square = `${Math.floor(x / PICTURE)}:${Math.floor(y / PICTURE)}`;
        if (!this.squares.has(square)) this.squares.set(square, { i: this.images[p], canvas: el("canvas", { width, height }) });
      });
      const { squares } = this;
      Promise.all([...squares.values()].map(({ i, canvas }) => draw(canvas, "images", i))).then(() => { squares.ready = true; if (this.squares === squares) this.paintGround(); });
    }
    if (!this.squares.ready) return;
    const side = PICTURE - 5;
    context.imageSmoothingEnabled = width > side;
    for (const [square, { i, canvas }] of this.squares) {
      const [x, y] = square.split(":").map((at) => at * PICTURE + 2.5);
      context.fillStyle = this.colouring.colour(i);
      context.fillRect(x - 2, y - 2, side + 4, side + 4);
      context.drawImage(canvas, x, y, side, side);
    }
  }

  nearest([x, y], reach = Infinity) {
    let [best, least] = [null, reach ** 2];
    this.points.forEach(([px, py], p) => {
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least) [best, least] = [p, distance];
    });
    return best;
  }

  begin(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.lasso = [[event.offsetX, event.offsetY]];
  }

  move(event) {
    const place = [event.offsetX, event.offsetY];
    if (event.buttons && this.lasso.length) {
      this.lasso.push(place);
      hideTooltip();
      this.paint();
    } else {
      this.point(this.nearest(place, REACH));
    }
  }

  end() {
    const drawn = this.lasso;
    if (drawn.length < 4) {
      this.lasso = [];
      const p = drawn.length ? this.nearest(drawn[0], REACH) : null;
      if (p !== null) this.list([this.images[p]], "The image there");
      this.paint();
      return;
    }
    this.list(this.points.flatMap((point, p) => (isWithin(point, drawn) ? [this.images[p]] : [])), "Within the lasso");
    this.paint();
  }

  // Show what point p is, or nothing.
  point(p) {
    if (p === this.at && p !== null) return;
    this.at = p;
    this.paint();
    if (p === null) return hideTooltip();
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = this.points[p];
    showTooltip(this.images[p], { left: box.left + x - 6, right: box.left + x + 6, top: box.top + y });
  }

  key(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (step) {
      event.preventDefault();
      this.point(this.at === null ? this.nearest([this.canvas.clientWidth / 2, this.canvas.clientHeight / 2]) : this.next(step));
      const i = this.images[this.at];
      announce(`${imageName(i)}, ${describe(i)}`);
    } else if (event.key === "Enter" && this.at !== null) {
      const [x, y] = this.points[this.at];
      const byDistance = this.points.map(([px, py], p) => [(px - x) ** 2 + (py - y) ** 2, this.images[p]]).sort((a, b) => a[0] - b[0]);
      this.list(byDistance.slice(0, NEAREST).map(([, i]) => i), "Around this image");
    }
  }

  // The nearest point in a direction; the present one where there is none.
  next([dx, dy]) {
    const [x, y] = this.points[this.at];
    let [best, least] = [this.at, Infinity];
    this.points.forEach(([px, py], p) => {
      const [along, across] = [(px - x) * dx + (py - y) * dy, Math.abs((px - x) * dy) + Math.abs((py - y) * dx)];
      if (along > 1 && along + 2 * across < least) [best, least] = [p, along + 2 * across];
    });
    return best;
  }

  list(images, words) {
    const sizes = new Map();
    for (const i of images) sizes.set(clusterOf(this.j, i), (sizes.get(clusterOf(this.j, i)) ?? 0) + 1);
    const clusters = [...sizes].sort((a, b) => b[1] - a[1]).slice(0, 8).map(([k, n]) => `${clusterName(this.j, k)}: ${count(n)}`);
    const title = `${words}: ${plural(images.length, "image")}`;
    announce(title);
    this.found.replaceChildren(el("h2", {}, title), el("p", { class: "muted" }, clusters.join(" · ")), gallery(images, words));
  }
}

export function mapPanel() {
  const map = new LatentMap();
  let [j, kind] = [facts.facets.length - 1, "cluster"];
  const colours = el("span");
  map.pictures = true;
  const pictures = el("input", { type: "checkbox", checked: true, onchange: (event) => { map.pictures = event.target.checked; map.paintGround(); } });
  const show = () => {
    const options = Object.entries(colourings(j)).map(([value, { text }]) => [value, text]);
    colours.replaceChildren(select("Colour", options, (value) => { kind = value; show(); }, kind));
    map.show(j, kind);
  };
  const facets = facts.facets.map((_, each) => [String(each), facetName(each)]);
  requestAnimationFrame(show);
  return [
    el("h1", {}, "Map of latents"),
    el("div", { class: "row" }, facets.length > 1 ? select("Facet", facets, (value) => { j = Number(value); show(); }, String(j)) : null, colours, el("label", { class: "check" }, pictures, "pictures")),
    map.words,
    map.canvas, map.legend, map.found,
  ];
}
