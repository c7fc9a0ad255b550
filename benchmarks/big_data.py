"""Measure a run on more images than should be in memory: how much it takes, and what a step from disk costs.

    python benchmarks/big_data.py --folder /tmp/big                    # makes a million images, 3 GB
    python benchmarks/big_data.py --folder /tmp/big --images_in disk
    python benchmarks/big_data.py --folder /tmp/big --images_in memory

The images are random, in a chunked HDF5 file, which is unpacked into a cache at first use: it may be interrupted and
started again. The last line is JSON. Resident memory is the peak of the whole process, PyTorch included.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a script, from anywhere

from interrupts import run_script  # noqa: E402

import json  # noqa: E402
import logging  # noqa: E402
import resource  # noqa: E402
import statistics  # noqa: E402
import time  # noqa: E402

import h5py  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

from config import load_config  # noqa: E402
from datasets import Dataset, load_dataset, training_batches  # noqa: E402
from flags import FlagParser, positive_int  # noqa: E402
from progressive import epoch_coefficients, progressive_coefficients  # noqa: E402
from tracking.plan import n_batches_per_epoch  # noqa: E402
from train import Training, evaluate  # noqa: E402
from utils import make_folder  # noqa: E402

CPU = torch.device("cpu")
SIDE, CHUNK = 32, 1000


def make_images(path: Path, n_images: int) -> None:
    """Write n_images random images (32, 32, 3) in chunks, which HDF5 has to put together."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", (n_images, SIDE, SIDE, 3), np.uint8, chunks=(CHUNK, SIDE, SIDE, 3))
        for first in range(0, n_images, CHUNK):
            images[first : first + CHUNK] = rng.integers(0, 256, (CHUNK, SIDE, SIDE, 3), np.uint8)


def time_steps(training: Training, dataset: Dataset, n_steps: int, n_repeats: int) -> list[float]:
    """Seconds of a training step with the batch that it needs: the means of n_steps in a row, n_repeats times."""
    config, seconds = training.config, []
    coefficients = epoch_coefficients(config, 1, n_batches_per_epoch(config, len(dataset.train)))[0]
    training.model.train()
    for _ in range(n_repeats + 1):  # the first one warms up
        batches = training_batches(dataset.train, config.batch_size, training.order, CPU)
        training.step(next(batches).images, coefficients)
        started = time.perf_counter()
        for _ in range(n_steps):
            training.step(next(batches).images, coefficients)
        seconds.append((time.perf_counter() - started) / n_steps)
    return seconds[1:]


def measure(folder: Path, place: str, n_steps: int, n_repeats: int) -> dict[str, object]:
    """Load, start, train and evaluate; what it took in seconds and MiB."""
    argv = ["--dataset", "hdf5", "--data_dir", str(folder / "images.h5"), "--images_in", place, "--device", "cpu"]
    argv += ["--results_dir", str(folder), "--compile", "false", "--precision", "fp32"]
    config = load_config(argv)
    started = time.perf_counter()
    dataset = load_dataset(config, CPU)
    loaded = time.perf_counter()
    training = Training(config, dataset.spec, CPU)
    training.initialise(dataset.train)
    initialised = time.perf_counter()
    steps = time_steps(training, dataset, n_steps, n_repeats)
    trained = time.perf_counter()
    evaluate(training, dataset, progressive_coefficients(config, 1, 0, 1))
    return {
        "images_in": place,
        "load_seconds": loaded - started,
        "initialise_seconds": initialised - loaded,
        "step_seconds": statistics.median(steps),
        "step_seconds_each": steps,
        "evaluation_seconds": time.perf_counter() - trained,
        "peak_resident_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> int:
    """Read words, make images or measure."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = FlagParser(__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the images and their cache are")
    parser.add_argument("--n_images", type=positive_int, default=10**6, help="images to make [1000000]")
    parser.add_argument("--images_in", choices=("disk", "memory"), help="measure, with the images there")
    parser.add_argument("--n_steps", type=positive_int, default=20, help="steps in a row [20]")
    parser.add_argument("--n_repeats", type=positive_int, default=5, help="how often [5]")
    arguments = parser.parse_args()
    path = make_folder(arguments.folder) / "images.h5"
    if arguments.images_in is None:
        make_images(path, arguments.n_images)
        print(f"made {path}; measure with --images_in disk, then with --images_in memory")
        return 0
    print(json.dumps(measure(arguments.folder, arguments.images_in, arguments.n_steps, arguments.n_repeats)))
    return 0


if __name__ == "__main__":
    run_script(main)
