// Tabs, each of which is made when it is first opened; the address remembers the one that is open.
import { closeDialog, el, find } from "./dom.js";
import { facts, nFacets } from "./content.js";
import { canDecode } from "./decoder.js";
import { facetPanel } from "./facet.js";
import { gridPanel } from "./grid.js";
import { playsWith } from "./image.js";
import { mapPanel } from "./map.js";
import { namingPanel } from "./naming.js";
import { facetText } from "./names.js";
import { overview } from "./overview.js";
import { playAt, playPanel } from "./play.js";
import { listenToSearch } from "./search.js";
import { hideTooltip, listenToThumbs } from "./thumbs.js";

const views = [
  { id: "overview", title: () => "Overview", make: () => overview(open) },
  ...facts.facets.map((_, j) => ({ id: `facet-${j}`, title: () => facetText(j), make: () => facetPanel(j) })),
  ...(nFacets > 1 ? [{ id: "grid", title: () => "Facet × facet", make: gridPanel }] : []),
  { id: "map", title: () => "Map", make: mapPanel },
  { id: "play", title: () => "Play", make: playPanel },
  { id: "names", title: () => "Names", make: () => namingPanel(() => redraw("names")) },
];

const tabs = views.map(({ id, title }) => el("button", {
  type: "button", role: "tab", id: `tab-${id}`, "aria-controls": `panel-${id}`, "aria-selected": "false", tabindex: "-1", onclick: () => open(id),
}, title()));
const panels = views.map(({ id }) => el("section", { role: "tabpanel", id: `panel-${id}`, "aria-labelledby": `tab-${id}`, hidden: true }));

// Views that were made before the last change of names.
const stale = new Set();

function redraw(id) {
  const at = views.findIndex((view) => view.id === id);
  panels[at].replaceChildren(...views[at].make().flat().filter(Boolean));
}

function open(id) {
  const at = Math.max(0, views.findIndex((view) => view.id === id));
  closeDialog();
  hideTooltip();
  tabs.forEach((tab, i) => { tab.setAttribute("aria-selected", String(i === at)); tab.tabIndex = i === at ? 0 : -1; });
  panels.forEach((panel, i) => { panel.hidden = i !== at; });
  if (!panels[at].hasChildNodes() || stale.delete(views[at].id)) redraw(views[at].id);
  tabs[at].scrollIntoView({ block: "nearest", inline: "nearest" });
  scrollTo(0, 0);
  if (location.hash !== `#${views[at].id}`) history.replaceState(null, "", `#${views[at].id}`);
}

find("#tabs").append(...tabs);
find("#panels").append(...panels);
find("#panels").addEventListener("renamed", () => views.forEach(({ id }) => stale.add(id)));
find("#tabs").addEventListener("keydown", (event) => {
  const at = tabs.indexOf(document.activeElement);
  const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: tabs.length - 1 }[event.key];
  if (next === undefined || at < 0) return;
  event.preventDefault();
  const to = (next + tabs.length) % tabs.length;
  tabs[to].focus();
  open(views[to].id);
});

// Light or dark: as the system has it, unless chosen here.
const theme = { get: () => { try { return localStorage.getItem("mfcvae-theme"); } catch { return null; } }, set: (word) => { try { localStorage.setItem("mfcvae-theme", word); } catch { /* for this view only */ } } };
const isDark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
if (theme.get()) document.documentElement.dataset.theme = theme.get();
find("#theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  theme.set(document.documentElement.dataset.theme);
});
find("#dialog").addEventListener("click", (event) => { if (event.target === find("#dialog")) closeDialog(); });
find("#dialog").addEventListener("close", hideTooltip);

listenToThumbs();
listenToSearch();
if (canDecode()) playsWith((z, j) => { playAt(z, j); open("play"); });
open(location.hash.slice(1));
