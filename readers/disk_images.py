"""Images on disk that are used as a tensor is; the only tensors that readers know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import overload

import numpy as np
import torch
from torch import Tensor

from readers.ahead import ahead
from readers.stored import StoredImages


class DiskImages:
    """Images (N, C, H, W) uint8 on disk, used like a tensor: a slice of them is not read, those of an index are."""

    device = torch.device("cpu")

    def __init__(self, stored: StoredImages):
        self.stored, self.shape, self.nbytes = stored, stored.shape, stored.nbytes

    def __len__(self) -> int:
        return len(self.stored)

    @overload
    def __getitem__(self, which: slice) -> DiskImages: ...
    @overload
    def __getitem__(self, which: Tensor | list[int]) -> Tensor: ...
    def __getitem__(self, which: slice | Tensor | list[int]) -> DiskImages | Tensor:
        """Take a part, or read those of an index, (B,) -> (B, C, H, W)."""
        if isinstance(which, slice):
            return DiskImages(self.stored.part(which))
        return torch.from_numpy(self.stored[np.asarray(which)])

    def part(self, rows: np.ndarray) -> DiskImages:
        """Take those of rows (n,) without reading them."""
        return DiskImages(self.stored.part(rows))

    def split(self, batch_size: int) -> Iterator[Tensor]:
        """Read all of them, batch by batch, each while the one before it is used."""
        firsts = range(0, len(self), batch_size)
        return ahead(torch.from_numpy(self.stored[first : first + batch_size]) for first in firsts)


Images = Tensor | DiskImages
"""Images (N, C, H, W) uint8, wherever they are."""


def as_images(images: np.ndarray | StoredImages) -> Images:
    """Use an array, or what lies on disk, as a tensor (N, C, H, W) uint8."""
    return DiskImages(images) if isinstance(images, StoredImages) else torch.from_numpy(np.ascontiguousarray(images))


def on_host(images: Images) -> np.ndarray | StoredImages:
    """Use images that are on a device or on disk as an array is used: those of an index are one."""
    return images.stored if isinstance(images, DiskImages) else images.cpu().numpy()
