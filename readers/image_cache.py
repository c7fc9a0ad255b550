"""Images that were decoded once, in a folder of their own: images.npy grows batch by batch, state.json says how far."""

from __future__ import annotations

import hashlib
import io
import logging
import math
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, field
from pathlib import Path
from typing import IO

import numpy as np
from filelock import FileLock, Timeout
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from readers.pixels import is_grey, wanted
from readers.sources import ImageSource
from readers.stored import StoredArray
from utils import UserError, make_folder, one_line, printable, sealed, unsealed, write_atomically

log = logging.getLogger(__name__)

VERSION = 2
"""Of how pictures become pixels: caches of another one are made again."""
STEP_BYTES, MAX_STEP = 2**24, 2000
"""Pixels, or images, that are decoded between two notes of how far it is."""


@dataclass(config=ConfigDict(strict=True, extra="forbid"))
class CacheState:
    """How far a cache is."""

    key: str
    """Of which images it is, and of which shape."""
    n_read: int = 0
    """Images of the source that were looked at."""
    unreadable: list[str] = field(default_factory=list)
    """Those of them that could not be read, by their places below root; all others are in images.npy, in order."""
    is_grey: bool = True
    """Whether none of them has colours."""
    is_whole: bool = False
    checksum: int = 0
    """Of the pixels in images.npy, so far."""

    @property
    def n_images(self) -> int:
        """Images in images.npy."""
        return self.n_read - len(self.unreadable)


def cache_key(source: ImageSource, root: Path, *others: object) -> str:
    """Sum up which images these are: names below root, sizes and times of their files, their shape, and more."""
    lines = [repr((VERSION, source.image_shape, *others))]
    for file in source.files:
        try:
            status = os.stat(file)
            lines.append(f"{os.path.relpath(file, root)}\t{status.st_size}\t{status.st_mtime_ns}")
        except OSError:  # a broken link, which is listed as unreadable
            lines.append(os.path.relpath(file, root))
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


