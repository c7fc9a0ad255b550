// Elements, the dialog and the spoken line. Texts become text nodes: nothing that a run brings is read as HTML.

export const find = (selector) => document.querySelector(selector);

// A new element. Functions named on... listen; class and the like are attributes; children are elements or texts.
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// A list to choose from: [value, text] pairs.
export function select(label, options, onchange, chosen) {
  const list = el("select", { "aria-label": label, onchange: (event) => onchange(event.target.value) });
  for (const [value, text] of options) list.append(el("option", { value }, text));
  if (chosen !== undefined) list.value = chosen;
  return el("label", { class: "choice" }, el("span", {}, label), list);
}

export const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;
export const count = (n) => n.toLocaleString("en");
export const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

export const sentence = (words) => words[0].toUpperCase() + words.slice(1);

// Colours that neighbours in a list can be told apart by.
export const hue = (i) => `hsl(${(i * 137.508 + 265) % 360} ${62 + (i % 3) * 12}% ${54 + (i % 2) * 8}%)`;

// From dark blue to yellow, for shares between 0 and 1.
export function heat(share) {
  const stops = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  const at = Math.max(0, Math.min(0.9999, share)) * (stops.length - 1);
  const [low, high] = [stops[Math.floor(at)], stops[Math.floor(at) + 1]];
  return `rgb(${low.map((value, i) => Math.round(value + (high[i] - value) * (at % 1))).join(" ")})`;
}

// A finger cannot point without touching.
export const canPoint = () => !matchMedia("(hover: none)").matches;

// Says something to who cannot see it.
export function announce(text) {
  find("#live").textContent = text;
}

export function openDialog(title, ...children) {
  const dialog = find("#dialog");
  const close = el("button", { class: "quiet close", type: "button", "aria-label": "Close", onclick: () => dialog.close() }, "✕");
  dialog.replaceChildren(el("div", { class: "head" }, el("h2", { id: "dialog-title", tabindex: "-1" }, title), close), ...children);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  find("#dialog-title").focus({ preventScroll: true });
}

export function closeDialog() {
  if (find("#dialog").open) find("#dialog").close();
}
