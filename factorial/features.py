"""What a factorial clustering looks at: principal components of pixels, some thousand images at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

CHUNK = 5_000
"""Images whose features are in memory at a time."""
CHUNK_PIXELS = 2**26
"""And how many pixel values, of four bytes each."""
EXPLAINED, MAX_FEATURES = 0.99, 100
"""Share of the variance that the features keep, and how many there are at most."""
SMALLEST_SPREAD = 0.1
"""Added to every pixel's standard deviation before it is divided by it, pixels being in [0, 1]."""


class HostImages(Protocol):
    """Images (N, C, H, W) uint8: an array, or a file that is read by index as an array is."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""

    def __len__(self) -> int: ...

    def __getitem__(self, which: Any) -> np.ndarray: ...


def chunks(images: HostImages) -> Iterator[np.ndarray]:
    """Yield the images in order, some thousand at a time, fewer where they are large."""
    n = max(1, min(CHUNK, CHUNK_PIXELS // math.prod(images.shape[1:])))
    return (images[first : first + n] for first in range(0, len(images), n))


def to_pixels(images: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W) uint8 -> (N, P) float32 in [0, 1], P = C H W."""
    return images.reshape(len(images), -1).astype(np.float32) / 255


class Features:
    """Principal components of pixels, or of pixels over their standard deviation."""

    def __init__(self, pixels: np.ndarray, seed: int, smallest_spread: float | None = None):
        """Find the components of pixels (N, P), which are divided by their standard deviation + smallest_spread."""
        from sklearn.decomposition import PCA  # takes a second to import

        self.scale = np.float32(1) if smallest_spread is None else 1 / (pixels.std(axis=0) + smallest_spread)  # (P,)
        n = min(MAX_FEATURES, *pixels.shape)
        with np.errstate(invalid="ignore"):  # shares of no variance at all
            self.pca = PCA(n, random_state=seed).fit(pixels * self.scale)
        total = max(float((pixels * self.scale).var(axis=0, ddof=1).sum()), 1e-12)
        self.n = min(int(np.searchsorted(self.pca.explained_variance_.cumsum() / total, EXPLAINED)) + 1, n)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (N, P) -> features (N, d) float32."""
        return self.pca.transform(pixels * self.scale)[:, : self.n]


def both_kinds(pixels: np.ndarray, seed: int) -> tuple[Features, Features]:
    """Features of pixels (N, P), and of pixels over their standard deviation, where small parts count as much."""
    return Features(pixels, seed), Features(pixels, seed, smallest_spread=SMALLEST_SPREAD)
