"""What the estimator is given beside images, and how it says that something will not do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor

from evaluation.decoding import Sampling
from utils import UserError, shown

MAX_SAMPLES, MAX_SHOWN = 100_000, 100
"""Images that are sampled at once, and that a row of a figure shows."""

P = ParamSpec("P")
R = TypeVar("R")


class InputError(UserError, ValueError):
    """Input that will not do: one line that says what is wrong, where, and what would be right."""


def in_one_line(method: Callable[P, R]) -> Callable[P, R]:
    """The same method, whose UserErrors are the ValueErrors that scikit-learn's users expect."""

    @wraps(method)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except UserError as error:
            raise InputError(str(error)) from None

    return checked


def seed_of(random_state: Any) -> int:
    """The seed of a run: random_state where it is a number, else drawn by it."""
    return int(random_state) if _is_whole(random_state) else drawn_seed(random_state)


def drawn_seed(random_state: Any) -> int:
    """A seed that random_state draws.

    Raises:
        UserError: it is neither a seed nor a generator of NumPy nor None.
    """
    try:
        return int(check_random_state(random_state).randint(2**31))
    except ValueError:
        raise UserError(f"random_state = {shown(random_state)}: give a seed, a numpy RandomState, or None") from None


def checked_facet(facet: int, n_clusters: Sequence[int]) -> int:
    """A facet that is among those of n_clusters, K_j."""
    if not _is_whole(facet) or not 0 <= facet < len(n_clusters):
        raise UserError(f"facet = {shown(facet)}: the model has the facets 0 to {len(n_clusters) - 1}")
    return int(facet)


def checked_latents(Z: Any, dims: Sequence[int]) -> list[np.ndarray]:
    """Latents (N, sum_j D_j) that are finite, facet by facet: J arrays (N, D_j). dims: D_j."""
    wanted = f"give finite numbers (N, {sum(dims)}), as transform does"
    try:
        latents = np.asarray(Z).astype(np.float32, casting="same_kind")
    except (TypeError, ValueError):  # texts, complex numbers, rows of different lengths
        raise UserError(f"Z is {shown(Z, 60)}: {wanted}") from None
    if latents.ndim != 2 or latents.shape[1] != sum(dims) or not np.isfinite(latents).all():
        raise UserError(f"Z has shape {latents.shape}: {wanted}")
    return np.split(latents, np.cumsum(dims)[:-1], axis=1)


def checked_sampling(n_samples: int, temperature: float, seed: int) -> Sampling:
    """How many images are drawn, and how far from the centres."""
    if not _is_whole(n_samples) or not 1 <= n_samples <= MAX_SAMPLES:
        raise UserError(f"n_samples = {shown(n_samples)}: give a whole number from 1 to {MAX_SAMPLES:,}")
    if not isinstance(temperature, int | float) or not 0 <= temperature < float("inf"):
        raise UserError(f"temperature = {shown(temperature)}: give a number of at least 0")
    return Sampling(int(n_samples), temperature, seed)


def held_clusters(clusters: Mapping[int, int], n_clusters: Sequence[int], n_samples: int) -> dict[int, Tensor]:
    """The clusters at which facets are held, once for each sample: facet -> (n_samples,). n_clusters: K_j."""
    if not isinstance(clusters, Mapping):
        raise UserError(f"clusters = {shown(clusters)}: give a mapping from facets to their clusters")
    held = {}
    for j, k in clusters.items():
        K = n_clusters[checked_facet(j, n_clusters)]
        if not _is_whole(k) or not 0 <= k < K:
            raise UserError(f"clusters = {shown(clusters)}: facet {j} has the clusters 0 to {K - 1}")
        held[int(j)] = torch.full((n_samples,), int(k))
    return held


def checked_n_images(n_images: int) -> int:
    """How many images a row of a figure shows."""
    if not _is_whole(n_images) or not 1 <= n_images <= MAX_SHOWN:
        raise UserError(f"n_images = {shown(n_images)}: give a whole number from 1 to {MAX_SHOWN}")
    return int(n_images)


def checked_path(value: Any, name: str) -> Path:
    """What names a file or folder, as a path."""
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise UserError(f"{name} = {shown(value)}: give the path of a file or folder")
    return Path(value)


def _is_whole(value: Any) -> bool:
    """Whether it is a whole number, and not true or false."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
