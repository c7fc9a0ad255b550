"""The images that the estimator takes, in all their forms, and those that it gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from config import Config
from readers.memory import are_pictures, images_in_memory, own_images_of, pixels_of_pictures
from readers.own_facts import OwnImages
from readers.own_images import OWN_READERS
from readers.sources import open_images, read_all
from utils import UserError


def images_to_train_on(X: Any, y: Any, config: Config, image_shape: Sequence[int] | None) -> OwnImages:
    """Read or convert images and their labels. image_shape: that of an image where X has flat rows.

    Raises:
        UserError: images or labels that will not do.
    """
    if not isinstance(X, str | Path):
        return own_images_of(images_in_memory(X, config.image_size, image_shape), y)
    if y is not None:
        raise UserError("y: the labels of a folder or .npz are in it (docs/python.md); leave y out")
    return OWN_READERS[config.dataset].read(config)


def images_of_shape(X: Any, shape: tuple[int, int, int], config: Config, image_shape: Sequence[int] | None) -> Tensor:
    """Images as a model takes them: (N, C, H, W) uint8.

    Args:
        X: images in any form.
        shape: (C, H, W) that the model was trained on.
        config: the settings of its run.
        image_shape: the shape of an image where X has flat rows.

    Raises:
        UserError: images that will not do, or of another shape.
    """
    if isinstance(X, str | Path):
        return torch.from_numpy(read_all(open_images([str(X)], shape))[0])
    if are_pictures(X):
        return torch.from_numpy(pixels_of_pictures(X, shape))
    images = images_in_memory(X, config.image_size, image_shape)
    if images.shape[1:] != shape:
        raise UserError(f"X has images (C, H, W) {images.shape[1:]}, the model was fitted to {shape}; make them equal")
    return torch.from_numpy(images)


def as_shown(images: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W) as matplotlib takes them: (N, H, W) or (N, H, W, 3), within [0, 1]."""
    images = images.clip(0, 1)
    return images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)
