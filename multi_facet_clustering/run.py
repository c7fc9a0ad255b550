"""The run of train.py that a fit is: its settings, by the parameters of the estimator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from config import Config, file_settings, resolve
from load_model import settings_of_start
from multi_facet_clustering.checks import seed_of
from utils import PROJECT, UserError, shown

if TYPE_CHECKING:
    from multi_facet_clustering.estimator import MultiFacetClustering

RECIPE = PROJECT / "configs" / "folder.yml"
"""The settings that hold where nothing else is said."""

OUTPUT = ("do_vis_train", "do_vis_test", "do_vis_sample_generations_per_cluster", "report")
"""What a run that is not kept does without."""


def config_of_run(estimator: MultiFacetClustering, X: Any, run: Path) -> Config:
    """The settings of a run on images X in a folder; those that the estimator names win over the recipe's.

    Raises:
        UserError: a setting that is unknown or out of bounds.
    """
    if not isinstance(estimator.settings, Mapping | None):
        raise UserError(f"settings = {shown(estimator.settings)}: give a mapping from names of settings to values")
    flags = {"config_args_path": str(RECIPE)} | _place(run) | _named(estimator) | _source(estimator, X)
    if estimator.run_dir is None:
        flags |= dict.fromkeys(OUTPUT, False)
    flags |= dict(estimator.settings or {})
    start = flags.get("continue_from")
    return resolve(settings_of_start(str(start), {}) if start else file_settings(flags), flags, {})


def _place(run: Path) -> dict[str, Any]:
    """Where the files of a run go, and which of them there are."""
    return {
        "results_dir": str(run.parent),
        "run_name": run.name,
        "copy_model": False,
        "report": False,
        "wandb_mode": "disabled",
    }


def _named(estimator: MultiFacetClustering) -> dict[str, Any]:
    """The parameters of the estimator as settings."""
    latents = {} if estimator.n_latents is None else {"z_j_dim_list": _per_facet(estimator.n_latents)}
    return latents | {
        "J_n_mixtures": estimator.n_facets,
        "n_clusters_j_list": _per_facet(estimator.n_clusters),
        "n_epochs": estimator.n_epochs,
        "batch_size": estimator.batch_size,
        "init_lr": estimator.learning_rate,
        "device": estimator.device,
        "seed": seed_of(estimator.random_state),
        "quiet": not estimator.verbose,
    }


def _source(estimator: MultiFacetClustering, X: Any) -> dict[str, Any]:
    """Where the images come from, and their size; a folder's is the recipe's where none is given."""
    if not isinstance(X, str | Path):
        return {"dataset": "npz", "data_dir": "X", "image_size": estimator.image_size}
    if Path(X).suffix.lower() == ".npz":
        return {"dataset": "npz", "data_dir": str(X), "image_size": estimator.image_size}
    size = {} if estimator.image_size is None else {"image_size": estimator.image_size}
    return size | {"dataset": "folder", "data_dir": str(X)}


def _per_facet(value: Any) -> Any:
    """A number for all facets, or one of each, in plain types."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, str) or not isinstance(value, Sequence):
        return value
    return [int(entry) if isinstance(entry, np.integer) else entry for entry in value]
