"""From what is observed to the figures of a run: which clusters and images to show, and what to write beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

import plotting
from config import Config
from datasets import DatasetSpec, Split, to_float
from evaluation import image_grids
from evaluation.decoding import FacetClusters, Sampling, compose, reconstruct, sample_cluster_images, swap_facet
from evaluation.predictions import Observed, RankedCluster
from evaluation.scores import cluster_scores, confusion_matrix, contingency
from mfcvae import MFCVAE
from progressive import Coefficients

MAX_CONFUSED_CLASSES = 30
"""More cannot be read in a confusion matrix."""
MAX_CLASS_COLUMNS = 80
"""So many of the most frequent classes have a column of their own beside clusters; the others share one."""


def pixels(split: Split, index: np.ndarray) -> np.ndarray:
    """Take images of a split: index (n,) -> (n, C, H, W) float in [0, 1], on the host."""
    return to_float(split.images[index.tolist()]).cpu().numpy()


def cluster_label(cluster: RankedCluster, class_names: Mapping[str, np.ndarray]) -> str:
    """Say what stands beside a cluster's row: number, size, mean confidence, and the majority class of each label.

    The share of the majority class follows it. class_names: label name -> (N,) names of classes.
    """
    majority = []
    for name, classes in class_names.items():
        found, counts = np.unique(classes[cluster.members], return_counts=True)
        majority.append(f"{name} {found[counts.argmax()]} {counts.max() / counts.sum():.0%}")
    size, confidence = f"n {len(cluster.members):,}", f"conf {cluster.confidence:.2f}"
    return " · ".join([f"cluster {cluster.cluster}", size, confidence, *majority])


def cluster_labels(observed: Observed, clusters: list[RankedCluster]) -> list[str]:
    """Say what stands beside the rows of several clusters."""
    return [cluster_label(cluster, observed.class_names) for cluster in clusters]


def _of_all(n_shown: int, n_clusters: int) -> str:
    """End a title where only some clusters are shown."""
    return f", {n_shown} of its {n_clusters} clusters" if n_shown < n_clusters else ""


# --- one facet


def top_examples(observed: Observed, j: int, n: int, n_clusters: int | None = None) -> Figure:
    """Show a row per cluster of facet j, by mean confidence: its n most confident inputs.

    n_clusters: show so many clusters only.
    """
    shown = observed.ranked[j][:n_clusters]
    title = f"{observed.title}, facet {j}: most confident inputs{_of_all(len(shown), len(observed.ranked[j]))}"
    rows = [pixels(observed.split, cluster.members[:n]) for cluster in shown]
    return image_grids.example_grid(rows, cluster_labels(observed, shown), title)


def reconstructions(observed: Observed, j: int, n: int) -> Figure:
    """Show a row per cluster of facet j, by size: its n most confident inputs, each beside its reconstruction."""
    ranked = sorted(observed.ranked[j], key=lambda cluster: -len(cluster.members))
    members = [cluster.members[:n] for cluster in ranked]
    means = [m[np.concatenate(members)] for m in observed.predictions.means]
    x_hat = reconstruct(observed.model, means, observed.coefficients)
    ends = np.cumsum([len(index) for index in members])[:-1]
    inputs = [pixels(observed.split, index) for index in members]
    title = f"{observed.title}, facet {j}"
    return image_grids.reconstruction_grid(inputs, np.split(x_hat, ends), cluster_labels(observed, ranked), title)


def generations(observed: Observed, j: int, sampling: Sampling, n_clusters: int | None = None) -> Figure:
    """Show a row per cluster of facet j, as `top_examples` does: images generated from it."""
    shown = observed.ranked[j][:n_clusters]
    images = sample_cluster_images(observed.model, j, sampling, observed.coefficients)
    title = _generated(observed.spec, j, sampling) + _of_all(len(shown), len(observed.ranked[j]))
    return image_grids.example_grid([images[c.cluster] for c in shown], cluster_labels(observed, shown), title)


def prior_generations(model: MFCVAE, j: int, sampling: Sampling, coefficients: Coefficients | None = None) -> Figure:
    """Show a row per cluster of facet j, whether it has members or not: images generated from it."""
    images = sample_cluster_images(model, j, sampling, coefficients)
    pi = model.prior[j].pi.detach().cpu().numpy()
    labels = [f"cluster {k} · pi {weight:.3f}" for k, weight in enumerate(pi)]
    return image_grids.example_grid(list(images), labels, _generated(model.spec, j, sampling))


def _generated(spec: DatasetSpec, j: int, sampling: Sampling) -> str:
    return f"{spec.name}, facet {j}: generated at temperature {sampling.temperature:g}"


# --- one facet and its labels


def class_figures(observed: Observed, j: int, label: str) -> Iterator[tuple[str, Figure]]:
    """Draw facet j's clusters by the classes of a label; where these are few, also classes by predicted classes."""
    title = f"{observed.title}, facet {j}, label {label}"
    y, clusters = observed.labels[label], observed.predictions.clusters[:, j]
    names = dict(zip(observed.spec.label_names, observed.spec.class_names, strict=True))[label]
    if len(names) <= MAX_CONFUSED_CLASSES:
        yield f"confusion_{label}", plotting.confusion_matrix(confusion_matrix(y, clusters, len(names)), names, title)
    table = contingency(y, clusters, len(names))
    yield f"cluster_classes_{label}", cluster_classes(table, names, f"{title}: clusters by classes")


