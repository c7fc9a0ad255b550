"""The published sets but 3DShapes: scikit-learn's digits, grey or coloured; MNIST and what has its format; SVHN.

A library that one reader alone needs is imported by that reader.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from config import Config
from readers.arrays import ImageArrays, reading
from utils import UserError, check_is_file

MNIST_NAMES = {"fast_mnist": "MNIST", "fast_fashion_mnist": "FashionMNIST"}
"""MNIST and what has its format: torchvision's name of it."""
MNIST_BYTES = {
    "train-images-idx3-ubyte": 47_040_016,
    "train-labels-idx1-ubyte": 60_008,
    "t10k-images-idx3-ubyte": 7_840_016,
    "t10k-labels-idx1-ubyte": 10_008,
}
"""Sizes of the unpacked files of either: a download or a copy that was cut off is told by them."""

INKS = {"red": (1, 0, 0), "yellow": (1, 1, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "magenta": (1, 0, 1)}
"""Colours of coloured_digits, with their shares of red, green and blue."""


class _Half(NamedTuple):
    """One of the two halves in which a set is published."""

    images: np.ndarray
    """(N, C, H, W) uint8"""
    labels: np.ndarray
    """(N, 1)"""


def _joined(dataset: str, train: _Half, test: _Half, source: str) -> ImageArrays:
    """Put the two halves of a set into one, the training images first.

    Raises:
        UserError: a half has not as many labels as images.
    """
    for name, half in (("training", train), ("test", test)):
        if len(half.images) != len(half.labels):
            raise UserError(
                f"{dataset}: {len(half.images)} {name} images but {len(half.labels)} labels; get the files again"
            )
    images, labels = (np.concatenate(halves) for halves in zip(train, test, strict=True))
    return ImageArrays(images, labels, source, n_train=len(train.images))


def read_digits(config: Config) -> ImageArrays:
    """Read scikit-learn's 8 x 8 digits, grey."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)[:, None]  # (1797, 8, 8) of 0..16 -> (1797, 1, 8, 8)
    return ImageArrays(images, data.target[:, None], "scikit-learn's 8x8 digits")


def read_coloured_digits(config: Config) -> ImageArrays:
    """Read scikit-learn's digits, each in an ink that the seed draws, on black: labels digit and colour."""
    digits = read_digits(config)
    rng = np.random.default_rng([config.seed, 1])  # the split is drawn by the seed alone
    colours = rng.integers(len(INKS), size=len(digits.images))
    inks = np.array(list(INKS.values()), np.uint8)[colours]  # (N, 3)
    images = np.asarray(digits.images) * inks[:, :, None, None]  # (N, 1, 8, 8) times (N, 3, 1, 1)
    labels = np.stack([digits.labels[:, 0], colours], axis=1)
    return ImageArrays(images, labels, f"{digits.source} in {len(INKS)} colours")


def read_mnist(config: Config) -> ImageArrays:
    """Read MNIST or FashionMNIST by torchvision, downloaded into data_dir/<its name>/raw where it is not there yet.

    Raises:
        UserError: a file is missing and cannot be downloaded, or is damaged.
    """
    from torchvision import datasets

    name = MNIST_NAMES[config.dataset]
    kind = getattr(datasets, name)
    folder = Path(config.data_dir) / name / "raw"
    remedy = (
        f"put the four unpacked files of {name} there, choose another --data_dir, let a run with network access "
        "download them, or try --config_args_path configs/digits.yml, which needs no files"
    )

    def half(train: bool) -> _Half:
        data = kind(config.data_dir, train=train, download=True)  # only where files are missing
        return _Half(data.data.numpy()[:, None], data.targets.numpy()[:, None])  # (N, 1, 28, 28), (N, 1)

    with reading(config.dataset, folder, remedy):
        for file, n_bytes in MNIST_BYTES.items():
            path = folder / file
            if path.exists() and path.stat().st_size != n_bytes:
                raise UserError(
                    f"{config.dataset}: {path.absolute()} has {path.stat().st_size} bytes, not {n_bytes}: delete it "
                    "and get it again"
                )
        train, test = half(True), half(False)
    return _joined(config.dataset, train, test, f"images of {folder}")


def read_svhn(config: Config) -> ImageArrays:
    """Read the two .mat files of SVHN, downloaded by torchvision into data_dir where they are not there yet.

    Raises:
        UserError: a file is missing and cannot be downloaded, is damaged, or does not hold what it should.
    """
    folder = Path(config.data_dir)
    train, test = (_read_svhn_half(folder, split) for split in ("train", "test"))
    return _joined("fast_svhn", train, test, f"images of {folder / '*_32x32.mat'}")


def _read_svhn_half(folder: Path, split: str) -> _Half:
    """Read the file of one split: images (N, 3, 32, 32), labels (N, 1)."""
    from scipy.io import loadmat

    path = folder / f"{split}_32x32.mat"
    remedy = (
        f"put a whole {path.name} of SVHN (cropped digits) there, choose another --data_dir, or delete it and let a "
        "run with network access download it"
    )
    with reading("fast_svhn", path, remedy):
        if not path.exists():
            from torchvision.datasets import SVHN

            SVHN(str(folder), split=split, download=True)
        check_is_file(path)
        content = loadmat(path, variable_names=("X", "y"))
        images, labels = content["X"], content["y"]
        n = images.shape[-1]
        if images.dtype != np.uint8 or images.shape != (32, 32, 3, n) or labels.size != n:
            raise UserError(
                f"fast_svhn: {path.absolute()} holds X {images.shape} {images.dtype} and y {labels.shape}, not X "
                f"(32, 32, 3, N) uint8 and y (N, 1); {remedy}"
            )
        if not np.isin(labels, np.arange(1, 11)).all():
            raise UserError(f"fast_svhn: {path.absolute()} has labels y other than 1 to 10; {remedy}")
    labels = labels.astype(np.int64).reshape(-1, 1) % 10  # the digit zero is stored as 10
    return _Half(images.transpose(3, 2, 0, 1), labels)  # (32, 32, 3, N) -> (N, 3, 32, 32)
