"""Where own images are put: into memory where they fit, else they stay on disk."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from config import Config
from readers.image_cache import ImageCache, cache_key
from readers.pixels import is_grey
from readers.sources import ImageSource, check_unreadable, read_all
from readers.stored import StoredArray, StoredImages

log = logging.getLogger(__name__)


class Placed(NamedTuple):
    """Images, in memory or on disk."""

    images: np.ndarray | StoredImages
    """(N, C, H, W) uint8"""
    unreadable: list[str]
    """Names of those that could not be read and are left out."""


def place(source: ImageSource, config: Config, is_resident: bool, is_grey_dropped: bool = False) -> Placed:
    """Read all images of a source, or see that they lie in one piece on disk; they are the same wherever they are.

    Args:
        source: what to read.
        config: cache_dir says where to, skip_broken whether images that cannot be read may be left out.
        is_resident: whether they are to be in memory.
        is_grey_dropped: whether three channels that are the same everywhere become one.

    Raises:
        UserError: images cannot be read, or there is no room for them.
    """
    if is_resident and not config.cache_dir:
        images, unreadable = read_all(source, config.skip_broken)
        return Placed(images[:, :1] if is_grey_dropped and is_grey(images) else images, unreadable)
    lying: StoredArray | None = getattr(source, "stored", None)
    unreadable, n_channels = [], None
    if lying is None:
        cache = _cache(source, config)
        lying, state = cache.open(source)
        unreadable, n_channels = cache.unreadable(state), 1 if is_grey_dropped and state.is_grey else None
        check_unreadable(unreadable, len(source), config.skip_broken)
    stored = StoredImages([lying], n_channels=n_channels)
    if is_resident:
        return Placed(stored.in_memory(), unreadable)
    log.info("%s images are read from %s as they are needed", f"{len(stored):,}", lying.path)
    return Placed(stored, unreadable)


def joined(parts: Sequence[np.ndarray | StoredImages]) -> np.ndarray | StoredImages:
    """Put the images of several sources, all of them in memory or all on disk, behind each other."""
    if len(parts) == 1:
        return parts[0]
    stored = [array for part in parts if isinstance(part, StoredImages) for array in part.arrays]
    return StoredImages(stored) if stored else np.concatenate([np.asarray(part) for part in parts])


def fits(sources: Sequence[ImageSource], config: Config) -> bool:
    """Say whether images are to be in memory: as images_in says, else where they take at most half of what is free.

    They are there twice while they are brought into the order of the split. Every process of this machine that
    trains the same model has its own (docs/big_data.md).
    """
    if config.images_in != "auto":
        return config.images_in == "memory"
    n_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    n_bytes = sum(len(source) * math.prod(source.image_shape) for source in sources)
    return n_processes * n_bytes <= free_memory() / 2


def free_memory() -> float:
    """Say how many bytes of memory are free, or at most allowed to this process; inf where the system does not tell."""
    limits = [math.inf]
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        limits.append(int(lines["MemAvailable"].split()[0]) * 1024)
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError, KeyError):  # another system, or no limit
        pass
    return min(limits)


def _cache(source: ImageSource, config: Config) -> ImageCache:
    """Name the cache of these images."""
    place = Path(config.data_dir)
    root = place if place.is_dir() else place.parent
    key = cache_key(source, root, config.max_megapixels, getattr(source, "name", ""))
    folder = Path(config.cache_dir or Path(config.results_dir) / "image_cache")
    return ImageCache(folder / f"{config.data_name}_{key[:12]}", key, root)
