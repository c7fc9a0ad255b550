"""Whether each facet carries anything: how much the decoded image depends on it, and what its clusters tell.

A facet can be dead in two ways. The decoder may not listen to it, so that an image stays the same when the facet is
taken from another one. Or its clusters may tell nothing: all images are in one of them, or q(c_j | x) hardly differs
from a constant. Everything here observes, and draws from a generator of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from config import Config
from datasets import Images, to_device, to_float
from evaluation.metric_names import Metric
from evaluation.predictions import device_of, evaluating
from mfcvae import MFCVAE
from progressive import Coefficients

N_IMAGES = 1000
"""Images that health is measured on: a thousand of the test split tell a dead facet from a living one."""
MIN_EFFECT = 0.01
"""A facet that changes the image less does not show. Dead ones were seen at 0.0006 and below, living ones from 0.15."""
MIN_CONFIDENCE = 0.1
"""Of the way from a constant's confidence to 1. Dead facets were seen at 0.08 and below, living ones from 0.17."""


def measure_health(
    model: MFCVAE, images: Images, coefficients: Coefficients | None = None, batch_size: int = 1000
) -> dict[Metric, float]:
    """Measure the health of every facet on at most N_IMAGES images, the same ones every time.

    Args:
        model: any model, trained or not.
        images: (N, C, H, W) uint8 of the test split, on any device or on disk.
        coefficients: how far each facet takes part; in full where there are none.
        batch_size: images that are decoded at a time.

    Returns:
        health_effect of each facet: mean absolute change of the decoded pixels when this facet alone is taken from
        another image, relative to the change when all of them are. 0 for a constant; about 1 for a facet that decides
        alone.
        health_kl of each facet: kl_z + kl_c in nats, at one sample of z; 0 for a constant.
        health_constant of each facet: the confidence of a constant answer, max_k pi_jk.
        health_change: the change when all facets are swapped, relative to that between the images themselves.
        Nothing where there is one image only.
    """
    if len(images) < 2:  # there is no other image
        return {}
    index = np.random.default_rng(0).permutation(len(images))[:N_IMAGES]
    batches = [to_device(batch, device_of(model)) for batch in images[index.tolist()].split(batch_size)]
    with evaluating(model):
        means, kl = _encode(model, batches, coefficients)
        swapped = [m.roll(1, dims=0) for m in means]  # every image gets the latents of the one before it
        J = len(means)
        takes = [swapped] + [[swapped[i] if i == j else means[i] for i in range(J)] for j in range(J)]
        changes = _changes(model, means, takes, coefficients, batch_size)
        constants = [float(prior.pi.max()) for prior in model.prior]
    inputs = _input_change(torch.cat(batches), batch_size)
    effects = [change / changes[0] if changes[0] > 0 else 0.0 for change in changes[1:]]
    health = {Metric("health_change"): changes[0] / inputs if inputs > 0 else 0.0}
    for kind, values in (("health_effect", effects), ("health_kl", kl), ("health_constant", constants)):
        health |= {Metric(kind, facet=j): value for j, value in enumerate(values)}
    return health


def _input_change(images: Tensor, batch_size: int) -> float:
    """Mean absolute difference of the pixels between every image (N, C, H, W) uint8 and the one before it."""
    pairs = zip(images.split(batch_size), images.roll(1, dims=0).split(batch_size), strict=True)
    return sum(float((to_float(one) - to_float(other)).abs().sum()) for one, other in pairs) / images.numel()


def _encode(
    model: MFCVAE, batches: Sequence[Tensor], coefficients: Coefficients | None
) -> tuple[list[Tensor], list[float]]:
    """Encode batches (B, C, H, W) uint8: m_j(x), J tensors (N, D_j), and kl_z + kl_c of each facet at a sample of z."""
    generator, n_images = torch.Generator().manual_seed(0), sum(map(len, batches))
    noise = [torch.randn(n_images, prior.mean.shape[1], generator=generator) for prior in model.prior]  # (N, D_j)
    means, kl = [], []
    for i, images in enumerate(batches):
        x = to_float(images)
        q_z_x = model.encode(x, coefficients)
        rows = slice(i * len(batches[0]), i * len(batches[0]) + len(x))
        z = [q.mean + q.stddev * eps[rows].to(x.device) for q, eps in zip(q_z_x, noise, strict=True)]
        p_x_z = model.likelihood(model.through_bottleneck(z, coefficients), coefficients)
        terms = model.elbo(x, p_x_z, q_z_x, z, coefficients)
        means.append([q.mean for q in q_z_x])
        kl.append((terms.kl_z + terms.kl_c) * len(x))
    return [torch.cat(parts) for parts in zip(*means, strict=True)], (torch.stack(kl).sum(0) / n_images).tolist()


def _changes(
    model: MFCVAE,
    means: Sequence[Tensor],
    takes: Sequence[Sequence[Tensor]],
    coefficients: Coefficients | None,
    batch_size: int,
) -> list[float]:
    """Mean absolute difference of the pixels decoded from each take, J tensors (N, D_j), to those of means."""

    def decode(z: Sequence[Tensor]) -> Tensor:
        return model.decode(model.through_bottleneck(z, coefficients), coefficients)

    totals = torch.zeros(len(takes), device=means[0].device)
    for rows in torch.arange(len(means[0]), device=means[0].device).split(batch_size):
        x_hat = decode([m[rows] for m in means])
        for i, take in enumerate(takes):
            totals[i] += (decode([m[rows] for m in take]) - x_hat).abs().mean() * len(rows)
    return (totals / len(means[0])).tolist()