class ImageCache:
    """The folder of one cache."""

    def __init__(self, folder: Path, key: str, root: Path):
        """Name the folder; nothing is read or written yet. root: where the source's files are."""
        self.folder, self.key, self.root = folder, key, root
        self.images_path, self.state_path = folder / "images.npy", folder / "state.json"

    def open(self, source: ImageSource) -> tuple[StoredArray, CacheState]:
        """Decode what is not decoded yet; the images as they lie in the file.

        Another process that does the same is waited for. An interruption loses one step at most.

        Raises:
            UserError: the cache is of other images, damaged or truncated, or the disk is full.
        """
        make_folder(self.folder)
        with self._lock():
            state = self._state()
            if state.n_read:
                self._check_pixels(self._array(source, state), state)
            if not state.is_whole:
                self._check_space(source, state)
                self._decode(source, state)
            elif state.unreadable:
                log.warning("cannot be read: %s", printable(", ".join(self.unreadable(state))))
        return self._array(source, state), state

    def unreadable(self, state: CacheState) -> list[str]:
        """Name the images that could not be read, as the source does."""
        return [str(self.root / place) for place in state.unreadable]

    def _lock(self) -> AbstractContextManager[object]:
        """Keep other processes out; one that is in is waited for."""
        lock = FileLock(self.folder / ".lock")
        try:
            return lock.acquire(timeout=0)
        except Timeout:
            log.info("%s: another process decodes these images, which is waited for", self.folder)
            return lock.acquire()
        except NotImplementedError:  # a file system without locks
            return nullcontext()
        except OSError as error:
            raise UserError(
                f"cannot lock {lock.lock_file}: {one_line(error.strerror or error)}; choose another --cache_dir"
            ) from None

    def _state(self) -> CacheState:
        """Read how far the cache is."""
        remedy = "delete this folder, and it is made again"
        if not self.state_path.exists():
            return CacheState(self.key)
        try:
            values = unsealed(self.state_path.read_bytes() if self.state_path.is_file() else b"")
            state = CacheState(**values)
            is_sound = 0 <= len(state.unreadable) <= state.n_read
        except (OSError, ValueError):
            is_sound = False
        if not is_sound:
            raise UserError(f"{self.folder}: its state.json is damaged; {remedy}")
        if state.key != self.key:
            raise UserError(f"{self.folder}: a cache of other images; {remedy}, or choose another --cache_dir")
        return state

    def _array(self, source: ImageSource, state: CacheState) -> StoredArray:
        """Where the images lie, once the file has proved to be as long as it should be."""
        array = _described(self.images_path, source, state.n_images)
        n_bytes = self.images_path.stat().st_size if self.images_path.is_file() else 0
        if n_bytes < array.end or (state.is_whole and n_bytes > array.end):
            raise UserError(
                f"{self.images_path}: truncated or damaged, it is {n_bytes:,} bytes, not {array.end:,}; delete its "
                "folder, and it is made again"
            )
        return array

    def _check_pixels(self, array: StoredArray, state: CacheState) -> None:
        """Refuse pixels that are not those that were written."""
        checksum, left = 0, array.end - array.offset
        with (
            self.images_path.open("rb") as file,
            tqdm(total=left, desc="checking", unit="B", unit_scale=True, disable=None) as bar,
        ):
            file.seek(array.offset)
            while left and (content := file.read(min(left, STEP_BYTES))):
                checksum, left = zlib.crc32(content, checksum), left - len(content)
                bar.update(len(content))
        if checksum != state.checksum:
            raise UserError(
                f"{self.images_path}: damaged, its pixels do not have their checksum; delete its folder, and it is "
                "made again"
            )

    def _check_space(self, source: ImageSource, state: CacheState) -> None:
        """Refuse a disk that cannot hold what is left."""
        needed = (len(source) - state.n_read) * math.prod(source.image_shape)
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise UserError(
                f"{self.folder}: {len(source) - state.n_read:,} images ({wanted(source.image_shape)}) take "
                f"{needed / 2**30:,.1f} GiB, and the disk has {free / 2**30:,.1f} GiB free; free some space, "
                "choose another --cache_dir or a smaller --image_size"
            )

    def _decode(self, source: ImageSource, state: CacheState) -> None:
        """Read the rest of the images by all cores."""
        log.info("%s: %s", self.folder, source.describe())
        is_begun = state.n_read > 0
        end = self._array(source, state).end if is_begun else 0
        step = max(1, min(MAX_STEP, STEP_BYTES // math.prod(source.image_shape)))
        with (
            self._writing() as file,
            tqdm(total=len(source), initial=state.n_read, desc="images", unit="image", disable=None) as bar,
            logging_redirect_tqdm(),
        ):
            file.truncate(end)
            file.write(b"" if is_begun else _header(source, 0))
            file.seek(0, os.SEEK_END)
            for batch in source.batches(step, state.n_read):
                pixels = np.ascontiguousarray(batch.images.transpose(0, 2, 3, 1)).data
                file.write(pixels)
                state.checksum = zlib.crc32(pixels, state.checksum)
                state.n_read += len(batch.names) + len(batch.unreadable)
                state.unreadable += [os.path.relpath(name, self.root) for name in batch.unreadable]
                state.is_grey = state.is_grey and (batch.images.shape[1] == 1 or is_grey(batch.images))
                self._note(file, state)
                bar.update(len(batch.names) + len(batch.unreadable))
            file.seek(0)
            file.write(_header(source, state.n_images))
            state.is_whole = True
            self._note(file, state)

    @contextmanager
    def _writing(self) -> Iterator[IO[bytes]]:
        """Open images.npy; what goes wrong with it, above all a full disk, is said in a line.

        Raises:
            UserError: it cannot be written.
        """
        try:
            with open(self.images_path, "ab"):
                pass
            with open(self.images_path, "r+b") as file:
                yield file
        except OSError as error:
            raise UserError(
                f"cannot write {self.images_path}: {error.strerror}; free some space and give the same command again, "
                "or choose another --cache_dir"
            ) from error

    def _note(self, file: IO[bytes], state: CacheState) -> None:
        """Write how far it is, once the pixels are on the disk."""
        file.flush()
        os.fsync(file.fileno())
        write_atomically(self.state_path, lambda path: path.write_text(sealed(asdict(state))), is_durable=True)


def _header(source: ImageSource, n_images: int) -> bytes:
    """Write the header of so many images as numpy does; its size does not depend on their number."""
    channels, height, width = source.image_shape
    file = io.BytesIO()
    description = {"descr": "|u1", "fortran_order": False, "shape": (n_images, height, width, channels)}
    np.lib.format.write_array_header_1_0(file, description)
    return file.getvalue()


def _described(path: Path, source: ImageSource, n_images: int) -> StoredArray:
    """Where so many images lie in a file."""
    channels, height, width = source.image_shape
    return StoredArray(path, len(_header(source, n_images)), (n_images, height, width, channels))
