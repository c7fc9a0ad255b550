"""What the evaluation scripts share: flags, the model with its predictions of a split, and writing figures."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from config import OWN_IMAGES, Config
from datasets import DatasetSpec, Split, load_dataset, split_class_names
from evaluation.predictions import Predictions, RankedCluster, predict, rank_clusters
from flags import FlagParser, non_negative_int, positive_int
from load_model import load_model_from_save_dict
from mfcvae import MFCVAE
from plotting import save_figure
from progressive import Coefficients, full_coefficients
from utils import UserError, make_folder, resolve_device, write_atomically

log = logging.getLogger(__name__)


class Evaluation(NamedTuple):
    """A trained model and what it says about a split."""

    model: MFCVAE
    config: Config
    split: Split
    labels: dict[str, np.ndarray]
    """Label name -> (N,) names of classes."""
    predictions: Predictions
    ranked: list[list[RankedCluster]]
    """Of each facet: its clusters that have members, by mean confidence."""
    coefficients: Coefficients
    folder: Path
    """Where the figures go."""
    data_name: str
    title: str
    """Start of every figure's title: data set and split."""


# --- flags


def model_parser(description: str | None) -> FlagParser:
    """The flags of every script that uses a trained model."""
    parser = FlagParser(description)
    parser.add_argument("--model_path", required=True, help="save_dict.pt of a run, or a published checkpoint")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N [cpu]")
    parser.add_argument("--batch_size", type=positive_int, help="images per step [the model's eval_batch_size]")
    return parser


def evaluation_parser(description: str | None) -> FlagParser:
    """The flags of every script that draws figures of a trained model."""
    parser = model_parser(description)
    parser.add_argument(
        "--results_dir",
        help="folder of the figures [evaluation/ beside a run's model, else results/<name of the file>/evaluation]",
    )
    parser.add_argument("--data_dir", help="folder of the data sets, or your own images [data]")
    parser.add_argument("--split", choices=("test", "train"), default="test", help="images to look at [test]")
    parser.add_argument("--seed", type=non_negative_int, default=0, help="seed of what is drawn at random [0]")
    return parser


# --- before and after


def open_evaluation(arguments: argparse.Namespace) -> Evaluation:
    """Load the model and the data, make the folder, and predict the whole split once."""
    device = resolve_device(arguments.device)
    model, config = load_model_from_save_dict(arguments.model_path, device)
    if config.dataset in OWN_IMAGES and not arguments.data_dir:
        raise UserError(f"--data_dir: name the images of {model.spec.name}, a model does not know where they are")
    config = dataclasses.replace(config, data_dir=arguments.data_dir or config.data_dir)
    folder = make_folder(Path(arguments.results_dir or default_folder(Path(arguments.model_path))))
    dataset = load_dataset(config, device)
    if dataset.spec.image_shape != model.spec.image_shape:
        raise UserError(
            f"{dataset.spec.name}: images have (C, H, W) {dataset.spec.image_shape}, but {arguments.model_path} is a model "
            f"of {model.spec.image_shape}; name its own images by --data_dir, or use predict.py"
        )
    warn_of_other_images(model.spec, dataset.spec, arguments.model_path)
    split = getattr(dataset, arguments.split)
    coefficients = full_coefficients(config.J_n_mixtures)
    batch_size = arguments.batch_size or config.eval_batch_size
    predictions = predict(model, split.images, coefficients, batch_size, with_terms=False)
    ranked = [rank_clusters(predictions, j) for j in range(config.J_n_mixtures)]
    labels, name = split_class_names(split, dataset.spec), dataset.spec.name
    title = f"{name}, {arguments.split} split"
    return Evaluation(model, config, split, labels, predictions, ranked, coefficients, folder, name, title)


def default_folder(model_path: Path) -> Path:
    """Where the figures of a model go: beside that of a run; of any other file to results/<its name>/evaluation."""
    is_of_run = (model_path.parent / "config.yml").exists()
    return (model_path.parent if is_of_run else Path("results") / model_path.stem) / "evaluation"


def warn_of_other_images(known: DatasetSpec, found: DatasetSpec, model_path: str) -> None:
    """Say where own images are not those of the training, whose test split was left out of it.

    Models of earlier versions lack some of the facts.
    """
    facts = [name for name in ("n_train", "n_test", "checksum") if getattr(known, name)]
    if found.checksum is not None and any(getattr(known, name) != getattr(found, name) for name in facts):
        log.warning(
            "%s: these are not the images, or not the labels, that %s was trained on; their test split may hold images of "
            "its training",
            *(found.name, model_path),
        )


FORMATS = ("pdf", "png")  # for the paper and for the eye


def write_figure(figure: Figure, path: Path) -> None:
    """Write path.pdf and path.png, or say why that cannot be done."""
    make_folder(path.parent)
    try:
        save_figure(figure, path, FORMATS)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; choose another --results_dir") from None


def copy_figure(source: Path, path: Path) -> None:
    """Copy what write_figure wrote: two hundred times as fast as drawing it again."""
    make_folder(path.parent)
    for suffix in FORMATS:
        original = source.with_name(f"{source.name}.{suffix}")
        write_atomically(
            path.with_name(f"{path.name}.{suffix}"), lambda to, original=original: shutil.copyfile(original, to)
        )
