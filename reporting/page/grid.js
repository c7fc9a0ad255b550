// Facet against facet: the real images of each pair of clusters, how many they are, and what the model would make of both.
import { count, el, openDialog, plural, select } from "./dom.js";
import { clusterOf, confidenceOf, facts, nShown } from "./content.js";
import { draw } from "./atlas.js";
import { gallery } from "./gallery.js";
import { clusterName, clusterText, facetName, facetText } from "./names.js";
import { meanThumb } from "./thumbs.js";

// The images of every pair of clusters, surest first: "row:column" -> images.
function imagesOfPairs({ rows, columns }) {
  const found = new Map();
  for (let i = 0; i < nShown; i++) {
    const key = `${clusterOf(rows, i)}:${clusterOf(columns, i)}`;
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(i);
  }
  const sureness = (i) => confidenceOf(rows, i) * confidenceOf(columns, i);
  for (const images of found.values()) images.sort((a, b) => sureness(b) - sureness(a));
  return found;
}

function cellCanvas(images, decoded, shows) {
  const { width, height } = facts.tiles.images;
  const sides = shows === "both" ? 2 : 1;
  const gap = shows === "both" ? Math.ceil(width / 16) : 0;
  const canvas = el("canvas", { width: sides * width + gap, height, class: width < 48 ? "pixels" : "smooth" });
  if (shows !== "decoded" && images.length) draw(canvas, "images", images[0]);
  if (shows !== "real") draw(canvas, "decoded", decoded, shows === "both" ? width + gap : 0);
  return canvas;
}

function openPair(pair, r, c, images) {
  openDialog(`${clusterName(pair.rows, r)} and ${clusterName(pair.columns, c)}`,
    el("p", { class: "muted" }, facetText(pair.rows), ": ", clusterText(pair.rows, r), " · ", facetText(pair.columns), ": ", clusterText(pair.columns, c), ` · ${plural(images.length, "image")}`),
    gallery(images, "images of both clusters"));
}

function table(pair, shows) {
  const found = imagesOfPairs(pair);
  const most = Math.max(1, ...[...found.values()].map((images) => images.length));
  const cell = (r, c, at) => {
    const images = found.get(`${r}:${c}`) ?? [];
    const words = `${clusterName(pair.rows, r)} and ${clusterName(pair.columns, c)}: ${plural(images.length, "image")}`;
    return el("td", { style: `--share:${Math.sqrt(images.length / most)}` },
      el("button", { type: "button", class: images.length ? "cell" : "cell empty", "aria-label": words, title: words, onclick: () => openPair(pair, r, c, images) },
        cellCanvas(images, pair.first + at, shows), el("span", { class: "number" }, images.length ? count(images.length) : "none")));
  };
  const head = el("tr", {}, el("td"), pair.column_clusters.map((c) => el("th", { scope: "col" }, meanThumb(pair.columns, c), clusterText(pair.columns, c))));
  const body = pair.row_clusters.map((r, y) => el("tr", {}, el("th", { scope: "row" }, meanThumb(pair.rows, r), clusterText(pair.rows, r)),
    pair.column_clusters.map((c, x) => cell(r, c, y * pair.column_clusters.length + x))));
  return el("table", { class: "grid" }, el("thead", {}, head), el("tbody", {}, body));
}

export function gridPanel() {
  const place = el("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "grid of cluster pairs" });
  const note = el("p", { class: "muted" });
  let [which, shows] = [0, "both"];
  const show = () => {
    const pair = facts.pairs[which];
    const cut = [[pair.rows, pair.row_clusters], [pair.columns, pair.column_clusters]].filter(([j, list]) => list.length < facts.facets[j].n_used);
    note.textContent = cut.map(([j, list]) => `${facetName(j)}: its ${list.length} largest clusters.`).join(" ");
    place.replaceChildren(table(pair, shows));
  };
  const pairs = facts.pairs.map((pair, i) => [String(i), `${facetName(pair.rows)} by ${facetName(pair.columns)}`]);
  show();
  const views = [["both", "real image and decoded"], ["real", "real images"], ["decoded", "decoded means"]];
  return [
    el("h1", {}, "Facet against facet"),
    el("p", {}, "Left in a cell the surest real image of both clusters and how many there are: what the data hold. Beside it the decoded combination of both means: what the model believes, also where there is no such image."),
    el("div", { class: "row" }, pairs.length > 1 ? select("Facets", pairs, (value) => { which = Number(value); show(); }) : null,
      select("Show", views, (value) => { shows = value; show(); })),
    note, place,
  ];
}
