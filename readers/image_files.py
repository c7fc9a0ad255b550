"""Image files, read batch by batch as they are needed: a picture each, a TIFF as many as it has pages."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from readers.arrays import ImageBatch
from readers.pixels import GREY_MODES, Shape, deep_grey, is_grey, picture_pixels, wanted
from settings.data_sets import MAX_MEGAPIXELS
from utils import one_line, printable

log = logging.getLogger(__name__)

DARK = 4096
"""A 16-bit picture without a value as high has at most 12 bits, and less than 16 of 256 values are left."""
PAGED_SUFFIXES = (".tif", ".tiff")
SUBFILE_TYPE = 254
"""Tag of a page in a TIFF."""
SMALLER_OR_MASK = 0b101
"""Bits of that tag: a smaller copy of another page, or its mask."""
OF_ONE_PICTURE = ("TIFF", "MPO", "PSD")
"""Formats whose further frames are read as pages, or belong to the first one."""


class Page(NamedTuple):
    """One picture in a file."""

    file: Path
    frame: int = 0
    """Which of the file's frames it is."""
    is_alone: bool = True
    """Whether the file holds no other picture."""

    @property
    def name(self) -> str:
        """The file's path; where it holds several pictures followed by the number of the page, from 1."""
        return str(self.file) if self.is_alone else f"{self.file}#{self.frame + 1}"