def cluster_classes(table: np.ndarray, class_names: Sequence[str], title: str) -> Figure:
    """Show counts (K, L) of the clusters that have members; those of one majority class stand together."""
    by_frequency = np.argsort(-table.sum(axis=0), kind="stable")
    columns, others = np.sort(by_frequency[:MAX_CLASS_COLUMNS]), by_frequency[MAX_CLASS_COLUMNS:]
    counts, names = table[:, columns], [class_names[column] for column in columns]
    if len(others):
        counts = np.column_stack([counts, table[:, others].sum(axis=1)])
        names.append(f"{len(others):,} others")
    clusters = np.flatnonzero(counts.any(axis=1))
    counts = counts[clusters]
    purity = counts.max(axis=1) / counts.sum(axis=1)
    order = np.lexsort((-purity, counts.argmax(axis=1)))  # by majority class, then by its share
    return plotting.cluster_classes(counts[order], [str(k) for k in clusters[order]], names, title)


# --- facets against each other


def before_swap(observed: Observed, j: int, cluster: int, index: np.ndarray) -> Figure:
    """Show inputs index (n,) of a cluster of facet j over their reconstructions."""
    x_hat = reconstruct(observed.model, [m[index] for m in observed.predictions.means], observed.coefficients)
    title = f"{observed.spec.name}, cluster {cluster} of facet {j}"
    return image_grids.swap_figure(pixels(observed.split, index), x_hat, title)


def after_swap(
    observed: Observed, j: int, clusters: tuple[int, int], index: tuple[np.ndarray, np.ndarray]
) -> list[Figure]:
    """Show inputs of two clusters of facet j over what is decoded after the pairs exchange their z_j.

    index: the inputs of either cluster, two of (n,).
    """
    means = observed.predictions.means
    swapped = swap_facet([m[index[0]] for m in means], [m[index[1]] for m in means], j)  # two lists of J arrays
    z = [np.concatenate(parts) for parts in zip(*swapped, strict=True)]  # J arrays (2 n, D_i)
    x_hat = np.split(reconstruct(observed.model, z, observed.coefficients), 2)
    figures = []
    for own, other in ((0, 1), (1, 0)):
        title = f"{observed.spec.name}, cluster {clusters[own]} of facet {j}: its z_{j} from cluster {clusters[other]}"
        row_labels = "input", f"facet {j} swapped"
        figures.append(image_grids.swap_figure(pixels(observed.split, index[own]), x_hat[own], title, row_labels))
    return figures


