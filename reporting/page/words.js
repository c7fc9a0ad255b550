// Words that a reader may not know, and what they mean.
import { el } from "./dom.js";

const WORDS = {
  facet: "one way to group the images; every facet has clusters of its own",
  confidence: "probability of the cluster that an image is in; for a facet the mean over its images",
  effect: "how much the decoded image changes when this facet alone is taken from another image; 0: it does not show",
  KL: "how much the facet tells of an image, in nats; 0: nothing",
  accuracy: "share of images whose class is the most frequent one of their cluster",
  "one to one": "accuracy where no two clusters may stand for the same class",
  NMI: "normalised mutual information, how well two groupings agree: 1 is perfect, 0 not at all; many small clusters raise it",
  AMI: "adjusted mutual information, how well two groupings agree: 1 is perfect, 0 is chance",
  ARI: "adjusted Rand index, how often two groupings agree on which images belong together: 1 is perfect, 0 is chance",
  ELBO: "evidence lower bound, what training makes large: how well images are decoded, less the KL",
  "k-means": "a common method that finds one grouping, here by the pixels",
};

// A word that says what it means when pointed at.
export const term = (word) => el("abbr", { title: WORDS[word] }, word);

export const glossary = () => el("details", { class: "words" }, el("summary", {}, "What the words mean"),
  el("dl", { class: "facts" }, Object.entries(WORDS).flatMap(([word, meaning]) => [el("dt", {}, word), el("dd", {}, meaning)])));
