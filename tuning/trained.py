"""Short trainings on one half of the images: what a choice of D_j and sigma makes of the clusters."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import torch

from config import Config, build_config
from datasets import Dataset, Split
from evaluation.health import health_of
from evaluation.metric_names import Metric
from evaluation.predictions import predict
from progressive import progressive_coefficients
from settings.facet_lists import with_fitted_lists
from train import Training, evaluate, train_epoch
from tuning.halves import Halves
from utils import resolve_device

N_EPOCHS = 30
"""Epochs of a short training; what falls to 0 during a training falls as much faster."""


class Choice(NamedTuple):
    """Settings that are tried."""

    n_clusters: tuple[int, ...]
    """J numbers K_j, the largest first."""
    z_dims: tuple[int, ...]
    """J numbers D_j."""
    sigma_factor: float = 1.0
    """Of the sigma that the configuration gives, or that comes from the data."""


class Trained(NamedTuple):
    """What a training on one half found."""

    codes: np.ndarray
    """(N, J): the cluster of every image of both halves; one cluster for all in a facet that carries nothing."""
    elbo: float
    """Nats per image of the other half."""
    sigma: float
    """Standard deviation of the Normal likelihood that it was trained with."""


def with_choice(config: Config, choice: Choice) -> Config:
    """The configuration with J, K_j and D_j as chosen; what has an entry per facet follows."""
    J = len(choice.n_clusters)
    fitted = with_fitted_lists(dataclasses.replace(config, J_n_mixtures=J), {"J_n_mixtures": 0})
    lists = {"n_clusters_j_list": list(choice.n_clusters), "z_j_dim_list": list(choice.z_dims)}
    return build_config(dataclasses.asdict(fitted) | lists)


def train_half(config: Config, choice: Choice, halves: Halves, half: int) -> Trained:
    """Train shortly on half 0 or 1, without labels, and cluster all images."""
    settings = dataclasses.asdict(with_choice(config, choice)) | {"n_epochs": N_EPOCHS, "compile": "false"}
    config = build_config(settings | {"seed": (config.seed + half) % 2**32})
    device, dataset = resolve_device(config.device), _without_labels(config, halves, half)
    training = Training(config, dataset.spec, device)
    training.initialise(dataset.train)
    training.model.sigma_x *= choice.sigma_factor
    for epoch in range(1, config.n_epochs):
        train_epoch(training, dataset, epoch)
    coefficients = progressive_coefficients(config, config.n_epochs - 1, 0, 1).on(device)
    numbers = evaluate(training, dataset, coefficients)
    codes = np.empty((len(halves.images), len(choice.n_clusters)), dtype=np.int64)
    for rows, split in ((halves.rows(half), dataset.train), (~halves.rows(half), dataset.test)):
        codes[rows] = predict(training.model, split.images).clusters
    for j in range(len(choice.n_clusters)):
        if (health := health_of(numbers, j)) and health.complaint:
            codes[:, j] = 0
    return Trained(codes, -numbers[Metric("loss").name], training.model.sigma_x)


def _without_labels(config: Config, halves: Halves, half: int) -> Dataset:
    """One half to train on and the other to test, with nothing but images."""
    device, rows = resolve_device(config.device), halves.rows(half)
    train, test = (
        Split(torch.from_numpy(images), torch.zeros(len(images), 0, dtype=torch.long)).to(device)
        for images in (halves.images[rows], halves.images[~rows])
    )
    spec = dataclasses.replace(
        halves.spec, n_train=len(train), n_test=len(test), label_names=(), class_names=(), checksum=None
    )
    return Dataset(spec, train, test, "half of the images")
