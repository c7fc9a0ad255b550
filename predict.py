"""Cluster images that the model never saw: a table with a row per image.

    python predict.py --model_path pretrained_models/mnist.pt --images photos/ --output clusters.csv

--images takes a folder, images, or one .npz with an array `images`, (N, H, W) or (N, H, W, C) uint8. Every image is
turned as its EXIF data say, converted to grey or RGB (transparent parts become white, 16-bit grey is divided by 256),
cropped to the centre and resized as the model expects. Every page of a TIFF is an image: scan.tif#2 is the second.
Images are read batch by batch: memory does not grow with their number. Exit code 1 if some could not be read; they are
listed and left out.
"""

from __future__ import annotations

from interrupts import run_script

import csv
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import torch
from torch import Tensor
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from evaluation.opening import model_parser
from evaluation.predictions import predict, responsibilities
from flags import positive_int
from load_model import load_model_from_save_dict
from mfcvae import MFCVAE
from readers.image_files import MAX_MEGAPIXELS
from readers.sources import ImageSource, open_images
from utils import UserError, make_folder, one_line, resolve_device, write_atomically

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Columns:
    """Which columns follow the cluster and its confidence."""

    means: bool = False
    responsibilities: bool = False


@dataclass
class Counts:
    """Images that became rows of the table, and those that could not be read."""

    written: int = 0
    unreadable: int = 0


class Table:
    """An open CSV file with a row per image."""

    def __init__(self, file: TextIO, model: MFCVAE, columns: Columns):
        """Begin the table with the names of its columns."""
        self.model, self.columns = model, columns
        self.writer = csv.writer(file, lineterminator="\n")
        self.writer.writerow(self.header())

    def header(self) -> list[str]:
        """Names of the columns."""
        names = ["image"]
        for j, prior in enumerate(self.model.prior):
            K, D = prior.mean.shape
            names += [f"facet_{j}_cluster", f"facet_{j}_confidence"]
            names += [f"facet_{j}_mean_{d}" for d in range(D)] if self.columns.means else []
            names += [f"facet_{j}_responsibility_{k}" for k in range(K)] if self.columns.responsibilities else []
        return names

    def add(self, names: Sequence[str], images: Tensor) -> None:
        """Predict images (B, C, H, W) uint8 in one batch and write their rows.

        Raises:
            UserError: it cannot be done, above all where the memory does not suffice.
        """
        try:
            predictions = predict(self.model, images, batch_size=len(images))
            q_c_x = responsibilities(self.model, predictions.means) if self.columns.responsibilities else []
        except (MemoryError, RuntimeError) as error:  # PyTorch says the latter, of the host and of a GPU
            raise UserError(
                f"{len(images)} images cannot be predicted at once ({one_line(error)}); use a smaller --batch_size"
            ) from error
        for n, name in enumerate(names):
            row = [name]
            for j, means in enumerate(predictions.means):
                row += [str(predictions.clusters[n, j]), digits(predictions.confidences[n, j])]
                row += map(digits, means[n]) if self.columns.means else []
                row += map(digits, q_c_x[j][n]) if q_c_x else []
            self.writer.writerow(row)


def digits(value: float) -> str:
    """Write the 7 digits that a float32 has."""
    return f"{value:.7g}"


def write_table(file: TextIO, model: MFCVAE, source: ImageSource, columns: Columns, batch_size: int) -> Counts:
    """Predict batch by batch into an open file."""
    table, counts = Table(file, model, columns), Counts()
    with tqdm(total=len(source), desc="images", unit="image") as bar, logging_redirect_tqdm():
        for batch in source.batches(batch_size):
            if batch.names:
                table.add(batch.names, torch.from_numpy(batch.images))
            counts.written += len(batch.names)
            counts.unreadable += len(batch.unreadable)
            bar.update(len(batch.names) + len(batch.unreadable))
    return counts


def predict_files(
    model: MFCVAE, source: ImageSource, output: Path, columns: Columns = Columns(), batch_size: int = 1000
) -> Counts:
    """Write the clusters of images as a table, the whole of it or nothing.

    Args:
        model: a trained model.
        source: images in the model's shape, as `open_images` gives them.
        output: the .csv to write.
        columns: what the table holds beside clusters and confidences.
        batch_size: images that are read and predicted at once.

    Raises:
        UserError: no image can be read, the table would replace one of them, or something cannot be read or written.
    """
    make_folder(output.absolute().parent)
    if os.path.exists(output) and os.path.realpath(output) in map(os.path.realpath, source.files):
        raise UserError(f"--output {output}: one of the --images, which the table would replace; choose another name")
    log.info("%s", source.describe())
    counts = Counts()

    def write(temporary: Path) -> None:
        # File names need not be valid text; they are written as they are.
        with temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            nonlocal counts
            counts = write_table(file, model, source, columns, batch_size)
        if not counts.written:
            raise UserError(
                f"none of the {counts.unreadable} images can be read (listed above); {output} is left as it is"
            )

    write_atomically(output, write)
    return counts


def main(argv: Sequence[str] | None = None) -> int:
    """Read words, predict, say what was done."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = model_parser(__doc__)
    parser.add_argument("--images", nargs="+", required=True, help="a folder, images, or one .npz")
    parser.add_argument("--output", type=Path, required=True, help="the table to write, .csv")
    parser.add_argument("--with_means", action="store_true", help="also the means m_j(x) of q(z_j|x)")
    parser.add_argument("--with_responsibilities", action="store_true", help="also q(c_j|x) of every cluster")
    parser.add_argument(
        "--max_megapixels", type=positive_int, default=MAX_MEGAPIXELS, help=f"of one image [{MAX_MEGAPIXELS}]"
    )
    arguments = parser.parse_args(argv)
    model, config = load_model_from_save_dict(arguments.model_path, resolve_device(arguments.device))
    columns = Columns(arguments.with_means, arguments.with_responsibilities)
    batch_size = arguments.batch_size or config.eval_batch_size
    source = open_images(arguments.images, model.spec.image_shape, arguments.max_megapixels)
    counts = predict_files(model, source, arguments.output, columns, batch_size)
    unread = f"; {counts.unreadable} could not be read (listed above)" if counts.unreadable else ""
    log.info("wrote %s: %d images%s", arguments.output, counts.written, unread)
    return 1 if counts.unreadable else 0


if __name__ == "__main__":
    run_script(main)
