"""Images as atlases: many small pictures in one WebP file, of which the page decodes those that it shows."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

LARGEST_SIDE = 64
"""Pixels; larger pictures are made smaller."""
ATLAS_PIXELS = 2**20
"""A decoded atlas takes four times as many bytes, and a page holds some of them."""
MAX_TILES = 4096
SAMPLE = 500
"""Pictures by which the size of all is judged."""
LOSSLESS_BYTES = 2_000_000
"""Up to which pictures are stored as they are."""
MAX_BYTES = 7_200_000
"""Of all pictures together. A third more in base64, they leave room for the decoder in a page of 15 MB."""
QUALITIES = (80, 60, 40)
"""Of lossy WebP, tried in turn."""


class Tiles(NamedTuple):
    """Pictures of one size, as the page gets them."""

    height: int
    width: int
    columns: int
    """Pictures in a row of an atlas."""
    per_atlas: int
    files: list[bytes]
    """WebP; picture i is number i % per_atlas, row by row, in file i // per_atlas."""

    @property
    def description(self) -> dict[str, Any]:
        """What the page has to know to find a picture."""
        return self._asdict() | {"files": len(self.files)}

    @property
    def texts(self) -> list[str]:
        """The files in base64."""
        return [base64.b64encode(file).decode() for file in self.files]


class Encoding(NamedTuple):
    """How pictures are stored."""

    quality: int | None
    """Of lossy WebP; None: lossless."""
    n_fitting: int
    """How many pictures fit into a page."""


def thumbnail_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of a picture on the page: its own, or smaller ones of about the same proportion."""
    factor = min(1.0, LARGEST_SIDE / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def thumbnails(images: Tensor) -> np.ndarray:
    """(n, C, H, W) uint8 on any device -> (n, h, w, C) uint8 on the host, not larger than LARGEST_SIDE."""
    size = thumbnail_size(*images.shape[2:])
    images = images.cpu()
    if size != images.shape[2:]:
        smaller = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
        images = smaller.round().clamp(0, 255).to(torch.uint8)
    return images.permute(0, 2, 3, 1).numpy()


def from_floats(images: np.ndarray) -> np.ndarray:
    """Decoded pictures (n, C, H, W), pixels about [0, 1] -> (n, h, w, C) uint8."""
    return thumbnails(torch.from_numpy(np.clip(images * 255, 0, 255).round().astype(np.uint8)))


def choose_encoding(sample: np.ndarray, n_images: int) -> Encoding:
    """How n_images pictures like those of the sample (m, h, w, C) fit into a page, as good as can be."""
    if _bytes_each(sample, None) * n_images <= LOSSLESS_BYTES:
        return Encoding(None, n_images)
    for quality in QUALITIES:
        n_fitting = int(MAX_BYTES / _bytes_each(sample, quality))
        if n_fitting >= n_images:
            return Encoding(quality, n_images)
    return Encoding(QUALITIES[-1], n_fitting)


def _bytes_each(sample: np.ndarray, quality: int | None) -> float:
    return sum(map(len, make_tiles(lambda rows: sample[rows], len(sample), quality).files)) / len(sample)


def make_tiles(pictures: Callable[[slice], np.ndarray], n: int, quality: int | None) -> Tiles:
    """Atlases of n pictures, at least one, which are asked for some at a time: rows -> (m, h, w, C) uint8."""
    _, height, width, _ = pictures(slice(0, 1)).shape
    per_atlas = max(1, min(ATLAS_PIXELS // (height * width), MAX_TILES, n))
    columns = int(np.ceil(np.sqrt(per_atlas)))

    def atlases() -> Iterator[np.ndarray]:
        for first in range(0, n, per_atlas):
            yield _arranged(pictures(slice(first, min(first + per_atlas, n))), columns)

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        files = list(pool.map(lambda pixels: _webp(pixels, quality), atlases()))
    return Tiles(height, width, columns, per_atlas, files)


def _arranged(pictures: np.ndarray, columns: int) -> np.ndarray:
    """Row by row: (m, h, w, C) -> (rows h, columns w, C)."""
    m, h, w, C = pictures.shape
    rows = -(-m // columns)
    padded = np.zeros((rows * columns, h, w, C), np.uint8)
    padded[:m] = pictures
    return padded.reshape(rows, columns, h, w, C).swapaxes(1, 2).reshape(rows * h, columns * w, C)


def _webp(pixels: np.ndarray, quality: int | None) -> bytes:
    image, file = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), io.BytesIO()
    options = {"lossless": True} if quality is None else {"quality": quality}
    image.save(file, "WEBP", method=0, **options)
    return file.getvalue()
