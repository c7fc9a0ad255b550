"""Images that a program has in memory: arrays, tensors and Pillow's pictures -> plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from readers.own_facts import OwnFacts, OwnImages
from readers.pixels import Shape, fit_image, is_grey
from readers.texts import checked_label_names
from utils import UserError, one_line, shown

PICTURE_SIDE = 32
"""Pixels to which pictures that differ in size are brought where nothing is said, as configs/folder.yml has it."""


def images_in_memory(X: Any, side: int | None = None, shape: Sequence[int] | None = None) -> np.ndarray:
    """Bring images to (N, C, H, W) uint8, grey or RGB.

    Args:
        X: an array or tensor (N, H, W), (N, H, W, C) or (N, C, H, W), of uint8 or of floats in [0, 1], which are
            rounded to 256 values; or a list of Pillow's pictures.
        side: what images are cropped and resized to; None keeps the size of arrays.
        shape: of the images where X has flat rows (N, D): (H, W), (H, W, C) or (C, H, W).

    Raises:
        UserError: X is something else, or its numbers are not those of images.
    """
    if are_pictures(X):
        found = pixels_of_pictures(X, (3, side or PICTURE_SIDE, side or PICTURE_SIDE))
        return np.ascontiguousarray(found[:, :1]) if is_grey(found) else found
    pixels = _channels_first(_with_shape(_as_array(X), shape))
    _check_numbers(pixels)
    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels * 255).astype(np.uint8)
    if side and pixels.shape[2:] != (side, side):
        return _resized(pixels, (pixels.shape[1], side, side))
    return np.ascontiguousarray(pixels)


def are_pictures(X: Any) -> bool:
    """Whether X is a list of Pillow's pictures."""
    return isinstance(X, list | tuple) and any(isinstance(x, Image.Image) for x in X)


def pixels_of_pictures(pictures: Sequence[Any], image_shape: Shape) -> np.ndarray:
    """Bring Pillow's pictures to one shape: (N, C, H, W) uint8.

    Raises:
        UserError: something else is among them, or one cannot be read.
    """
    found = []
    for i, picture in enumerate(pictures):
        if not isinstance(picture, Image.Image):
            raise UserError(f"X[{i}] is {type(picture).__name__}, others are pictures; give pictures alone")
        try:
            found.append(fit_image(picture, image_shape))
        except Exception as error:  # Pillow's readers raise errors of many kinds, as files are read only now
            raise UserError(f"X[{i}] cannot be read: {one_line(error, 120)}") from None
    return np.stack(found)


def _as_array(X: Any) -> np.ndarray:
    """A tensor, array, table or list of arrays as one array."""
    if X is None or isinstance(X, Mapping | bytes | int | float):
        raise UserError(f"X is {shown(X, 60)}: give images, (N, H, W) or (N, H, W, C), a list of pictures, or a path")
    if hasattr(X, "detach"):  # torch's; it need not be imported for others
        try:
            X = X.detach().cpu().numpy()
        except Exception as error:  # sparse, without data, ...: torch raises errors of many kinds
            raise UserError(
                f"X is a tensor without plain numbers ({one_line(error, 120)}); give X.to_dense()"
            ) from None
    try:
        array = np.asarray(X)
    except ValueError:  # a list of arrays of different shapes
        raise UserError(
            "X is a list of arrays of different shapes; make them equal, or give Pillow's pictures, which are resized"
        ) from None
    if array.dtype.kind not in "ufib":
        raise UserError(f"X holds {array.dtype}, not numbers; give uint8, or floats from 0 to 1")
    return array


def _with_shape(X: np.ndarray, shape: Sequence[int] | None) -> np.ndarray:
    """Flat rows (N, D) in the shape of their images; others as they are."""
    if X.ndim != 2:
        return X
    if shape is None:
        raise UserError(
            f"X has shape {X.shape}; give images (N, H, W), (N, H, W, C) or (N, C, H, W), or say by image_shape which "
            "shape the rows have"
        )
    if not all(isinstance(side, int | np.integer) and side > 0 for side in shape):
        raise UserError(f"image_shape = {shown(shape)}: give (H, W), (H, W, C) or (C, H, W)")
    if np.prod(shape) != X.shape[1]:
        raise UserError(f"image_shape = {tuple(shape)}: has {np.prod(shape)} numbers, the rows of X have {X.shape[1]}")
    return X.reshape(len(X), *shape)


def _channels_first(X: np.ndarray) -> np.ndarray:
    """Images (N, H, W), (N, H, W, C) or (N, C, H, W), C 1 or 3, as (N, C, H, W); where both may be, C is last."""
    if X.ndim == 3:
        X = X[:, None]
    elif X.ndim == 4 and X.shape[3] in (1, 3):
        X = X.transpose(0, 3, 1, 2)
    elif X.ndim != 4 or X.shape[1] not in (1, 3):
        raise UserError(f"X has shape {X.shape}; give images (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3")
    if 0 in X.shape:
        raise UserError(f"X has shape {X.shape}: there are no images")
    return X


def _check_numbers(X: np.ndarray) -> None:
    """See that numbers are grey values."""
    if X.dtype == np.uint8:
        return
    if X.dtype.kind != "f":
        raise UserError(f"X holds {X.dtype}; give uint8 (X.astype('uint8') where all are 0 to 255), or floats")
    if not np.isfinite(X).all():
        raise UserError("X holds NaN or infinity; give floats from 0 to 1, or uint8")
    least, most = float(X.min()), float(X.max())
    if least < 0 or most > 1:
        raise UserError(f"X has floats from {least:g} to {most:g}; scale them to 0 to 1 (of 0 to 255: X / 255)")


def _resized(pixels: np.ndarray, shape: Shape) -> np.ndarray:
    """Crop images (N, C, H, W) to their centre, and resize them."""
    pictures = (Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)) for image in pixels)
    return np.stack([fit_image(picture, shape) for picture in pictures])


def own_images_of(images: np.ndarray, y: Any = None) -> OwnImages:
    """Images (N, C, H, W) uint8 and the labels of each as own images; they are split by the seed.

    y: (N,) or (N, L) whole numbers or texts, or a table of named columns; None where there are no labels.

    Raises:
        UserError: y is no labels of these images.
    """
    labels = {} if y is None else _labels(y, len(images))
    return OwnImages(OwnFacts(Path("X"), images.shape[1:], len(images), labels), images)


def _labels(y: Any, n_images: int) -> dict[str, np.ndarray]:
    """Name -> (N,) whole numbers or texts."""
    named = y if isinstance(y, Mapping) else None
    values = np.column_stack([np.asarray(column) for column in named.values()]) if named else np.asarray(y)
    if values.ndim not in (1, 2) or len(values) != n_images:
        raise UserError(f"y has shape {values.shape}: give a label, or a row of labels, for each of {n_images} images")
    if values.dtype.kind == "f" and (values == np.rint(values)).all():
        values = values.astype(np.int64)
    if values.dtype.kind == "O" and all(isinstance(value, str | int | float | None) for value in values.flat):
        values = values.astype(str)
    if values.dtype.kind not in "biuU":
        raise UserError(f"y holds {values.dtype}; labels are whole numbers or texts")
    values = values.reshape(n_images, -1)
    L = values.shape[1]
    names = [str(name) for name in named] if named else ["label"] if L == 1 else [f"label_{i}" for i in range(L)]
    return dict(zip(checked_label_names(names, "y"), values.T, strict=True))
