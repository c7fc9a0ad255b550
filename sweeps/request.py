"""What the entries of a sweep are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

BackendName = Literal["auto", "wandb", "optuna"]


@dataclass(frozen=True)
class Sharing:
    """Who shares out the runs of a sweep, and among whom."""

    backend: BackendName = "auto"
    """auto: the one that the sweep's folder was started with; else wandb where a key is found, else Optuna."""
    storage: str | None = field(default=None, repr=False)
    """Address of Optuna's data base, which may hold a password; None for a file in the sweep's folder."""
    workers: int = 1
    """Processes on this machine."""
    patience: int = 120
    """Seconds without a sign of life of a worker after which another takes its run (Optuna)."""


@dataclass(frozen=True)
class StartRequest:
    """A sweep to be started or gone on with."""

    settings: Mapping[str, Any]
    """Raw values of the settings that hold for every run, as flags of train.py name them."""
    seeds: tuple[int, ...] | None = None
    """None for those of sweep_config, or the paper's ten."""
    sweep_config: str | None = None
    """File of method and parameters in the format of wandb's sweeps."""
    sweep_name: str | None = None
    """Folder below results_dir; None for <configuration>_sweep."""
    sharing: Sharing = field(default_factory=Sharing)


@dataclass(frozen=True)
class JoinRequest:
    """A sweep that was started elsewhere, to be worked on."""

    settings: Mapping[str, Any]
    """As the sweep was started with."""
    sweep_id: str
    """As start_sweep.py printed it."""
    sweep_name: str | None = None
    sharing: Sharing = field(default_factory=Sharing)
