"""What a run is going to do, in words."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import yaml

from config import Config
from datasets import DatasetSpec
from mfcvae import MFCVAE


def n_batches_per_epoch(config: Config, n_images: int) -> int:
    """The last batch may be smaller; none is dropped."""
    return -(-n_images // config.batch_size)


def describe_plan(config: Config, spec: DatasetSpec, model: MFCVAE, n_batches: int) -> str:
    """Say the resolved settings, the model's size and what the run is going to do in epochs of n_batches."""
    settings = yaml.safe_dump(dataclasses.asdict(config), sort_keys=False, default_flow_style=None)
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    size = ", ".join(f"{name} {n:,}" for name, n in parts.items())
    lines = [
        f"run       {Path(config.results_dir) / config.name}",
        f"data      {spec.name}, {spec.n_train:,} training and {spec.n_test:,} test images {spec.image_shape}, "
        f"labels {', '.join(spec.label_names) or 'none'}",
        f"model     {sum(parts.values()):,} parameters: {size}",
        f"plan      {config.n_epochs} epochs of {n_batches} batches; epoch 0 evaluates only",
    ]
    first = 0
    for step, n_epochs in enumerate(config.n_epochs_per_progressive_step if config.do_progressive_training else []):
        facet = config.J_n_mixtures - 1 - step
        lines.append(f"          epochs {first} to {first + n_epochs - 1}: facet {facet} joins")
        first += n_epochs
    return settings + "\n" + "\n".join(lines)


def describe_start(config: Config) -> str:
    """What is going to happen where no word said anything: the defaults, and how to choose."""
    return (
        f"no flags were given: trains the published script's defaults, {config.n_epochs} epochs of {config.dataset} "
        f"(downloaded into {config.data_dir}/ where it is not there) with {config.J_n_mixtures} facets, into "
        f"{Path(config.results_dir) / config.name}; Ctrl-C stops it, the same command goes on\n"
        "others: --config_args_path configs/demo.yml (a minute, no download), --help, --dry_run"
    )