class ImageFiles:
    """Image files that are brought to one shape."""

    def __init__(self, files: Sequence[Path], image_shape: Shape, max_megapixels: float = MAX_MEGAPIXELS):
        """List the pages of all files, in order.

        Args:
            files: what to read.
            image_shape: what every picture is brought to.
            max_megapixels: larger pictures count as unreadable.
        """
        self.files = files
        self.image_shape = image_shape
        self.max_megapixels = max_megapixels
        with self._pillow():
            self.pages = [page for file in files for page in _pages(file)]
        self.dark: dict[str, int] = {}
        """16-bit pictures that use few values -> how many."""
        self.n_frames: dict[str, int] = {}
        """Pictures with further frames, which are not read -> how many frames."""

    def __len__(self) -> int:
        return len(self.pages)

    def describe(self) -> str:
        """Say how many pictures there are, and what is done to them."""
        pages = "" if len(self.pages) == len(self.files) else f" (pages of {len(self.files):,} files)"
        goal = wanted(self.image_shape)
        return f"{len(self):,} image files{pages}, converted, cropped and resized to {goal} where they differ"

    def batches(self, batch_size: int, start: int = 0) -> Iterator[ImageBatch]:
        """Yield all pictures from `start` on, in order; each that cannot be read is logged with the reason."""
        has_warned = False
        with ThreadPoolExecutor() as pool:  # while Pillow decodes, other threads run
            for first in range(start, len(self.pages), batch_size):
                yield self._batch(pool, self.pages[first : first + batch_size])
                has_warned = has_warned or self._warn_of_dark()
        self._warn_of_frames()

    def look(self) -> tuple[list[str], bool]:
        """Look at the headers, and at the pixels of as few pictures as it takes.

        Returns the names of those that cannot be opened, and whether the others are all grey, whatever their files say.
        """
        unreadable, all_grey = list[str](), True
        with self._pillow():
            for page in self.pages:
                try:
                    with Image.open(page.file) as image:
                        mode = self._turn_to(image, page).mode
                        if all_grey and mode not in GREY_MODES:
                            all_grey = is_grey(picture_pixels(image, self.image_shape)[None])
                except Exception as error:  # Pillow's readers raise errors of many kinds
                    log.warning("cannot read %s: %s", printable(page.name), self._reason(error))
                    unreadable.append(page.name)
        return unreadable, all_grey

    def _batch(self, pool: ThreadPoolExecutor, pages: Sequence[Page]) -> ImageBatch:
        """Read some pages, those of one file in one go."""
        by_file = [list(of_file) for _, of_file in groupby(pages, key=lambda page: page.file)]
        with self._pillow():
            found = [image for images in pool.map(self._read, by_file) for image in images]
        names, images, unreadable = [], [], []
        for page, image in zip(pages, found, strict=True):
            if isinstance(image, np.ndarray):
                names.append(page.name)
                images.append(image)
            else:
                log.warning("cannot read %s: %s", printable(page.name), image)
                unreadable.append(page.name)
        pixels = np.stack(images) if images else np.empty((0, *self.image_shape), np.uint8)
        return ImageBatch(names, pixels, tuple(unreadable))

    def _read(self, pages: Sequence[Page]) -> list[np.ndarray | str]:
        """Read pages of one file: of each (C, H, W), or what is wrong with it."""
        found: list[np.ndarray | str] = []
        try:
            with Image.open(pages[0].file) as image:
                for page in pages:
                    found.append(self._read_page(image, page))
        except Exception as error:  # Pillow's readers raise errors of many kinds
            found += [self._reason(error)] * (len(pages) - len(found))
        return found

    def _read_page(self, image: Image.Image, page: Page) -> np.ndarray | str:
        """Read a page of an open file: (C, H, W), or what is wrong with it."""
        try:
            self._turn_to(image, page)
            n_frames = getattr(image, "n_frames", 1)
            if n_frames > 1 and image.format not in OF_ONE_PICTURE:
                self.n_frames[page.name] = n_frames
            pixels = picture_pixels(image, self.image_shape)
            depth = deep_grey(image)
            if depth and depth.bits == 16 and 0 < (brightest := int(np.asarray(image).max())) < DARK:
                self.dark[page.name] = brightest + 1
            return pixels
        except Exception as error:
            return self._reason(error)

    def _turn_to(self, image: Image.Image, page: Page) -> Image.Image:
        """Turn an open file to a page.

        Raises:
            ValueError: it has more pixels than are allowed.
        """
        if page.frame:
            image.seek(page.frame)
        if image.width * image.height > self.max_megapixels * 1e6:
            raise ValueError(self._too_large(f"{image.width} x {image.height} pixels"))
        return image

    def _too_large(self, size: str) -> str:
        """Say that a picture is larger than allowed."""
        return f"{size}: more than --max_megapixels {self.max_megapixels:g}; raise it if the picture is what it seems"

    def _reason(self, error: Exception) -> str:
        """Say in a line why a picture cannot be read."""
        if isinstance(error, Image.DecompressionBombError):
            return self._too_large(one_line(error).split(" exceeds")[0])
        return printable(one_line(error, 120))

    @contextmanager
    def _pillow(self) -> Iterator[None]:
        """Put our limit of pixels in the place of Pillow's, which refuses twice as many; nothing but errors is said."""
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, int(self.max_megapixels * 1e6)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module=r"PIL\.")
                yield
        finally:
            Image.MAX_IMAGE_PIXELS = before

    def _warn_of_dark(self) -> bool:
        """Name the first dark picture, if there is one."""
        if self.dark:
            log.warning(
                "%s uses only %d of 65536 values; 16-bit grey is divided by 256, so that it and others like it become "
                "almost black: scale them to the whole range, or save them with 8 bits",
                *(printable(min(self.dark)), self.dark[min(self.dark)]),
            )
        return bool(self.dark)

    def _warn_of_frames(self) -> None:
        """Say of how many pictures only the first frame was read."""
        if self.n_frames:
            log.warning(
                "%d files such as %s hold %d frames: of each the first is read; "
                "save them as pages of a TIFF to have all",
                *(len(self.n_frames), printable(min(self.n_frames)), sum(self.n_frames.values())),
            )


def _pages(file: Path) -> list[Page]:
    """List the pictures in a file; one that cannot be opened counts as one, and is named when it is read."""
    if not file.name.lower().endswith(PAGED_SUFFIXES):
        return [Page(file)]
    try:
        with Image.open(file) as image:
            frames = [frame for frame in range(getattr(image, "n_frames", 1)) if _is_picture(image, frame)] or [0]
    except Exception:
        frames = [0]
    return [Page(file, frame, len(frames) == 1) for frame in frames]


def _is_picture(image: Image.Image, frame: int) -> bool:
    """Tell a page from the smaller copies and masks that a TIFF may hold beside it."""
    image.seek(frame)
    return not getattr(image, "tag_v2", {}).get(SUBFILE_TYPE, 0) & SMALLER_OR_MASK
