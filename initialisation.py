"""How a run starts: data-dependent weights, and the mixtures' means from a fit to encodings or to the pixels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from config import read_settings
from datasets import Split, to_float, training_batches
from evaluation.predictions import device_of, predict
from factorial.clustering import factorial_clustering
from load_model import empty_model, load_model_from_save_dict
from mfcvae import MFCVAE
from readers.disk_images import DiskImages, Images, on_host
from settings.facet_lists import LADDER_DEPTHS, LADDER_DIMS
from speed.machine import total_memory
from utils import UserError, shown

if TYPE_CHECKING:
    from config import Config
    from datasets import DatasetSpec

log = logging.getLogger(__name__)

Layer = nn.Linear | nn.Conv2d | nn.ConvTranspose2d

BYTES_PER_PARAMETER = 16
"""A weight, its gradient and Adam's two moments, of four bytes each."""


def check_memory(config: Config, spec: DatasetSpec, device: torch.device) -> None:
    """See that a model, its gradients and Adam's moments fit into the memory of a device, before any is spent.

    Raises:
        UserError: they do not.
    """
    n_parameters = sum(parameter.numel() for parameter in empty_model(config, spec).parameters())
    needed, there = BYTES_PER_PARAMETER * n_parameters, total_memory(device)
    if needed > there:
        raise UserError(
            f"a model of {n_parameters:,} parameters takes {needed / 2**30:,.1f} GiB to train, and {device} has "
            f"{there / 2**30:,.1f}; use smaller widths, latent dimensions, numbers of clusters or images"
        )


def initialise(model: MFCVAE, train: Split, config: Config, order: torch.Generator) -> Tensor | None:
    """Give a model its data-dependent weights and the mixtures' means, before the first epoch.

    order: the generator of the order in which images are trained on.

    Returns codes (N, J) int64 where training is guided by them.
    """
    if config.continue_from:
        warm_start(model, train.images, config)
        return None
    if config.data_init:
        batch = next(iter(training_batches(train, config.batch_size, order, device_of(model))))
        data_init(model, to_float(batch.images))
    if config.init_type_p_z_c == "gmm":
        fitted = images_to_fit(train.images, config.seed)
        encodings = predict(model, fitted, None, config.eval_batch_size).means
        means = mixture_means(encodings, config.n_clusters_j_list, config.seed)
        for prior, start in zip(model.prior, means, strict=True):
            prior.start_at(start)
    if config.init_type_p_z_c == "factorial":
        codes = factorial_start(model, train.images, config)
        return codes.to(train.labels.device) if config.guide_weight else None
    return None


MAX_FITTED = 100_000
"""Images that mixtures are fitted to; of more, so many are drawn by the seed."""


def images_to_fit(images: Images, seed: int) -> Images:
    """Take the images (N, C, H, W) that mixtures are fitted to: all, or MAX_FITTED of them in their order."""
    if len(images) <= MAX_FITTED:
        return images
    rows = np.sort(np.random.default_rng(seed).permutation(len(images))[:MAX_FITTED])
    return images.part(rows) if isinstance(images, DiskImages) else images[rows.tolist()]


def mixture_means(encodings: Sequence[np.ndarray], n_clusters: Sequence[int], seed: int) -> list[np.ndarray]:
    """Means of one diagonal Gaussian mixture per facet, fitted by scikit-learn.

    Args:
        encodings: J arrays (N, D_j), the m_j(x) of the training images.
        n_clusters: J numbers K_j.
        seed: where the fits start.

    Returns:
        J arrays (K_j, D_j).

    Raises:
        UserError: scikit-learn cannot fit one.
    """
    from sklearn.mixture import GaussianMixture  # takes a second to import; glorot starts do without

    mixtures = [GaussianMixture(K, covariance_type="diag", random_state=seed) for K in n_clusters]
    try:
        return [mixture.fit(m).means_ for mixture, m in zip(mixtures, encodings, strict=True)]
    except ValueError as error:
        raise UserError(
            f"the mixtures of n_clusters_j_list = {list(n_clusters)} cannot be fitted to the encodings ({error}); use "
            "fewer clusters, or --init_type_p_z_c glorot, which needs no fit"
        ) from error


