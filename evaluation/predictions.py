"""One pass over images -> predictions, and what is done with them: ranking, sampling, swapping.

Everything here observes: it builds no graph and leaves the model's mode and the global random state as found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datasets import to_device, to_float
from mfcvae import MFCVAE, ElboTerms
from progressive import Coefficients


class Predictions(NamedTuple):
    """What the model says about N images, on the host."""

    means: list[np.ndarray]
    """J arrays (N, D_j): m_j(x)."""
    responsibilities: list[np.ndarray]
    """J arrays (N, K_j): q(c_j | x). Empty if not asked for."""
    clusters: np.ndarray
    """(N, J): argmax_k q(c_j = k | x)."""
    confidences: np.ndarray
    """(N, J): max_k q(c_j = k | x)."""
    terms: dict[str, float]
    """Mean over the images of the loss and its terms; kl_z and kl_c summed over facets. Empty if not asked for."""


SCALAR_TERMS = ElboTerms._fields[:-1]  # all but q_c_x

Forward = Callable[[Tensor, Coefficients | None], tuple[list[Tensor], ElboTerms]]
"""Images x (B, C, H, W) in [0, 1] and coefficients -> z, J tensors (B, D_j), and the ELBO's terms there."""


def at_means(model: MFCVAE, x: Tensor, coefficients: Coefficients | None = None) -> tuple[list[Tensor], ElboTerms]:
    """z_j = m_j(x) and the ELBO's terms there, as in evaluation."""
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


def predict(
    model: MFCVAE,
    images: Tensor,
    coefficients: Coefficients | None = None,
    batch_size: int = 1000,
    with_terms: bool = True,
    with_responsibilities: bool = False,
    forward: Forward | None = None,
) -> Predictions:
    """Predict every image, z_j = m_j(x). images: (N, C, H, W) uint8, N at least 1, on any device.

    Without the terms of the loss nothing is decoded: half the time, the same predictions. The responsibilities of a
    large split take memory (SVHN's 200 + 50 clusters 73 MB). `forward` is another way, a compiled one, to what
    `at_means` gives.
    """
    forward = forward or partial(at_means, model)
    n_images, device = len(images), model.prior[0].mean.device
    # Results are written into one tensor each: small ones kept between large temporaries would scatter the heap.
    means = [torch.empty(n_images, prior.mean.shape[1], device=device) for prior in model.prior]  # J tensors (N, D_j)
    q_c_x = [torch.empty(n_images, len(prior.mean), device=device) for prior in model.prior if with_responsibilities]
    clusters = torch.empty(n_images, len(means), dtype=torch.long, device=device)
    confidences = torch.empty(n_images, len(means), device=device)
    sums = {name: 0.0 for name in SCALAR_TERMS if with_terms}
    with evaluating(model):
        for first in range(0, n_images, batch_size):
            rows = slice(first, first + batch_size)
            x = to_float(to_device(images[rows], device))
            if with_terms:
                z, terms = forward(x, coefficients)
                responsibilities = terms.q_c_x
            else:
                z = [q.mean for q in model.encode(x, coefficients)]
                responsibilities = model.responsibilities(z)
            for j, (z_j, q) in enumerate(zip(z, responsibilities, strict=True)):  # (B, D_j), (B, K_j)
                means[j][rows] = z_j
                confidences[rows, j], clusters[rows, j] = q.max(dim=1)
                if with_responsibilities:
                    q_c_x[j][rows] = q
            for name in sums:  # summed on the device, no synchronisation
                sums[name] = sums[name] + getattr(terms, name).sum() * len(x)
    return Predictions(
        means=[m.cpu().numpy() for m in means],
        responsibilities=[q.cpu().numpy() for q in q_c_x],
        clusters=clusters.cpu().numpy(),
        confidences=confidences.cpu().numpy(),
        terms={name: float(total) / n_images for name, total in sums.items()},
    )


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


