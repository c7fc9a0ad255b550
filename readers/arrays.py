"""What readers give: plain arrays. Tensors and splits are made of them by datasets.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from readers.stored import StoredImages
from utils import UserError, one_line


class ImageArrays(NamedTuple):
    """Images and the classes of each, as a reader found them."""

    images: np.ndarray | StoredImages
    """(N, C, H, W) uint8"""
    labels: np.ndarray
    """(N, L) whole numbers: of each label the index of its class."""
    source: str
    """Which images these are, in words."""
    n_train: int | None = None
    """How many come first and are for training; None where they are to be split by the seed."""
    is_synthetic: bool = False
    """Whether they were rendered in place of the original ones."""
    names: tuple[str, ...] = ()
    """What each image is called; empty where they have no names."""


class ImageBatch(NamedTuple):
    """Some images and those that could not be read."""

    names: list[str]
    """Path or index of each image."""
    images: np.ndarray
    """(B, C, H, W) uint8"""
    unreadable: tuple[str, ...] = ()
    """Path of each image that could not be read."""


@contextmanager
def reading(dataset: str, path: Path, remedy: str) -> Iterator[None]:
    """Turn what goes wrong with a file or a download into one line that names the path and the remedy.

    Raises:
        UserError: whatever was raised; torchvision, scipy, h5py and the network raise errors of many kinds.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{dataset}: cannot read {path.absolute()} ({one_line(error)}); {remedy}") from error
