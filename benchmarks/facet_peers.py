"""The methods that facets.py compares: each clusters training images, then says where held-out ones belong.

Single clusterings are given the number of classes of every label, and cluster once for each: the strongest form, as no
one clustering has to serve two labels. Multiple clusterings are given all these numbers at once. Nobody sees a label.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from benchmarks.facet_sets import FacetSet
from utils import resolve_device

VARIANCE_KEPT = 0.95
"""Of the pixels, by PCA on the training images."""
N_STARTS = 10
"""Of k-means and Nr-Kmeans; the best one by their own cost is kept. ENRC starts as often by itself."""
N_MIXTURE_STARTS = 3
REG_COVAR = 1e-3
"""Added to variances: about that of one of 32 grey levels, so that pixels that never change are no certainty."""
PRETRAINING_EPOCHS, CLUSTERING_EPOCHS = 100, 150
"""Of ENRC and VaDE, the defaults of ClustPy."""
MAX_IMAGES = 200_000
"""Epochs times images of one training of ENRC or VaDE: on larger sets both numbers of epochs are reduced alike."""

Clusterer = Callable[[FacetSet, int], np.ndarray]
"""Images and a seed -> (M, C): the cluster of each held-out image in each of C clusterings."""


class Method(NamedTuple):
    """One way to cluster."""

    cluster: Clusterer
    is_single: bool = False
    """Whether clustering i was made for label i; else clusterings and labels are matched."""
    needs_clustpy: bool = False


def lacks_clustpy(name: str) -> bool:
    """Whether a method cannot run here."""
    return METHODS[name].needs_clustpy and find_spec("clustpy") is None


# --- single clusterings


def each_label(fit: Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]) -> Clusterer:
    """A clustering per label, with its K; labels of the same K share it. fit: training and held-out rows, K, seed."""

    def cluster(data: FacetSet, seed: int) -> np.ndarray:
        by_k = {k: fit(data.train, data.test, k, seed) for k in sorted(set(data.n_clusters))}
        return np.stack([by_k[k] for k in data.n_clusters], axis=1)

    return cluster


def kmeans(train: np.ndarray, test: np.ndarray, k: int, seed: int) -> np.ndarray:
    """k-means; held-out rows go to the nearest centre."""
    return KMeans(k, n_init=N_STARTS, random_state=seed).fit(train).predict(test)


def mixture(covariances: tuple[str, ...]) -> Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]:
    """A Gaussian mixture with the kind of covariance that has the best BIC on the training rows."""

    def fit(train: np.ndarray, test: np.ndarray, k: int, seed: int) -> np.ndarray:
        settings = {"n_init": N_MIXTURE_STARTS, "reg_covar": REG_COVAR, "random_state": seed}
        fits = [GaussianMixture(k, covariance_type=kind, **settings).fit(train) for kind in covariances]
        return min(fits, key=lambda gmm: gmm.bic(train)).predict(test)

    return fit


def vade(train: np.ndarray, test: np.ndarray, k: int, seed: int) -> np.ndarray:
    """VaDE on pixels, as its cross-entropy wants them; held-out rows by the mixture of its embedding."""
    from clustpy.deep import VaDE

    settings = {"random_state": seed, "device": resolve_device("auto"), **epochs(len(train))}
    with quietly():
        return VaDE(k, **settings).fit(train).predict(test)


# --- multiple clusterings


def nrkmeans(data: FacetSet, seed: int) -> np.ndarray:
    """Nr-Kmeans; held-out rows are rotated as learned and go to the nearest centre in each clustering's subspace."""
    from clustpy.alternative import NrKmeans

    with quietly():
        return NrKmeans(list(data.n_clusters), n_init=N_STARTS, random_state=seed).fit(data.train).predict(data.test)


def enrc(data: FacetSet, seed: int) -> np.ndarray:
    """ENRC; held-out rows are embedded and rotated, then as for Nr-Kmeans."""
    from clustpy.deep import ENRC

    settings = {"random_state": seed, "device": resolve_device("auto"), **epochs(len(data.train))}
    with quietly():
        return ENRC(list(data.n_clusters), **settings).fit(data.train).predict(data.test)


def epochs(n_images: int) -> dict[str, int]:
    """Epochs of ENRC and VaDE: ClustPy's, or fewer so that no more than MAX_IMAGES are gone through."""
    share = min(1.0, MAX_IMAGES / (n_images * (PRETRAINING_EPOCHS + CLUSTERING_EPOCHS)))
    return {
        "pretrain_epochs": max(1, round(share * PRETRAINING_EPOCHS)),
        "clustering_epochs": max(1, round(share * CLUSTERING_EPOCHS)),
    }


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without ClustPy's progress bars."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


# --- what they are given


def on_pca(cluster: Clusterer) -> Clusterer:
    """The same on principal components of the training images."""

    def cluster_components(data: FacetSet, seed: int) -> np.ndarray:
        train, test = data.train.astype(np.float64), data.test.astype(np.float64)  # Nr-Kmeans checks rotations to 1e-6
        pca = PCA(VARIANCE_KEPT, svd_solver="full").fit(train)
        return cluster(data._replace(train=pca.transform(train), test=pca.transform(test)), seed)

    return cluster_components


METHODS = {
    "kmeans_pixels": Method(each_label(kmeans), is_single=True),
    "kmeans_pca": Method(on_pca(each_label(kmeans)), is_single=True),
    "gmm_pca": Method(on_pca(each_label(mixture(("full", "diag")))), is_single=True),
    "gmm_pixels": Method(each_label(mixture(("diag",))), is_single=True),
    "nrkmeans": Method(on_pca(nrkmeans), needs_clustpy=True),
    "enrc": Method(enrc, needs_clustpy=True),
    "vade": Method(each_label(vade), is_single=True, needs_clustpy=True),
}
"""Full covariances of all pixels would be singular, and Nr-Kmeans decomposes matrices of their size: hence on PCA."""