def decode(model: MFCVAE, z: Sequence[Tensor], coefficients: Coefficients | None = None) -> np.ndarray:
    """Mean images of latents. z: J tensors (B, D_j) -> (B, C, H, W) float."""
    with evaluating(model):
        return model.decode(z, coefficients).cpu().numpy()


def reconstruct(model: MFCVAE, means: Sequence[np.ndarray], coefficients: Coefficients | None = None) -> np.ndarray:
    """Mean images of latents on the host. means: J arrays (B, D_j) -> (B, C, H, W) float."""
    device = model.prior[0].mean.device
    return decode(model, [torch.from_numpy(m).to(device) for m in means], coefficients)


def swap_facet(
    first: Sequence[np.ndarray], second: Sequence[np.ndarray], j: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Exchange facet j's latents within pairs. first, second: J arrays (n, D_i) -> the same with entry j exchanged."""
    swapped_first = [b if i == j else a for i, (a, b) in enumerate(zip(first, second, strict=True))]
    swapped_second = [a if i == j else b for i, (a, b) in enumerate(zip(first, second, strict=True))]
    return swapped_first, swapped_second


def pair_members(first: RankedCluster, second: RankedCluster, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The most confident members of two clusters, pairwise: two arrays of at most n indices into the split.

    Within one cluster, neighbours in confidence are paired, as an image paired with itself would show nothing.
    """
    if first.cluster == second.cluster:
        n = min(n, len(first.members) // 2)
        return first.members[0 : 2 * n : 2], first.members[1 : 2 * n : 2]
    n = min(n, len(first.members), len(second.members))
    return first.members[:n], second.members[:n]


def compose(
    model: MFCVAE,
    rows: tuple[int, Sequence[int]],
    columns: tuple[int, Sequence[int]],
    held: Sequence[int],
    coefficients: Coefficients,
) -> np.ndarray:
    """Decode every combination of cluster means of two facets: (R, Q, C, H, W).

    rows, columns: (facet, clusters of it). held: J clusters; any other facet i stays at the mean of held[i].
    """
    R, Q = len(rows[1]), len(columns[1])
    z = []
    with torch.no_grad():
        for i, prior in enumerate(model.prior):
            c = torch.tensor(held[i]).repeat(R * Q)  # (R Q,)
            if i == rows[0]:
                c = torch.tensor(list(rows[1])).repeat_interleave(Q)
            elif i == columns[0]:
                c = torch.tensor(list(columns[1])).repeat(R)
            z.append(prior.mean[c.to(prior.mean.device)])  # (R Q, D_i)
    images = decode(model, z, coefficients)
    return images.reshape(R, Q, *images.shape[1:])


def sample_cluster_images(
    model: MFCVAE, j: int, n: int, temperature: float, coefficients: Coefficients, seed: int
) -> np.ndarray:
    """n images from each cluster of facet j: (K_j, n, C, H, W).

    z_j ~ p(z_j | c_j = k); for every other facet i, c_i ~ pi_i and z_i ~ p(z_i | c_i). The temperature scales the
    standard deviations. The numbers are drawn on the host from a generator of their own.
    """
    generator = torch.Generator().manual_seed(seed)
    n_clusters = len(model.prior[j].mean)
    z = []
    with torch.no_grad():
        for i, prior in enumerate(model.prior):
            if i == j:
                c = torch.arange(n_clusters).repeat_interleave(n)  # (K_j * n,)
            else:
                c = torch.multinomial(prior.pi.cpu(), n_clusters * n, replacement=True, generator=generator)
            eps = torch.randn(len(c), prior.mean.shape[1], generator=generator)  # (K_j * n, D_i)
            z.append(prior.sample(c.to(prior.mean.device), eps.to(prior.mean.device), temperature))
    images = decode(model, z, coefficients)
    return images.reshape(n_clusters, n, *images.shape[1:])  # (K_j * n, C, H, W) -> (K_j, n, C, H, W)
