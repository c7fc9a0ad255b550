"""From images to predictions: what a model says about a split, and what figures of it are drawn from.

Everything here observes: it builds no graph and leaves the model's mode and the global random state as found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from config import Config
from datasets import Dataset, DatasetSpec, Images, Split, split_class_names, split_labels, to_device, to_float
from mfcvae import MFCVAE, ElboTerms
from progressive import Coefficients

SplitName = Literal["train", "test"]


class Predictions(NamedTuple):
    """What the model says about N images, on the host."""

    means: list[np.ndarray]
    """J arrays (N, D_j): m_j(x)."""
    clusters: np.ndarray
    """(N, J): argmax_k q(c_j = k | x)."""
    confidences: np.ndarray
    """(N, J): max_k q(c_j = k | x)."""


SCALAR_TERMS = ElboTerms._fields[:-1]  # all but q_c_x

Forward = Callable[[Tensor, Coefficients | None], tuple[list[Tensor], ElboTerms]]
"""Images x (B, C, H, W) in [0, 1] and coefficients -> z, J tensors (B, D_j), and the ELBO's terms there."""


def at_means(model: MFCVAE, x: Tensor, coefficients: Coefficients | None = None) -> tuple[list[Tensor], ElboTerms]:
    """Take z_j = m_j(x) and the ELBO's terms there, as in evaluation."""
    output = model(x, coefficients, sample=False)
    return output.z, output.terms


@contextmanager
def evaluating(model: MFCVAE) -> Iterator[None]:
    """Eval mode without gradients; the mode is put back."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def device_of(model: MFCVAE) -> torch.device:
    """Where the model's weights are."""
    return next(model.parameters()).device


def predict(
    model: MFCVAE, images: Images, coefficients: Coefficients | None = None, batch_size: int = 1000
) -> Predictions:
    """Cluster every image in every facet at z_j = m_j(x); nothing is decoded.

    images: (N, C, H, W) uint8, N at least 1, on any device or on disk.
    """
    found = _Collected(model, len(images))
    with evaluating(model):
        for x in _batches(model, images, batch_size):
            z = [q.mean for q in model.encode(x, coefficients)]
            found.add(z, model.responsibilities(z))
    return found.on_host()


def predict_with_terms(
    model: MFCVAE,
    images: Images,
    coefficients: Coefficients | None = None,
    batch_size: int = 1000,
    forward: Forward | None = None,
) -> tuple[Predictions, dict[str, float]]:
    """Predict every image, and take the mean over all of them of the loss and its terms.

    The terms kl_z and kl_c are summed over the facets. `forward` is another way, a compiled one, to what `at_means`
    gives.
    """
    forward = forward or partial(at_means, model)
    found = _Collected(model, len(images))
    sums: dict[str, float | Tensor] = dict.fromkeys(SCALAR_TERMS, 0.0)
    with evaluating(model):
        for x in _batches(model, images, batch_size):
            z, terms = forward(x, coefficients)
            found.add(z, terms.q_c_x)
            for name in sums:  # summed on the device: the host does not wait for it
                sums[name] = sums[name] + getattr(terms, name).sum() * len(x)
    return found.on_host(), {name: float(total) / len(images) for name, total in sums.items()}


def responsibilities(model: MFCVAE, means: Sequence[np.ndarray]) -> list[np.ndarray]:
    """q(c_j | x) at z_j = m_j(x). means: J arrays (N, D_j) -> J arrays (N, K_j)."""
    with evaluating(model):
        z = [torch.from_numpy(m).to(device_of(model)) for m in means]
        return [q.cpu().numpy() for q in model.responsibilities(z)]


