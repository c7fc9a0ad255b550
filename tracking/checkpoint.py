"""The state that a run is resumed from: a copy of everything that the rest of the run depends on."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from config import Config
from load_model import check_fits
from mfcvae import MFCVAE
from settings.comparing import obstacles, portable_settings
from utils import UserError, one_line

log = logging.getLogger(__name__)


class Resumable(Protocol):
    """What a run consists of while it goes on."""

    config: Config
    device: torch.device
    precision: str
    model: MFCVAE
    optimizer: torch.optim.Optimizer
    codes: Tensor | None
    n_epochs_planned: int
    order: torch.Generator

    @property
    def data_facts(self) -> dict[str, Any]:
        """What tells its images from others."""


def state_of(run: Resumable, epoch: int) -> dict[str, Any]:
    """A copy of everything that the rest of the run depends on, as of the end of an epoch."""
    return {
        "epoch": epoch,
        "config": portable_settings(run.config),
        "data_facts": run.data_facts,
        "model": _copied(run.model.state_dict()),
        "optimizer": _copied(run.optimizer.state_dict()),
        "precision": run.precision,
        "codes": run.codes,
        "n_epochs_planned": run.n_epochs_planned,
        "sigma_x": run.model.sigma_x,
        "order": run.order.get_state(),
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state(run.device) if run.device.type == "cuda" else None,
        "random_mps": torch.mps.get_rng_state() if run.device.type == "mps" else None,
    }


def restore(run: Resumable, state: Mapping[str, Any], path: Path) -> int:
    """Go on from the state that `path` holds; returns the next epoch.

    Raises:
        UserError: the state is of other settings or other images, or of no run at all.
    """
    try:
        _check_same_run(run, state, path)
        _check_content(run, state)
        run.model.load_state_dict(state["model"])
        _restore_optimizer(run, state["optimizer"])
        _warn_of_other_precision(run, state.get("precision", "fp32"))  # earlier versions knew fp32 alone
        run.codes = state.get("codes")  # earlier versions knew none, nor another sigma than that of the settings
        run.model.sigma_x = state.get("sigma_x", run.model.sigma_x)
        run.n_epochs_planned = state.get("n_epochs_planned", state["config"]["n_epochs"])
        _restore_random_state(run, state)
        return int(state["epoch"]) + 1
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not a checkpoint of this run ({one_line(error)}); start again with --overwrite"
        ) from error


def _check_same_run(run: Resumable, state: Mapping[str, Any], path: Path) -> None:
    """The state is of the same settings and the same images."""
    if different := obstacles(state["config"], run.config):
        raise UserError(f"{path} belongs to a run with other settings: {different}; use another --run_name")
    before = state.get("data_facts", {})  # earlier versions knew fewer of them
    if any(before.get(key, value) != value for key, value in run.data_facts.items()):
        raise UserError(f"{path} belongs to a run on other images; use another --run_name, or --overwrite")


def _check_content(run: Resumable, state: Mapping[str, Any]) -> None:
    """What PyTorch takes from a state without looking at it has the types, shapes and ranges that it must have.

    Raises:
        ValueError: something has not.
    """
    try:
        check_fits(state["model"], run.model.state_dict())
    except UserError as error:
        raise ValueError(str(error)) from None
    n_planned, sigma_x, codes = (state.get(key) for key in ("n_epochs_planned", "sigma_x", "codes"))
    n_clusters = torch.tensor(run.config.n_clusters_j_list)
    is_right = {
        "epoch": type(state["epoch"]) is int and -1 <= state["epoch"] < run.config.n_epochs,  # -1: of another process
        "n_epochs_planned": n_planned is None or (type(n_planned) is int and n_planned > 0),
        "sigma_x": sigma_x is None or (isinstance(sigma_x, float) and 0 < sigma_x < math.inf),
        "codes": codes is None
        or (codes.dtype == torch.int64 and codes.shape == (run.model.spec.n_train, len(n_clusters)))
        and bool(((codes >= 0) & (codes < n_clusters)).all()),
    }
    if wrong := [name for name, is_so in is_right.items() if not is_so]:
        raise ValueError(f"wrong: {', '.join(wrong)}")


def _restore_optimizer(run: Resumable, state: dict[str, Any]) -> None:
    """Adam goes on; the checkpoint may come from another device."""
    run.optimizer.load_state_dict(state)
    for weight, moments in run.optimizer.state.items():  # fused Adam takes them in the order of the memory
        shapes = {"step": (), "exp_avg": tuple(weight.shape), "exp_avg_sq": tuple(weight.shape)}
        if {key: tuple(value.shape) for key, value in moments.items()} != shapes:
            raise ValueError("its optimiser is another model's")
        like = {key: torch.empty_like(weight) for key in moments if moments[key].shape == weight.shape}
        moments |= {key: memory.copy_(moments[key]) for key, memory in like.items()}
    for group in run.optimizer.param_groups:
        group["capturable"] = run.device.type == "cuda"


def _warn_of_other_precision(run: Resumable, before: str) -> None:
    """Say where the rest of the run is computed in another precision."""
    if before != run.precision:
        log.warning("trained in %s up to here, %s from now on; --precision %s keeps it", before, run.precision, before)


def _restore_random_state(run: Resumable, state: Mapping[str, Any]) -> None:
    """Batches and noise go on as they would have."""
    run.order.set_state(state["order"])
    torch.set_rng_state(state["random"])
    if run.device.type == "cuda" and state["random_cuda"] is not None:
        torch.cuda.set_rng_state(state["random_cuda"], run.device)
    if run.device.type == "mps" and state.get("random_mps") is not None:
        torch.mps.set_rng_state(state["random_mps"])


def _copied(value: Any) -> Any:
    """The same nested dictionaries and lists with every tensor cloned."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, (list, tuple)) else value
