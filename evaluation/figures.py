"""From predictions to the figures of a run: which clusters and images to show, and what to write beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

import plotting
from config import Config
from datasets import DatasetSpec, Split, split_class_names, split_labels, to_float
from evaluation.predictions import (
    Predictions,
    RankedCluster,
    compose,
    rank_clusters,
    reconstruct,
    sample_cluster_images,
    swap_facet,
)
from evaluation.scores import cluster_scores, confusion_matrix
from mfcvae import MFCVAE
from progressive import Coefficients

MAX_CONFUSION = 200  # classes; more could neither be read nor drawn in time


def pixels(split: Split, index: np.ndarray) -> np.ndarray:
    """Images of a split: index (n,) -> (n, C, H, W) float in [0, 1], on the host."""
    return to_float(split.images[index.tolist()]).cpu().numpy()


def cluster_label(cluster: RankedCluster, labels: Mapping[str, np.ndarray]) -> str:
    """Text beside a cluster's row: number, size, mean confidence, and the majority class of each label with its share.

    labels: label name -> (N,) names of classes.
    """
    majority = []
    for name, classes in labels.items():
        found, counts = np.unique(classes[cluster.members], return_counts=True)
        majority.append(f"{name} {found[counts.argmax()]} {counts.max() / counts.sum():.0%}")
    size, confidence = f"n {len(cluster.members):,}", f"conf {cluster.confidence:.2f}"
    return " · ".join([f"cluster {cluster.cluster}", size, confidence, *majority])


def top_examples(
    predictions: Predictions,
    j: int,
    split: Split,
    labels: Mapping[str, np.ndarray],
    n: int,
    title: str,
    n_clusters: int | None = None,
) -> Figure:
    """A row per cluster of facet j (the first n_clusters or all), by mean confidence: its n most confident inputs."""
    ranked = rank_clusters(predictions, j)[:n_clusters]
    rows = [pixels(split, cluster.members[:n]) for cluster in ranked]
    return plotting.example_grid(rows, [cluster_label(cluster, labels) for cluster in ranked], title)


def reconstructions(
    model: MFCVAE,
    predictions: Predictions,
    j: int,
    split: Split,
    labels: Mapping[str, np.ndarray],
    n: int,
    coefficients: Coefficients,
    title: str,
) -> Figure:
    """A row per cluster of facet j, by size: its n most confident inputs, each beside its reconstruction."""
    ranked = sorted(rank_clusters(predictions, j), key=lambda cluster: -len(cluster.members))
    members = [cluster.members[:n] for cluster in ranked]
    x_hat = reconstruct(model, [m[np.concatenate(members)] for m in predictions.means], coefficients)
    ends = np.cumsum([len(index) for index in members])[:-1]
    inputs = [pixels(split, index) for index in members]
    row_labels = [cluster_label(cluster, labels) for cluster in ranked]
    return plotting.reconstruction_grid(inputs, np.split(x_hat, ends), row_labels, title)


def generations(
    model: MFCVAE,
    j: int,
    clusters: Sequence[int],
    n: int,
    temperature: float,
    coefficients: Coefficients,
    seed: int,
    title: str,
    row_labels: Sequence[str] | None = None,
) -> Figure:
    """A row per given cluster of facet j: n images generated from it. Rows are labelled with pi if not otherwise."""
    images = sample_cluster_images(model, j, n, temperature, coefficients, seed)
    pi = model.prior[j].pi.detach().cpu().numpy()
    rows = [images[k] for k in clusters]
    return plotting.example_grid(rows, list(row_labels or [f"cluster {k} · pi {pi[k]:.3f}" for k in clusters]), title)


def before_swap(
    model: MFCVAE, predictions: Predictions, split: Split, index: np.ndarray, coefficients: Coefficients, title: str
) -> Figure:
    """Inputs index (n,) of a split over their reconstructions."""
    x_hat = reconstruct(model, [m[index] for m in predictions.means], coefficients)
    return plotting.swap_figure(pixels(split, index), x_hat, title)


def after_swap(
    model: MFCVAE,
    predictions: Predictions,
    j: int,
    split: Split,
    index: tuple[np.ndarray, np.ndarray],
    coefficients: Coefficients,
    titles: tuple[str, str],
) -> list[Figure]:
    """Inputs of both sides over what is decoded after the pairs exchange their z_j. index: two of (n,)."""
    swapped = swap_facet(*[[m[i] for m in predictions.means] for i in index], j)  # two lists of J arrays (n, D_i)
    z = [np.concatenate(parts) for parts in zip(*swapped, strict=True)]  # J arrays (2 n, D_i)
    x_hat = np.split(reconstruct(model, z, coefficients), 2)
    row_labels = "input", f"facet {j} swapped"
    return [
        plotting.swap_figure(pixels(split, index[side]), x_hat[side], titles[side], row_labels) for side in range(2)
    ]


def composition(
    model: MFCVAE,
    ranked: Sequence[Sequence[RankedCluster]],
    facets: tuple[int, int],
    n_clusters: int,
    labels: Mapping[str, np.ndarray],
    coefficients: Coefficients,
    title: str,
) -> Figure:
    """The means of the first n_clusters of two facets, of rows and of columns, in all combinations, decoded.

    ranked: the clusters of all J facets. Any other facet stays at the mean of its largest cluster.
    """
    shown = [ranked[j][:n_clusters] for j in facets]
    held = [max(clusters, key=lambda cluster: len(cluster.members)).cluster for clusters in ranked]
    others = [f"facet {i} at its cluster {k}" for i, k in enumerate(held) if i not in facets]
    rows, columns = [(j, [cluster.cluster for cluster in clusters]) for j, clusters in zip(facets, shown, strict=True)]
    return plotting.composition_overview(
        compose(model, rows, columns, held, coefficients),
        [cluster_label(cluster, labels) for cluster in shown[0]],
        [str(k) for k in columns[1]],
        ", ".join(
            [f"{title}: decoded combinations of the cluster means of facets {facets[0]} and {facets[1]}", *others]
        ),
        *[f"clusters of facet {j}, {len(ranked[j][:n_clusters])} of {len(ranked[j])}" for j in facets],
    )


def confusion(y: np.ndarray, clusters: np.ndarray, names: Sequence[str], title: str) -> Figure:
    """Confusion matrix of classes y (N,) and of the majority classes of clusters (N,)."""
    if len(names) > MAX_CONFUSION:
        return plotting.note_figure(title, f"{len(names):,} classes: too many for a confusion matrix")
    return plotting.confusion_matrix(confusion_matrix(y, clusters, len(names)), list(names), title)


def split_figures(
    config: Config,
    model: MFCVAE,
    predictions: Predictions,
    split: Split,
    spec: DatasetSpec,
    coefficients: Coefficients,
    name: str,
) -> Iterator[tuple[str, Figure]]:
    """The figures of one split ('train' or 'test') that the settings ask for, under their logged names."""
    labels, shown_labels = split_labels(split, spec), split_class_names(split, spec)
    for j, n_clusters in enumerate(config.n_clusters_j_list):
        prefix, title = f"{name}_vis/facet_{j}", f"{spec.name}, {name} split, facet {j}"
        if config.do_vis_examples_per_cluster:
            n = config.n_examples_per_cluster
            figure = top_examples(predictions, j, split, shown_labels, n, f"{title}: most confident inputs")
            yield f"{prefix}_examples", figure
        if config.do_vis_recon:
            n = config.n_recons_per_cluster
            figure = reconstructions(model, predictions, j, split, shown_labels, n, coefficients, title)
            yield f"{prefix}_reconstructions", figure
        if config.do_vis_pi:
            pi = model.prior[j].pi.detach().cpu().numpy()
            yield f"{prefix}_pi", plotting.mixture_weights(pi, f"{spec.name}, facet {j}: mixture weights")
        if config.do_vis_n_samples_per_cluster:
            sizes = np.bincount(predictions.clusters[:, j], minlength=n_clusters)
            yield f"{prefix}_cluster_sizes", plotting.cluster_sizes(sizes, f"{title}: cluster sizes")
        if config.do_vis_conf_mat:
            for (label, y), names in zip(labels.items(), spec.class_names, strict=True):
                figure = confusion(y, predictions.clusters[:, j], names, f"{title}, label {label}")
                yield f"{prefix}_confusion_{label}", figure
    if config.do_vis_conf_mat and len(labels) > 1:
        scores = [[cluster_scores(y, c).accuracy for y in labels.values()] for c in predictions.clusters.T]
        figure = plotting.facet_label_map(
            np.array(scores), list(labels), f"{spec.name}, {name} split: accuracy of each facet on each label"
        )
        yield f"{name}_vis/facet_label_map", figure


def generation_figures(
    config: Config, model: MFCVAE, spec: DatasetSpec, coefficients: Coefficients
) -> Iterator[tuple[str, Figure]]:
    """One figure of generated images per facet, under its logged name."""
    n, temperature = config.n_sample_generations_per_cluster, config.temp_sample_generation
    for j, n_clusters in enumerate(config.n_clusters_j_list):
        title = f"{spec.name}, facet {j}: generated at temperature {temperature:g}"
        figure = generations(model, j, range(n_clusters), n, temperature, coefficients, config.seed, title)
        yield f"sample_generation/facet_{j}", figure