def composition(observed: Observed, facets: tuple[int, int], n_clusters: int) -> Figure:
    """Show all combinations of the means of the first n_clusters of two facets, rows and columns, decoded.

    Any other facet stays at the mean of its largest cluster.
    """
    sides = [(j, observed.ranked[j]) for j in facets]
    rows, columns = (ranked[:n_clusters] for _, ranked in sides)
    held = [max(clusters, key=lambda cluster: len(cluster.members)).cluster for clusters in observed.ranked]
    cells = compose(
        observed.model,
        FacetClusters(facets[0], [cluster.cluster for cluster in rows]),
        FacetClusters(facets[1], [cluster.cluster for cluster in columns]),
        held,
        observed.coefficients,
    )
    title = f"{observed.spec.name}: decoded combinations of the cluster means of facets {facets[0]} and {facets[1]}"
    others = [f"facet {i} at its cluster {k}" for i, k in enumerate(held) if i not in facets]
    of_all = [f"clusters of facet {j}, {len(ranked[:n_clusters])} of {len(ranked)}" for j, ranked in sides]
    left = image_grids.Side(cluster_labels(observed, rows), of_all[0])
    over = image_grids.Side([str(cluster.cluster) for cluster in columns], of_all[1])
    return image_grids.composition_overview(cells, left, over, ", ".join([title, *others]))


def facet_label_map(observed: Observed) -> Figure:
    """Show how well each facet tells the classes of each label."""
    labels, clusters = observed.labels, observed.predictions.clusters
    scores = np.array([[cluster_scores(y, c).accuracy for y in labels.values()] for c in clusters.T])  # (J, L)
    return plotting.facet_label_map(scores, list(labels), f"{observed.title}: accuracy of each facet on each label")


# --- the figures of an epoch


def are_due(epoch: int, last: int, every: int) -> bool:
    """Whether an epoch's figures are drawn: the first, every so many, and the last epoch's.

    Shortly before the last epoch they are left out, as they would be drawn twice.
    """
    return epoch in (0, last) or (epoch % every == 0 and last - epoch >= every // 2)


def split_figures(observed: Observed) -> Iterator[tuple[str, Figure]]:
    """Draw the figures of one split that the settings ask for, under their logged names."""
    config, prefix = observed.config, f"{observed.split_name}_vis"
    for j in range(config.J_n_mixtures):
        for name, figure in _facet_figures(observed, j):
            yield f"{prefix}/facet_{j}_{name}", figure
    if config.do_vis_conf_mat and len(observed.labels) > 1:
        yield f"{prefix}/facet_label_map", facet_label_map(observed)


def _facet_figures(observed: Observed, j: int) -> Iterator[tuple[str, Figure]]:
    config = observed.config
    if config.do_vis_examples_per_cluster:
        yield "examples", top_examples(observed, j, config.n_examples_per_cluster)
    if config.do_vis_recon:
        yield "reconstructions", reconstructions(observed, j, config.n_recons_per_cluster)
    if config.do_vis_pi and not config.is_pi_fixed(j):
        pi = observed.model.prior[j].pi.detach().cpu().numpy()
        yield "pi", plotting.mixture_weights(pi, f"{observed.spec.name}, facet {j}: mixture weights")
    if config.do_vis_n_samples_per_cluster:
        sizes = np.bincount(observed.predictions.clusters[:, j], minlength=config.n_clusters_j_list[j])
        yield "cluster_sizes", plotting.cluster_sizes(sizes, f"{observed.title}, facet {j}: cluster sizes")
    if config.do_vis_conf_mat:
        for label in observed.labels:
            yield from class_figures(observed, j, label)


def generation_figures(
    model: MFCVAE, config: Config, coefficients: Coefficients | None = None
) -> Iterator[tuple[str, Figure]]:
    """Draw one figure of generated images per facet, under its logged name."""
    sampling = Sampling(config.n_sample_generations_per_cluster, config.temp_sample_generation, config.seed)
    for j in range(config.J_n_mixtures):
        yield f"sample_generation/facet_{j}", prior_generations(model, j, sampling, coefficients)
