"""Cluster images that the model never saw: a table with a row per image.

    python predict.py --model_path pretrained_models/mnist.pt --images photos/ --output clusters.csv
    python predict.py ... --output clusters.parquet --copy_into_folders sorted/

--images takes a folder, images, or one .npz, .npy or .h5 with an array `images`, (N, H, W) or (N, H, W, C) uint8.
Every image is turned as its EXIF data say, converted to grey or RGB (transparent parts become white, 16-bit grey is
divided by 256), cropped to the centre and resized as the model expects. Every page of a TIFF is an image: scan.tif#2 is
the second.
The suffix of --output says how the table is written: .csv, .json, .npz or .parquet (needs pyarrow). --copy_into_folders
sorts the pictures into sorted/facet_<j>/cluster_<k>/, as hard links where the system has them, else as copies.
Images are read batch by batch: memory does not grow with their number. Exit code 1 if some could not be read; they are
listed and left out.
"""

from __future__ import annotations

from interrupts import run_script

from evaluation.choices import predict_parser

if __name__ == "__main__":
    predict_parser(__doc__).answer_help()  # PyTorch would take seconds to be imported for it

import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from evaluation.cluster_folders import ClusterFolders, cluster_folders
from evaluation.predictions import Predictions, predict, responsibilities
from evaluation.tables import Table, Values, check_suffix, open_table
from load_model import load_model_from_save_dict
from mfcvae import MFCVAE
from readers.sources import ImageSource, open_images
from reporting.names import FacetNames, read_names
from utils import UserError, make_folder, one_line, resolve_device, write_atomically

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Columns:
    """Which columns follow the cluster and its confidence."""

    means: bool = False
    responsibilities: bool = False
    names: list[FacetNames] | None = None
    """Of each facet, where its clusters were given names."""


@dataclass
class Counts:
    """Images that became rows of the table, and those that could not be read."""

    written: int = 0
    unreadable: int = 0


class Predictor:
    """A model that says of images what a table is to hold."""

    def __init__(self, model: MFCVAE, columns: Columns = Columns(), batch_size: int = 1000):
        """columns: what the table holds beside clusters and confidences; batch_size: images predicted at once."""
        self.model, self.columns, self.batch_size = model, columns, batch_size

    def values(self, names: Sequence[str], images: np.ndarray) -> tuple[Values, Predictions]:
        """Predict images (B, C, H, W) uint8 in one batch: the columns of their rows.

        Raises:
            UserError: it cannot be done, above all where the memory does not suffice.
        """
        try:
            found = predict(self.model, torch.from_numpy(images), batch_size=len(images))
            q_c_x = responsibilities(self.model, found.means) if self.columns.responsibilities else []
        except (MemoryError, RuntimeError) as error:  # PyTorch says the latter, of the host and of a GPU
            raise UserError(
                f"{len(images)} images cannot be predicted at once ({one_line(error)}); use a smaller --batch_size"
            ) from error
        values: dict[str, Sequence[str] | np.ndarray] = {"image": names}
        for j, means in enumerate(found.means):
            values |= {f"facet_{j}_cluster": found.clusters[:, j], f"facet_{j}_confidence": found.confidences[:, j]}
            if self.columns.names:
                given = self.columns.names[j]
                values[f"facet_{j}_name"] = [given.clusters[k] for k in found.clusters[:, j]]
                values[f"facet_{j}_wrong"] = np.array(given.wrong, int)[found.clusters[:, j]]
            if self.columns.means:
                values |= {f"facet_{j}_mean_{d}": column for d, column in enumerate(means.T)}
            if q_c_x:
                values |= {f"facet_{j}_responsibility_{k}": column for k, column in enumerate(q_c_x[j].T)}
        return values, found

    def write(self, source: ImageSource, table: Table, folders: ClusterFolders | None = None) -> Counts:
        """Predict all images of a source, batch by batch, into an open table and maybe into folders."""
        counts = Counts()
        with tqdm(total=len(source), desc="images", unit="image") as bar, logging_redirect_tqdm():
            for batch in source.batches(self.batch_size):
                if batch.names:
                    values, found = self.values(batch.names, batch.images)
                    table.add(values)
                    if folders:
                        folders.add(batch.names, batch.images, found.clusters)
                counts.written += len(batch.names)
                counts.unreadable += len(batch.unreadable)
                bar.update(len(batch.names) + len(batch.unreadable))
        return counts


def predict_files(predictor: Predictor, source: ImageSource, output: Path, folder: Path | None = None) -> Counts:
    """Write the clusters of images as a table, the whole of it or nothing.

    Args:
        predictor: a trained model, and what is asked of it.
        source: images in the model's shape, as `open_images` gives them.
        output: the table to write; its suffix says how.
        folder: where the pictures are sorted into a folder per cluster; None leaves that out.

    Raises:
        UserError: no image can be read, the table would replace one of them, or something cannot be read or written.
    """
    check_suffix(output)
    make_folder(output.absolute().parent)
    if os.path.exists(output) and os.path.realpath(output) in map(os.path.realpath, source.files):
        raise UserError(f"--output {output}: one of the --images, which the table would replace; choose another name")
    log.info("%s", source.describe())
    counts = Counts()

    def write(temporary: Path) -> None:
        nonlocal counts
        with ExitStack() as stack:
            folders = stack.enter_context(cluster_folders(folder, source.files)) if folder else None
            table = stack.enter_context(open_table(temporary, output.suffix))
            counts = predictor.write(source, table, folders)
            if not counts.written:
                raise UserError(
                    f"none of the {counts.unreadable} images can be read (listed above); {output} is left as it is"
                )

    write_atomically(output, write)
    return counts


def main(argv: Sequence[str] | None = None) -> int:
    """Read words, predict, say what was done."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments = predict_parser(__doc__).parse_args(argv)
    check_suffix(arguments.output)
    model, config = load_model_from_save_dict(arguments.model_path, resolve_device(arguments.device))
    names = read_names(arguments.names, model) if arguments.names else None
    columns = Columns(arguments.with_means, arguments.with_responsibilities, names)
    predictor = Predictor(model, columns, arguments.batch_size or config.eval_batch_size)
    source = open_images(arguments.images, model.spec.image_shape, arguments.max_megapixels)
    counts = predict_files(predictor, source, arguments.output, arguments.copy_into_folders)
    unread = f"; {counts.unreadable} could not be read (listed above)" if counts.unreadable else ""
    also = f" and {arguments.copy_into_folders}" if arguments.copy_into_folders else ""
    log.info("wrote %s%s: %d images%s", arguments.output, also, counts.written, unread)
    return 1 if counts.unreadable else 0


if __name__ == "__main__":
    run_script(main)