class _Collected:
    """Predictions of N images, batch by batch, on the device.

    They are written into one tensor each: small ones kept between large temporaries would scatter the memory.
    """

    def __init__(self, model: MFCVAE, n_images: int):
        device = device_of(model)
        self.means = [torch.empty(n_images, prior.mean.shape[1], device=device) for prior in model.prior]
        self.clusters = torch.empty(n_images, len(self.means), dtype=torch.long, device=device)
        self.confidences = torch.empty(n_images, len(self.means), device=device)
        self.n_found = 0

    def add(self, z: Sequence[Tensor], q_c_x: Sequence[Tensor]) -> None:
        """Add the next batch. z: J tensors (B, D_j), q_c_x: J tensors (B, K_j)."""
        rows = slice(self.n_found, self.n_found + len(z[0]))
        for j, (z_j, q) in enumerate(zip(z, q_c_x, strict=True)):
            self.means[j][rows] = z_j
            self.confidences[rows, j], self.clusters[rows, j] = q.max(dim=1)
        self.n_found = rows.stop

    def on_host(self) -> Predictions:
        """All of them, once every batch was added."""
        means = [m.cpu().numpy() for m in self.means]
        return Predictions(means, self.clusters.cpu().numpy(), self.confidences.cpu().numpy())


def _batches(model: MFCVAE, images: Images, batch_size: int) -> Iterator[Tensor]:
    """Batch by batch (B, C, H, W) in [0, 1], on the model's device."""
    return (to_float(to_device(batch, device_of(model))) for batch in images.split(batch_size))


# --- clusters, and what figures are drawn from


class RankedCluster(NamedTuple):
    """The members of one cluster, most confident first."""

    cluster: int
    members: np.ndarray
    """(n,) indices into the split."""
    confidence: float
    """Mean over the members of max_k q(k | x)."""


def rank_clusters(predictions: Predictions, j: int) -> list[RankedCluster]:
    """Facet j's clusters that have members, by the mean confidence of the members, highest first."""
    clusters, confidences = predictions.clusters[:, j], predictions.confidences[:, j]
    order = np.lexsort((-confidences, clusters))  # by cluster, then by confidence
    groups = np.split(order, np.flatnonzero(np.diff(clusters[order])) + 1)
    ranked = [RankedCluster(int(clusters[g[0]]), g, float(confidences[g].mean())) for g in groups]
    return sorted(ranked, key=lambda cluster: -cluster.confidence)


@dataclass(frozen=True)
class Observed:
    """A model and what it says about the images of one split: every figure of a split is drawn from one of these."""

    model: MFCVAE
    config: Config
    spec: DatasetSpec
    split: Split
    split_name: SplitName | None
    """None where the images are of no split."""
    predictions: Predictions
    coefficients: Coefficients | None = None
    """How far each facet takes part; in full where there are none."""
    source: str = ""
    """Which images these are, in words."""

    @property
    def title(self) -> str:
        """The start of every figure's title: data set and split."""
        return f"{self.spec.name}, {self.split_name} split" if self.split_name else self.spec.name

    @cached_property
    def labels(self) -> dict[str, np.ndarray]:
        """Label name -> (N,) indices of classes."""
        return split_labels(self.split, self.spec)

    @cached_property
    def class_names(self) -> dict[str, np.ndarray]:
        """Label name -> (N,) names of classes, to be shown."""
        return split_class_names(self.split, self.spec)

    @cached_property
    def ranked(self) -> list[list[RankedCluster]]:
        """Of each facet: its clusters that have members, by mean confidence."""
        return [rank_clusters(self.predictions, j) for j in range(self.config.J_n_mixtures)]


def observe(
    model: MFCVAE,
    config: Config,
    dataset: Dataset,
    split_name: SplitName,
    coefficients: Coefficients | None = None,
) -> Observed:
    """Predict a split once, for all of its figures."""
    split = dataset.train if split_name == "train" else dataset.test
    predictions = predict(model, split.images, coefficients, config.eval_batch_size)
    return Observed(model, config, dataset.spec, split, split_name, predictions, coefficients, dataset.source)


def evaluated_images(config: Config, dataset: Dataset) -> Split:
    """The test images that a run looks at: all of them, or those of the first n_test_batches."""
    n = config.n_test_batches * config.eval_batch_size if config.n_test_batches >= 0 else None
    return Split(dataset.test.images[:n], dataset.test.labels[:n])