# --- what the numbers mean


class FacetHealth(NamedTuple):
    """How one facet fares at the end of an epoch."""

    facet: int
    effect: float
    """Change of the decoded pixels when this facet alone is swapped, relative to that between the images themselves."""
    kl: float
    """kl_z + kl_c in nats."""
    n_clusters: int
    """Clusters that have members in the test split."""
    confidence: float
    """Mean of max_k q(c_j = k | x)."""
    constant: float
    """What the confidence would be if q(c_j | x) was the same for all images."""

    @property
    def shows(self) -> bool:
        """Whether the decoded image depends on this facet."""
        return self.effect >= MIN_EFFECT

    @property
    def tells(self) -> bool:
        """Whether the images are in several clusters, of which q(c_j | x) is surer than a constant would be."""
        gained = (self.confidence - self.constant) / max(1 - self.constant, 1e-6)
        return self.n_clusters > 1 and gained >= MIN_CONFIDENCE

    @property
    def complaint(self) -> str:
        """What is wrong with the facet, in words; empty where nothing is."""
        used = "all images in one cluster" if self.n_clusters == 1 else f"its {self.n_clusters} clusters tell nothing"
        if self.shows and self.tells:
            return ""
        if self.shows:
            return f"clusters nothing: {used}, only its continuous part changes the images"
        if self.tells:
            return f"does not show: its {self.n_clusters} clusters make no difference to the decoded images"
        return f"carries nothing: {used}, and swapping it does not change the decoded images"


def health_of(numbers: Mapping[str, float], j: int) -> FacetHealth | None:
    """The health of facet j in an epoch's numbers; None where it was not measured."""
    change = numbers.get(Metric("health_change").name)
    if change is None:
        return None
    kinds = ("health_effect", "health_kl", "n_clusters_present", "confidence", "health_constant")
    effect, kl, n_clusters, confidence, constant = (numbers[Metric(kind, facet=j).name] for kind in kinds)
    return FacetHealth(j, effect * change, kl, int(n_clusters), confidence, constant)


def settings_to_try(config: Config, health: FacetHealth, likelihood: str) -> list[str]:
    """Up to three settings that may bring a facet to life. likelihood: that of the data set."""
    j, sigma = health.facet, config.sigma_multiplier_p_x_z
    numbers = config.n_clusters_j_list
    if config.init_type_p_z_c == "factorial":  # with many clusters one facet tells every combination alone
        tries = [f"fewer clusters in each facet (n_clusters_j_list, now {', '.join(map(str, numbers))})"]
    else:
        tries = ["the start of configs/folder.yml (init_type_p_z_c, guide_weight, bottleneck)"]
    if health.shows:  # its clusters are what is missing
        tries.append(f"fewer dimensions of its own (z_j_dim_list, now {config.z_j_dim_list[j]})")
    elif likelihood == "normal" and sigma != "data":
        tries.append(f"a smaller sigma_multiplier_p_x_z (now {sigma:g})")
    if not health.shows and j + 1 < config.J_n_mixtures:
        tries.append(f"fewer dimensions of facet {j + 1} (z_j_dim_list, now {config.z_j_dim_list[j + 1]})")
    if config.init_type_p_z_c != "factorial":
        tries.append(f"another number of clusters (n_clusters_j_list, now {numbers[j]})")
    return tries[:3]


def complaints(numbers: Mapping[str, float], config: Config, likelihood: str) -> list[str]:
    """A line for each facet that carries nothing, with the settings to try."""
    lines = []
    for j in range(config.J_n_mixtures):
        health = health_of(numbers, j)
        if health is not None and health.complaint:
            tries = ", ".join(settings_to_try(config, health, likelihood))
            lines.append(f"facet {j} {health.complaint}; try {tries}")
    return lines


def describe_health(numbers: Mapping[str, float], coefficients: Coefficients) -> str:
    """One line about every facet as training goes on, empty where none was measured.

    coefficients: how far each facet takes part.
    """
    words = []
    for j, alpha in enumerate(map(float, coefficients.alpha_dec)):
        health = health_of(numbers, j)
        if health is not None and alpha == 0:
            words.append(f"facet {j} has yet to join")
        elif health is not None:
            state = "is fading in" if alpha < 1 else health.complaint.partition(":")[0] or "is alive"
            sure = f"confidence {health.confidence:.2f}, of a constant {health.constant:.2f}"
            measured = f"effect {health.effect:.3f}, KL {health.kl:.1f}, {_clusters(health.n_clusters)}, {sure}"
            words.append(f"facet {j} {state} ({measured})")
    return "; ".join(words)


def _clusters(n: int) -> str:
    """A number of clusters in words."""
    return "1 cluster" if n == 1 else f"{n} clusters"


def advice_on_loss(config: Config, precision: str, images: Images) -> str:
    """What is likely to have made a loss not finite, and what would help. images: (N, C, H, W) of the training."""
    first = images[[0]]
    if config.data_init and all(bool((chunk == first).all()) for chunk in images.split(1000)):
        return "all images are the same, which data_init cannot scale: look at the images, or leave it out"
    if config.init_lr > 1e-2:
        return f"init_lr = {config.init_lr:g} is large: start again with --overwrite and a lower --init_lr, 5e-4 say"
    if precision == "bf16":
        return "start again with --overwrite and --precision fp32, or a lower --init_lr"
    sigma = f"a larger sigma_multiplier_p_x_z (now {config.sigma_multiplier_p_x_z:g})"
    return f"start again with --overwrite and a lower --init_lr (now {config.init_lr:g}), or {sigma}"
