"""From latents to images: reconstructions, exchanged facets, combined cluster means, and samples of clusters.

As in predictions.py, nothing of the model and no global random state changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from evaluation.predictions import RankedCluster, device_of, evaluating
from mfcvae import MFCVAE
from progressive import Coefficients


def decode(model: MFCVAE, z: Sequence[Tensor], coefficients: Coefficients | None = None) -> np.ndarray:
    """Mean images of latents. z: J tensors (B, D_j) -> (B, C, H, W) float."""
    with evaluating(model):
        return model.decode(z, coefficients).cpu().numpy()


def reconstruct(model: MFCVAE, means: Sequence[np.ndarray], coefficients: Coefficients | None = None) -> np.ndarray:
    """Mean images of latents on the host. means: J arrays (B, D_j) -> (B, C, H, W) float."""
    return decode(model, [torch.from_numpy(m).to(device_of(model)) for m in means], coefficients)


def swap_facet(
    first: Sequence[np.ndarray], second: Sequence[np.ndarray], j: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Exchange facet j's latents within pairs. first, second: J arrays (n, D_i) -> the same with entry j exchanged."""
    swapped_first = [b if i == j else a for i, (a, b) in enumerate(zip(first, second, strict=True))]
    swapped_second = [a if i == j else b for i, (a, b) in enumerate(zip(first, second, strict=True))]
    return swapped_first, swapped_second


def pair_members(first: RankedCluster, second: RankedCluster, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Pair the most confident members of two clusters: two arrays of at most n indices into the split.

    Within one cluster, neighbours in confidence are paired, as an image paired with itself would show nothing.
    """
    if first.cluster == second.cluster:
        n = min(n, len(first.members) // 2)
        return first.members[0 : 2 * n : 2], first.members[1 : 2 * n : 2]
    n = min(n, len(first.members), len(second.members))
    return first.members[:n], second.members[:n]


class FacetClusters(NamedTuple):
    """Some clusters of one facet."""

    j: int
    clusters: Sequence[int]


def compose(
    model: MFCVAE,
    rows: FacetClusters,
    columns: FacetClusters,
    held: Sequence[int],
    coefficients: Coefficients | None = None,
) -> np.ndarray:
    """Decode every combination of cluster means of two facets: (R, Q, C, H, W).

    held: J clusters; any other facet i stays at the mean of held[i].
    """
    R, Q = len(rows.clusters), len(columns.clusters)
    z = []
    with torch.no_grad():
        for i, prior in enumerate(model.prior):
            c = torch.tensor(held[i]).repeat(R * Q)  # (R Q,)
            if i == rows.j:
                c = torch.tensor(list(rows.clusters)).repeat_interleave(Q)
            elif i == columns.j:
                c = torch.tensor(list(columns.clusters)).repeat(R)
            z.append(prior.mean[c.to(prior.mean.device)])  # (R Q, D_i)
    images = decode(model, z, coefficients)
    return images.reshape(R, Q, *images.shape[1:])


class Sampling(NamedTuple):
    """How images are generated from clusters."""

    n: int
    """Images of each cluster."""
    temperature: float
    """Factor on the standard deviations of p(z | c)."""
    seed: int = 0


def sample_cluster_images(
    model: MFCVAE, j: int, sampling: Sampling, coefficients: Coefficients | None = None
) -> np.ndarray:
    """Generate n images from each cluster of facet j: (K_j, n, C, H, W).

    z_j ~ p(z_j | c_j = k); for every other facet i, c_i ~ pi_i and z_i ~ p(z_i | c_i).
    """
    n_clusters, n = len(model.prior[j].mean), sampling.n
    held = {j: torch.arange(n_clusters).repeat_interleave(n)}  # (K_j * n,)
    images, _ = sample_images(model, held, sampling._replace(n=n_clusters * n), coefficients)
    return images.reshape(n_clusters, n, *images.shape[1:])  # (K_j * n, C, H, W) -> (K_j, n, C, H, W)


def sample_images(
    model: MFCVAE, held: Mapping[int, Tensor], sampling: Sampling, coefficients: Coefficients | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Generate images from clusters of every facet: (n, C, H, W) float, and these clusters (n, J).

    The numbers are drawn on the host from a generator of their own.

    held: facet -> the cluster (n,) of each image; for every other facet i, c_i ~ pi_i.
    """
    generator, n = torch.Generator().manual_seed(sampling.seed), sampling.n
    z, clusters = [], []
    with torch.no_grad():
        for i, prior in enumerate(model.prior):
            c = held.get(i)
            if c is None:
                c = torch.multinomial(prior.pi.cpu(), n, replacement=True, generator=generator)
            eps = torch.randn(n, prior.mean.shape[1], generator=generator)  # (n, D_i)
            z.append(prior.sample(c.to(prior.mean.device), eps.to(prior.mean.device), sampling.temperature))
            clusters.append(c)
    return decode(model, z, coefficients), torch.stack(clusters, dim=1).numpy()
