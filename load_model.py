"""A checkpoint -> the model in eval mode and its config. Published checkpoints load too, and ours can be exported."""

from __future__ import annotations

import argparse
import dataclasses
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from config import DEAD_KEYS, Config, build_config
from datasets import DatasetSpec, dataset_spec
from mfcvae import MFCVAE
from utils import UserError, write_atomically

# Our parameter names -> the published ones, the first match holds. {n} is a layer's place in a flat published stack.
_BLOCK = r"(?P<block>\d+)\.(?P<part>\d+)"
PUBLISHED_NAMES = {
    "fc": [
        (rf"encoder\.net\.{_BLOCK}", "encoder.net.{n}"),
        (rf"encoder\.net_list\.(\d+)\.{_BLOCK}", r"encoder.net_list.\1.{n}"),
        (rf"decoder\.net\.{_BLOCK}", "decoder.net.{n}"),
        (rf"(encoder|decoder)\.(backbone|rung)\.(\d+)\.{_BLOCK}", r"\1.fc_\2.\3.{n}"),
        (r"decoder\.to_pixels", "layer_x_hat_z"),
    ],
    "conv": [
        (r"encoder\.(backbone|rung)\.(\d+)", r"encoder.conv_\1_\2"),
        (r"decoder\.backbone\.(\d+)", r"decoder.conv_backbone_\1"),
        (r"decoder\.rung\.(\d+)", r"decoder.mlp_rung_\1"),
    ],
    "all": [
        (r"mean_heads\.(\d+)", r"fc_mu_q_z_x_list.\1"),
        (r"log_var_heads\.(\d+)", r"fc_log_sigma_square_q_z_x_list.\1"),
        (r"prior\.(\d+)\.mean", r"mu_p_z_j_c_j_list.\1"),
        (r"prior\.(\d+)\.free_spread", r"{spread}.\1"),
        (r"prior\.(\d+)\.pi_logits", r"_pi_p_c_j_list.\1"),
    ],
}
_SPREAD = {"diag": "_sigma_square_p_z_j_c_j_list", "full": "_l_mat_p_z_j_c_j_list"}
_WEIGHT_NORM = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}


def published_name(name: str, config: Config) -> str:
    """The published name of one of our parameters or buffers."""
    kind = "conv" if config.model_type == "conv_vlae" else "fc"
    top = config.J_n_mixtures - 1
    offset = 0
    if config.model_type == "fc_vlae":  # the published decoder keeps the deepest rung and backbone in one stack
        if name.startswith(f"decoder.rung.{top}."):
            name = name.replace("rung", "backbone", 1)
        elif name.startswith(f"decoder.backbone.{top}."):
            offset = max(config.dec_rung_n_hidden[top], 0)
    for pattern, template in PUBLISHED_NAMES[kind] + PUBLISHED_NAMES["all"]:
        if match := re.match(pattern, name):
            place = match.groupdict()
            modules_per_block = 4 if config.do_fc_batch_norm else 3  # linear, activation, [batch norm,] dropout
            n = (int(place["block"]) + offset) * modules_per_block + int(place["part"]) if place else None
            head = match.expand(template).format(n=n, spread=_SPREAD[config.cov_type_p_z_c])
            tail = name[match.end() :]
            for ours, theirs in _WEIGHT_NORM.items():
                tail = tail.replace(ours, theirs)
            return head + tail
    raise KeyError(name)


def _axes_to_published(name: str, tensor: Tensor) -> Tensor:
    """The published code keeps clusters on the last axis: (K, D) -> (D, K), (K, D, D) -> (D, D, K)."""
    return tensor.movedim(0, -1) if re.fullmatch(r"prior\.\d+\.(mean|free_spread)", name) else tensor


def to_published(state_dict: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """Our state_dict in the published names and shapes."""
    return {
        published_name(name, config): _axes_to_published(name, tensor).contiguous() for name, tensor in state_dict.items()
    }


def from_published(published: dict[str, Tensor], model: MFCVAE, config: Config) -> dict[str, Tensor]:
    """A published state_dict in the names and shapes of `model`.

    Raises:
        UserError: a parameter is missing, left over, or of another shape.
    """
    wanted = {published_name(name, config): (name, tensor) for name, tensor in model.state_dict().items()}
    for name in [*(wanted.keys() - published.keys()), *(published.keys() - wanted.keys())]:
        problem = "is missing" if name in wanted else "does not belong to the model its arguments describe"
        raise UserError(f"the published checkpoint does not fit: parameter {name} {problem}")
    state_dict = {}
    for theirs, (ours, tensor) in wanted.items():
        value = published[theirs]
        value = value.movedim(-1, 0) if re.fullmatch(r"prior\.\d+\.(mean|free_spread)", ours) else value
        if value.shape != tensor.shape:
            raise UserError(
                f"the published checkpoint does not fit: {theirs} has shape {tuple(published[theirs].shape)}, "
                f"expected {tuple(_axes_to_published(ours, tensor).shape)}"
            )
        state_dict[ours] = value.contiguous()
    return state_dict


def save_model(model: MFCVAE, config: Config, path: Path) -> None:
    """Write a model as plain tensors and plain settings, which load without unpickling anything else."""
    content = {"state_dict": model.state_dict(), "config": dataclasses.asdict(config)}
    write_atomically(path, lambda temporary: torch.save(content, temporary))
