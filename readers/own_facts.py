"""What is known of own images, whatever they are read from."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from readers.pixels import Shape
from readers.stored import StoredImages


class OwnFacts(NamedTuple):
    """What names and headers say of own images."""

    path: Path
    """Where they are."""
    image_shape: Shape
    n_images: int
    labels: dict[str, np.ndarray]
    """Label name -> (N,) whole numbers or texts; empty where there are no labels."""
    n_train: int | None = None
    """How many come first and are for training; None where that is not said."""
    names: tuple[str, ...] = ()
    """The path of each picture within the folder; empty where images have no names."""


class OwnImages(NamedTuple):
    """Own images and the facts about them."""

    facts: OwnFacts
    images: np.ndarray | StoredImages
    """(N, C, H, W) uint8"""
