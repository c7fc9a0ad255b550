"""Settings of two runs beside each other: what may change when a run goes on, and what a file to be shared may hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from settings.facet_lists import STEPS
from utils import one_line, shown

if TYPE_CHECKING:
    from config import Config

# Settings that say where and how a run goes on, not what it computes.
MAY_CHANGE_ON_RESUME = {
    "config_args_path", "run_name", "results_dir", "overwrite", "dry_run", "quiet", "copy_model", "device",
    "wandb_mode", "user", "data_dir", "checkpoint_every_n_epochs", "precision", "compile", "report",
    "images_in", "cache_dir",
}  # fmt: skip


def portable_settings(config: Config) -> dict[str, Any]:
    """All settings, with those of this machine and this start at their defaults: what a file to be shared may hold."""
    defaults = dataclasses.asdict(type(config)())
    settings = dataclasses.asdict(config) | {name: defaults[name] for name in MAY_CHANGE_ON_RESUME}
    return settings | {"run_name": config.name}


def different_settings(before: Mapping[str, Any], config: Config) -> str:
    """The settings that a run was started with and that differ now, as text; empty where there are none.

    A setting that the version of that time did not know had its default.
    """
    before, now = dataclasses.asdict(type(config)()) | dict(before), dataclasses.asdict(config)
    return _said(before, now, [name for name in now if name not in MAY_CHANGE_ON_RESUME])


def obstacles(before: Mapping[str, Any], config: Config) -> str:
    """The settings by which a run cannot go on from an earlier start of it, as text; empty where it can.

    It may have more epochs at its end than it was started with.
    """
    before, now = dataclasses.asdict(type(config)()) | dict(before), dataclasses.asdict(config)
    grown = {"n_epochs", STEPS} if _is_longer(before, now) else set()
    return _said(before, now, [name for name in now if name not in MAY_CHANGE_ON_RESUME | grown])


def _is_longer(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a run has more epochs now, and the same ones up to where it ended before."""
    if not now["do_progressive_training"]:
        return bool(before["n_epochs"] < now["n_epochs"])
    steps, steps_now = before[STEPS], now[STEPS]
    return steps[:-1] == steps_now[:-1] and steps[-1:] < steps_now[-1:]


def _said(before: Mapping[str, Any], now: Mapping[str, Any], names: list[str]) -> str:
    """Which of these settings differ, and how."""
    different = [name for name in names if before.get(name) != now[name]]
    return ", ".join(f"{name} ({_plainly(before.get(name))} there, {_plainly(now[name])} now)" for name in different)


def _plainly(value: Any) -> str:
    """A value as text of at most 200 characters, on one line."""
    return one_line(str(value)) if isinstance(value, str) else shown(value)
