// Names: what the clusters are called, which are one, which are wrong; to be exported for predict.py.
import { announce, el, find, select } from "./dom.js";
import { bySize, facts } from "./content.js";
import { clusterName, exported, facetText, forgetNames, givenFacetName, givenName, imported, isWrong, mergedInto, nameCluster, nameFacet, unnamedCluster } from "./names.js";
import { meanThumb, thumbs } from "./thumbs.js";

function line(j, k, say) {
  const name = el("input", { value: givenName(j, k), placeholder: unnamedCluster(j, k), "aria-label": `Name of cluster ${k} of facet ${j}`, oninput: (event) => nameCluster(j, k, { name: event.target.value }) });
  const others = bySize(j).filter((other) => other !== k).map((other) => [String(other), clusterName(j, other)]);
  const merge = select(`Merge cluster ${k} into`, [["", "–"], ...others], (value) => {
    const done = nameCluster(j, k, { merged_into: value === "" ? null : Number(value) });
    if (!done) { say(`${clusterName(j, Number(value))} is merged into this cluster already.`); merge.querySelector("select").value = mergedInto(j, k) ?? ""; }
  }, String(mergedInto(j, k) ?? ""));
  const wrong = el("input", { type: "checkbox", checked: isWrong(j, k), onchange: (event) => nameCluster(j, k, { wrong: event.target.checked }) });
  return el("li", { class: "naming" }, meanThumb(j, k), thumbs(facts.facets[j].clusters[k].sure.slice(0, 5), "most confident"),
    name, merge, el("label", { class: "check" }, wrong, "wrong"));
}

function save() {
  const text = JSON.stringify(exported(), null, 1);
  const link = el("a", { href: URL.createObjectURL(new Blob([text], { type: "application/json" })), download: "names.json" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export function namingPanel(redraw) {
  const said = el("p", { class: "muted", role: "status" });
  const say = (words) => { said.textContent = words; };
  const file = el("input", { type: "file", accept: ".json,application/json", class: "unseen", tabindex: "-1", "aria-hidden": "true", onchange: async () => {
    const text = await file.files[0].text();
    let problem;
    try { problem = imported(JSON.parse(text)); } catch { problem = "This is no file of names."; }
    if (!problem) redraw();
    find("[role=status]").textContent = problem || "Names are taken from the file.";
  } });
  const forget = () => { if (confirm("Forget all names of this page?")) { forgetNames(); redraw(); announce("All names are forgotten."); } };
  const facets = facts.facets.map((_, j) => el("section", {},
    el("h2", {}, facetText(j)),
    el("label", { class: "choice" }, el("span", {}, "Name of the facet"), el("input", { value: givenFacetName(j), placeholder: "such as colour", oninput: (event) => nameFacet(j, event.target.value) })),
    el("ul", { class: "plain" }, bySize(j).map((k) => line(j, k, say)))));
  return [
    el("h1", {}, "Names"),
    el("p", {}, "Say what the clusters are, which of them are one, and which are wrong. This browser keeps it. The exported file names the clusters of new images:"),
    el("pre", {}, "python predict.py --model_path … --images … --output clusters.csv --names names.json"),
    el("div", { class: "row" }, el("button", { type: "button", class: "primary", onclick: save }, "Export names.json"), el("button", { type: "button", onclick: () => file.click() }, "Import"), file, el("button", { type: "button", onclick: forget }, "Forget all")),
    said, facets,
  ];
}