STRUCTURE = {
    "model_type", "J_n_mixtures", "z_j_dim_list", "activation", "do_fc_batch_norm", "encode_layer_dims",
    "decode_layer_dims", "conv_width", "cov_type_p_z_c", *LADDER_DIMS, *LADDER_DEPTHS,
}  # fmt: skip
"""The settings that a model's weights belong to."""


def warm_start(model: MFCVAE, images: Images, config: Config) -> None:
    """Take the weights of the model that config.continue_from names; images: (N, C, H, W) uint8.

    A facet with another number of clusters gets a mixture that is fitted to its latents, with the mean spread of its
    former clusters.

    Raises:
        UserError: that model is of another structure, or of images of another shape.
    """
    start, settings = load_model_from_save_dict(str(config.continue_from))
    _check_structure(config, settings, model, start)
    others = {f"prior.{j}." for j, K in enumerate(config.n_clusters_j_list) if settings.n_clusters_j_list[j] != K}
    weights = {name: w for name, w in start.state_dict().items() if not name.startswith(tuple(others))}
    model.load_state_dict(weights, strict=False)
    if config.sigma_multiplier_p_x_z == "data":
        model.sigma_x = start.sigma_x
    facets = [j for j in range(config.J_n_mixtures) if f"prior.{j}." in others]
    fitted = images_to_fit(images, config.seed)
    encodings = predict(model, fitted, None, config.eval_batch_size).means if facets else []
    n_clusters = [config.n_clusters_j_list[j] for j in facets]
    means = mixture_means([encodings[j] for j in facets], n_clusters, config.seed)
    for j, new in zip(facets, means, strict=True):
        model.prior[j].start_at(new)
        model.prior[j].spread_as(start.prior[j])


def _check_structure(config: Config, settings: Config, model: MFCVAE, start: MFCVAE) -> None:
    """See that the weights of a start belong to a model."""
    now, there = (read_settings(c) | {"is_exp": c.init_type_p_z_c == "glorot"} for c in (config, settings))
    names = [name for name in now if name in STRUCTURE | {"is_exp"} and now[name] != there.get(name)]
    if names:
        name = "init_type_p_z_c" if names[0] == "is_exp" else names[0]
        raise UserError(
            f"continue_from = {shown(config.continue_from)}: its model has {name} = {shown(getattr(settings, name))}, "
            f"not {shown(getattr(config, name))}; leave it out, or start a new model"
        )
    if start.spec.image_shape != model.spec.image_shape:
        raise UserError(
            f"continue_from = {shown(config.continue_from)}: a model of images (C, H, W) {start.spec.image_shape}, but "
            f"those of {model.spec.name} are {model.spec.image_shape}; use images of its shape, or start a new model"
        )


SMALLEST_SIGMA = 0.02
"""Five of 256 grey values: images that a factorial clustering explains to the last bit would let nothing be learned."""


def factorial_start(model: MFCVAE, images: Images, config: Config) -> Tensor:
    """Start the mixtures from a factorial clustering of the training images, and set sigma by it where asked.

    The means of a facet lie in its latent space as its centres lie in that of the pixels (latent_means). images:
    (N, C, H, W) uint8, on any device or on disk -> codes (N, J) int64 on the host.
    """
    pixels = on_host(images)
    found = factorial_clustering(pixels, config.n_clusters_j_list, config.seed)
    log.info("facets start from %s", found.subject)
    for prior, centres in zip(model.prior, found.centres, strict=True):
        prior.start_at(latent_means(centres, prior.mean.shape[1]))
    if config.sigma_multiplier_p_x_z == "data":
        model.sigma_x = max(found.rmse, SMALLEST_SIGMA)
    return torch.from_numpy(found.predict(pixels))


