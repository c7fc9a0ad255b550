// Pictures out of atlases, which the browser decodes when the first picture of each is drawn.
import { el } from "./dom.js";
import { embedded, facts } from "./content.js";

const atlases = new Map();

function atlas(set, n) {
  const id = `tiles-${set}-${n}`;
  if (!atlases.has(id)) {
    const image = new Image();
    image.src = `data:image/webp;base64,${embedded(id)}`;
    atlases.set(id, image.decode().then(() => image));
  }
  return atlases.get(id);
}

// Draw picture i of a set ("images" or "decoded") at (x, y) of a canvas.
export async function draw(canvas, set, i, x = 0, y = 0) {
  const { width, height, columns, per_atlas } = facts.tiles[set];
  const at = i % per_atlas;
  const image = await atlas(set, Math.floor(i / per_atlas));
  const [left, top] = [(at % columns) * width, Math.floor(at / columns) * height];
  canvas.getContext("2d").drawImage(image, left, top, width, height, x, y, width, height);
}

// A canvas with picture i of a set.
export function picture(set, i) {
  const { width, height } = facts.tiles[set];
  const canvas = el("canvas", { width, height, class: width < 48 ? "pixels" : "smooth" });
  draw(canvas, set, i);
  return canvas;
}
