"""Cluster images that the model never saw: a table with a row per image.

    python predict.py --model_path pretrained_models/mnist.pt --images photos/ --output clusters.csv

--images takes a folder, images, or one .npz with an array `images`, (N, H, W) or (N, H, W, C) uint8. Every image is
turned as its EXIF data say, converted to grey or RGB (transparent parts become white, 16-bit grey is divided by 256),
cropped to the centre and resized as the model expects. Images are read batch by batch: memory does not grow with their
number. Exit code 1 if some could not be read; they are listed and left out.
"""

from __future__ import annotations

import csv
import logging
import os
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

import torch
from torch import Tensor
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from config import Config
from evaluation.opening import model_parser
from evaluation.predictions import Predictions, predict
from interrupts import run_script
from load_model import load_model_from_save_dict
from mfcvae import MFCVAE
from progressive import Coefficients, full_coefficients
from readers.image_files import ImageBatch, ImageSource, open_images
from utils import UserError, make_folder, one_line, resolve_device, write_atomically

log = logging.getLogger(__name__)


class Columns(NamedTuple):
    """Which columns follow the cluster and its confidence."""

    means: bool
    responsibilities: bool


def header(config: Config, columns: Columns) -> list[str]:
    """Names of the columns."""
    names = ["image"]
    for j, (K, D) in enumerate(zip(config.n_clusters_j_list, config.z_j_dim_list, strict=True)):
        names += [f"facet_{j}_cluster", f"facet_{j}_confidence"]
        names += [f"facet_{j}_mean_{d}" for d in range(D)] if columns.means else []
        names += [f"facet_{j}_responsibility_{k}" for k in range(K)] if columns.responsibilities else []
    return names


def table_rows(names: Sequence[str], predictions: Predictions, columns: Columns) -> Iterator[list[str]]:
    """A row per image, in the order of `header`; numbers with 7 digits, all that float32 has."""
    for n, name in enumerate(names):
        row = [name]
        for j, means in enumerate(predictions.means):
            row += [str(predictions.clusters[n, j]), f"{predictions.confidences[n, j]:.7g}"]
            row += [f"{value:.7g}" for value in means[n]] if columns.means else []
            row += [f"{value:.7g}" for value in predictions.responsibilities[j][n]] if columns.responsibilities else []
        yield row


def predict_batch(model: MFCVAE, images: Tensor, weights: Coefficients, columns: Columns) -> Predictions:
    """Predict a batch (B, C, H, W) uint8 at once.

    Raises:
        UserError: it cannot be done, above all where the memory does not suffice.
    """
    try:
        return predict(
            model, images, weights, len(images), with_terms=False, with_responsibilities=columns.responsibilities
        )
    except (MemoryError, RuntimeError) as error:  # PyTorch says the latter, of the host and of a GPU
        raise UserError(
            f"{len(images)} images cannot be predicted at once ({one_line(error)}); use a smaller --batch_size"
        ) from error


def write_table(
    file: TextIO, model: MFCVAE, config: Config, batches: Iterable[ImageBatch], columns: Columns
) -> list[int]:
    """Predict batch by batch into an open file. Returns the numbers of rows written and of images not read."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header(config, columns))
    n_written = n_unreadable = 0
    weights = full_coefficients(config.J_n_mixtures)
    for batch in batches:
        n_unreadable += len(batch.unreadable)
        if batch.names:
            images = torch.from_numpy(batch.images)  # (B, C, H, W)
            predictions = predict_batch(model, images, weights, columns)
            writer.writerows(table_rows(batch.names, predictions, columns))
            n_written += len(batch.names)
    return [n_written, n_unreadable]


def predict_to(output: Path, model: MFCVAE, config: Config, source: ImageSource, arguments: Namespace) -> list[int]:
    """Write the whole table or nothing. Returns the numbers of rows written and of images not read."""
    columns = Columns(arguments.with_means, arguments.with_responsibilities)
    counts: list[int] = []

    def write(temporary: Path) -> None:
        # File names need not be valid text; they are written as they are.
        with (
            temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
            tqdm(total=len(source), desc="images", unit="image") as bar,
            logging_redirect_tqdm(),
        ):
            batches = source.batches(arguments.batch_size or config.eval_batch_size)
            counts.extend(write_table(file, model, config, _counted(batches, bar), columns))

    write_atomically(output, write)
    return counts


def _counted(batches: Iterable[ImageBatch], bar: tqdm) -> Iterator[ImageBatch]:
    """The batches, each shown on the bar once it is done with."""
    for batch in batches:
        yield batch
        bar.update(len(batch.names) + len(batch.unreadable))


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, load, predict."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = model_parser(__doc__)
    parser.add_argument("--images", nargs="+", required=True, help="a folder, images, or one .npz")
    parser.add_argument("--output", required=True, help="the table to write, .csv")
    parser.add_argument("--with_means", action="store_true", help="also the means m_j(x) of q(z_j|x)")
    parser.add_argument("--with_responsibilities", action="store_true", help="also q(c_j|x) of every cluster")
    arguments = parser.parse_args(argv)
    model, config = load_model_from_save_dict(arguments.model_path, resolve_device(arguments.device))
    source = open_images(arguments.images, model.spec.image_shape)
    output = Path(arguments.output)
    make_folder(output.absolute().parent)
    if output.exists() and os.path.realpath(output) in map(os.path.realpath, source.files):
        raise UserError(f"--output {output}: one of the --images, which the table would replace; choose another name")
    log.info("%s", source.describe())
    n_written, n_unreadable = predict_to(output, model, config, source, arguments)
    unread = f"; {n_unreadable} could not be read (listed above)" if n_unreadable else ""
    log.info("wrote %s: %d images%s", output, n_written, unread)
    return 1 if n_unreadable else 0


if __name__ == "__main__":
    run_script(main)