def latent_means(centres: np.ndarray, D: int) -> np.ndarray:
    """The first D principal coordinates of centres (K, d), of mean square 1, with a little noise: (K, D) float32."""
    u, spreads, _ = np.linalg.svd(centres - centres.mean(axis=0), full_matrices=False)
    means = np.zeros((len(centres), D), dtype=np.float32)
    n = min(D, len(spreads))
    means[:, :n] = (u * spreads)[:, :n]
    means *= np.sqrt(D) / max(np.sqrt((means**2).sum(axis=1).mean()), 1e-6)
    return means + 0.1 * torch.randn(means.shape).numpy()


WIDEST = 4096
"""Inputs of a fully-connected layer from which on it learns more slowly; the published networks have 3,136 at most."""


def learning_rates(model: nn.Module, init_lr: float) -> list[dict[str, Any]]:
    """Adam's groups of parameters: the weights of a layer of N > WIDEST inputs learn at init_lr WIDEST / N.

    Adam moves every weight by the learning rate at first, whatever the gradient, and so an output by N of them. Those
    of a layer over the 49,152 values of a 128 x 128 image in colour left their range in one step, and log s_j^2 ended
    in an overflow. Images of up to 36 x 36 pixels in colour are in the one group that learns at init_lr.
    """
    wide = [m.weight for m in model.modules() if isinstance(m, nn.Linear) and m.in_features > WIDEST]
    slow = [{"params": [weight], "lr": init_lr * WIDEST / weight.shape[1]} for weight in wide]
    others = [parameter for parameter in model.parameters() if all(parameter is not weight for weight in wide)]
    return [{"params": others, "lr": init_lr}, *slow]


@torch.no_grad()
def data_init(model: MFCVAE, x: Tensor, target_std: float = 0.1) -> None:
    """Data-dependent initialisation on one batch x (B, C, H, W).

    Kaiming-normal weights and zero biases; then, in the order of the forward pass, every linear and convolutional
    layer is rescaled so that each channel of its output has mean 0 and standard deviation `target_std`. BatchNorm's
    running statistics become those of the batch: from their usual start, in evaluation mode, every layer would shrink
    the encodings tenfold, and the mixtures fitted to them would start with all their means in one point.
    """
    norms = [m for m in model.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    layers = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d))]

    def rescale(layer: Layer, _: tuple[Tensor, ...], out: Tensor) -> Tensor:
        channels = out.float().transpose(0, 1).flatten(1)  # (channels, everything else)
        mean, scale = channels.mean(1), target_std / channels.std(1).clamp_min(1e-6)
        axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
        shape = [-1 if i == axis else 1 for i in range(layer.weight.dim())]
        _set_weight(layer, layer.weight * scale.view(shape))
        bias = cast("nn.Parameter", layer.bias)  # each of the model's layers has one
        bias.copy_((bias - mean) * scale)
        wide = [1, -1] + [1] * (out.dim() - 2)
        return (out - mean.view(wide)) * scale.view(wide)

    for layer in layers:
        _set_weight(layer, nn.init.kaiming_normal_(torch.empty_like(layer.weight)))
        nn.init.zeros_(cast("nn.Parameter", layer.bias))
    hooks = [layer.register_forward_hook(rescale) for layer in layers]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    try:
        model(x)
    finally:
        for hook in hooks:
            hook.remove()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _set_weight(layer: Layer, weight: Tensor) -> None:
    """Set a layer's weight in place; a weight-normalised layer splits it into length and direction."""
    if nn.utils.parametrize.is_parametrized(layer, "weight"):
        split: Any = layer.get_submodule("parametrizations.weight")
        length, direction = split[0].right_inverse(weight)
        split.original0.copy_(length)
        split.original1.copy_(direction)
    else:
        layer.weight.copy_(weight)
