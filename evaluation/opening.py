"""What the evaluation scripts share: a trained model with its predictions of a split."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path

from config import OWN_IMAGES
from datasets import DatasetSpec, load_dataset
from evaluation.predictions import Observed, SplitName, observe
from evaluation.writing import FigureFolder
from load_model import load_model_from_save_dict
from utils import UserError, resolve_device

log = logging.getLogger(__name__)


def open_evaluation(arguments: argparse.Namespace) -> tuple[Observed, FigureFolder]:
    """From the flags of `evaluation_parser`: what figures are drawn of, and where they go."""
    folder = FigureFolder(arguments.results_dir or default_folder(arguments.model_path), tuple(arguments.formats))
    observed = observe_model(
        arguments.model_path, arguments.split, arguments.data_dir, arguments.device, arguments.batch_size
    )
    return observed, folder


def observe_model(
    model_path: Path,
    split_name: SplitName = "test",
    data_dir: str | None = None,
    device: str = "cpu",
    batch_size: int | None = None,
) -> Observed:
    """Load a model and its data, and predict a whole split once.

    Args:
        model_path: save_dict.pt of a run, or a published checkpoint.
        split_name: the images to look at.
        data_dir: folder of the data sets, by default data/; own images must be named.
        device: auto, cpu, cuda, cuda:N or mps.
        batch_size: images per step, by default the model's eval_batch_size.
    """
    model, config = load_model_from_save_dict(model_path, resolve_device(device))
    if config.dataset in OWN_IMAGES and not data_dir:
        raise UserError(f"--data_dir: name the images of {model.spec.name}, a model does not know where they are")
    config = dataclasses.replace(
        config, data_dir=data_dir or config.data_dir, eval_batch_size=batch_size or config.eval_batch_size
    )
    dataset = load_dataset(config, resolve_device(device))
    if dataset.spec.image_shape != model.spec.image_shape:
        raise UserError(
            f"{dataset.spec.name}: images have (C, H, W) {dataset.spec.image_shape}, but {model_path} is a model of "
            f"{model.spec.image_shape}; name its own images by --data_dir, or use predict.py"
        )
    warn_of_other_images(model.spec, dataset.spec, model_path)
    return observe(model, config, dataset, split_name)


def default_folder(model_path: Path) -> Path:
    """Where the figures of a model go: beside that of a run; of any other file to results/<its name>/evaluation."""
    is_of_run = (model_path.parent / "config.yml").exists()
    return (model_path.parent if is_of_run else Path("results") / model_path.stem) / "evaluation"


def warn_of_other_images(known: DatasetSpec, found: DatasetSpec, model_path: Path) -> None:
    """Say where own images are not those of the training, whose test split was left out of it.

    Models of earlier versions lack some of the facts.
    """
    facts = [name for name in ("n_train", "n_test", "checksum") if getattr(known, name)]
    if found.checksum is not None and any(getattr(known, name) != getattr(found, name) for name in facts):
        log.warning(
            "%s: these are not the images, or not the labels, that %s was trained on; their test split may hold images "
            "of its training",
            *(found.name, model_path),
        )
