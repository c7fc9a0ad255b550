"""Images from files, batch by batch or all at once, in one shape: a folder, single images, or one .npz."""

from __future__ import annotations

import logging
import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from utils import UserError, one_line

log = logging.getLogger(__name__)

Shape = tuple[int, int, int]  # (C, H, W)
HEADER_ONLY = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}  # formats that Pillow knows without reading their pixels
DARK = 4096  # a 16-bit image without a value as high has at most 12 bits, and less than 16 of 256 values are left


class ImageBatch(NamedTuple):
    """Some images and those that could not be read."""

    names: list[str]
    """Path or index of each image."""
    images: np.ndarray
    """(B, C, H, W) uint8"""
    unreadable: tuple[str, ...] = ()
    """Path of each image that could not be read."""


class ImageSource(Protocol):
    """Where images come from."""

    image_shape: Shape
    """What they are brought to."""
    files: Sequence[Path]
    """What they are read from."""

    def __len__(self) -> int: ...

    def describe(self) -> str:
        """One line: how many images, and what is done to them."""

    def batches(self, batch_size: int) -> Iterator[ImageBatch]:
        """All images in order, in image_shape."""


def open_images(paths: Sequence[str], image_shape: Shape) -> ImageSource:
    """What --images names.

    Raises:
        UserError: nothing is there, or an .npz does not hold what it should.
    """
    if any(Path(path).suffix.lower() == ".npz" for path in paths):
        if len(paths) > 1:
            raise UserError(f"--images {' '.join(paths[:3])}: give one .npz alone, or folders and images")
        return NpzImages(Path(paths[0]), image_shape)
    return ImageFiles([file for path in paths for file in list_images(Path(path))], image_shape)


def list_images(path: Path) -> list[Path]:
    """The file itself, or a folder's images and those below it, sorted by name; broken links, too, which cannot be read.

    Raises:
        UserError: nothing is there, or a folder cannot be read.
    """
    if path.is_file():
        return [path]
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    Image.init()
    readable = {suffix for suffix, kind in Image.EXTENSION.items() if kind in Image.OPEN.keys() - HEADER_ONLY}
    files = sorted(file for file in _files_below(path) if file.suffix.lower() in readable)
    if not files:
        raise UserError(f"{path}: no images in this folder; files like .png and .jpg are looked for")
    return files


def _files_below(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Files and broken links of a folder and of those below it; what systems hide there is left out.

    Linked folders, too, unless they lie among the others anyway, or lead back. above: where the folders above really are.
    """
    here = Path(os.path.realpath(folder))
    if folder.is_symlink() and any(here.is_relative_to(other) or other.is_relative_to(here) for other in above):
        return
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise UserError(f"{folder}: this folder cannot be read ({error.strerror}); allow it, or move it away") from None
    for path in (folder / name for name in names if not name.startswith(".") and name != "__MACOSX"):
        if os.path.isdir(path):
            yield from _files_below(path, (*above, here))
        elif os.path.isfile(path) or not os.path.exists(path):  # no sockets or pipes, which would be waited for
            yield path


def read_all(source: ImageSource) -> np.ndarray:
    """All images of a source: (N, C, H, W) uint8.

    Raises:
        UserError: some cannot be read; they have all been listed. Or the memory does not suffice.
    """
    images = _room_for(source)
    unreadable, n_read = [], 0
    with tqdm(total=len(source), desc="images", unit="image", disable=None) as bar, logging_redirect_tqdm():
        for batch in source.batches(500):
            images[n_read : n_read + len(batch.names)] = batch.images
            n_read += len(batch.names)
            unreadable += batch.unreadable
            bar.update(len(batch.names) + len(batch.unreadable))
    if unreadable:
        raise UserError(
            f"{len(unreadable)} of {len(source)} images cannot be read (listed above), the first is {unreadable[0]}; "
            "repair or delete them"
        )
    return images


def _room_for(source: ImageSource) -> np.ndarray:
    """(N, C, H, W) uint8 that are yet to be read."""
    shape = (len(source), *source.image_shape)
    try:
        return np.empty(shape, np.uint8)
    except (MemoryError, ValueError):  # numpy says the latter where the size is not even a number for it
        raise UserError(
            f"{shape[0]:,} images ({_wanted(source.image_shape)}) take {math.prod(shape) / 2**30:,.1f} GiB, more memory than "
            "there is; use a smaller --image_size, or fewer images"
        ) from None


# --- one image


def fit_image(image: Image.Image, image_shape: Shape) -> np.ndarray:
    """An image of any mode and size -> (C, H, W) uint8, transparent parts on white, 16-bit grey divided by 256.

    The largest centred part of the wanted proportions is resized, so that nothing is stretched. Whole reductions are means of blocks, exactly as the 3DShapes data set is halved; other sizes are resampled.
    """
    channels, height, width = image_shape
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))  # Pillow would clip instead of scaling
    elif image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} have no known range")
    image = _on_white(image).convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = _centre(image, width, height)
        if image.width % width == 0 and image.height % height == 0:
            image = image.reduce((image.width // width, image.height // height))
        else:
            image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image).reshape(height, width, channels)
    return pixels.transpose(2, 0, 1)


def _upright(image: Image.Image) -> Image.Image:
    """An image turned as its EXIF orientation says."""
    image.load()  # what is damaged in the pixels is an error, what is in the EXIF is not
    with suppress(Exception):
        image = ImageOps.exif_transpose(image)
    return image


def _on_white(image: Image.Image) -> Image.Image:
    """An image with white behind its transparent parts; an opaque one as it is."""
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    if layer.getextrema()[3][0] == 255:
        return image
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)


def _centre(image: Image.Image, width: int, height: int) -> Image.Image:
    """The largest centred part that is as wide to high as width to height."""
    scale = min(image.width / width, image.height / height)
    w, h = max(round(scale * width), 1), max(round(scale * height), 1)
    left, top = (image.width - w) // 2, (image.height - h) // 2
    return image.crop((left, top, left + w, top + h))


def _wanted(image_shape: Shape) -> str:
    channels, height, width = image_shape
    return f"{'grey' if channels == 1 else 'RGB'}, {width} x {height} pixels"


# --- files


class ImageFiles:
    """Image files, read as they are needed."""

    def __init__(self, files: list[Path], image_shape: Shape):
        self.files = files
        self.image_shape = image_shape
        self.dark: dict[Path, int] = {}  # 16-bit images that use few values: how many
        self.has_warned = False

    def __len__(self) -> int:
        return len(self.files)

    def describe(self) -> str:
        wanted = _wanted(self.image_shape)
        return f"{len(self):,} image files, converted, cropped and resized to {wanted} where they differ"

    def batches(self, batch_size: int) -> Iterator[ImageBatch]:
        with ThreadPoolExecutor() as pool:  # while Pillow decodes, other threads run
            for start in range(0, len(self.files), batch_size):
                files = self.files[start : start + batch_size]
                names, images, unreadable = [], [], []
                for file, image in zip(files, pool.map(self._read, files), strict=True):
                    if isinstance(image, Exception):
                        log.warning("cannot read %s: %s", file, one_line(image, 120))
                        unreadable.append(str(file))
                    else:
                        names.append(str(file))
                        images.append(image)
                self._warn_of_dark(files)
                pixels = np.stack(images) if images else np.empty((0, *self.image_shape), np.uint8)
                yield ImageBatch(names, pixels, tuple(unreadable))

    def _read(self, file: Path) -> np.ndarray | Exception:
        """(C, H, W), or what is wrong with the file."""
        try:
            with Image.open(file) as image:
                if image.mode.startswith("I;16") and 0 < (brightest := int(np.asarray(image).max())) < DARK:
                    self.dark[file] = brightest + 1
                return fit_image(_upright(image), self.image_shape)
        except Exception as error:  # Pillow's readers raise errors of many kinds
            return error

    def _warn_of_dark(self, files: Sequence[Path]) -> None:
        """Name the first dark one of all files, once."""
        first = next((file for file in files if file in self.dark), None)
        if first and not self.has_warned:
            self.has_warned = True
            log.warning(
                "%s uses only %d of 65536 values; 16-bit grey is divided by 256, so that it and others like it become "
                "almost black: scale them to the whole range, or save them with 8 bits",
                *(first, self.dark[first]),
            )


# --- one .npz


def npz_arrays(path: Path) -> list[str]:
    """Names of the arrays in an .npz."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with _Reading(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def read_npz_array(path: Path, name: str) -> np.ndarray:
    """A small array of an .npz, whole. Python objects, which would have to be unpickled, are refused."""
    with _Reading(path) as archive, archive.open(f"{name}.npy") as member:
        try:
            return np.lib.format.read_array(member, allow_pickle=False)
        except ValueError as error:
            raise UserError(f"{path}: '{name}' cannot be read ({error}); save numbers or texts of one type") from None


class NpzImages:
    """An array of images in an .npz. numpy would read it whole; here its bytes are streamed out of the zip file."""

    def __init__(self, path: Path, image_shape: Shape | None = None, name: str = "images"):
        """image_shape: what to bring the images to; None keeps their shape."""
        self.path = path
        self.files = [path]
        self.name = name
        names = npz_arrays(path)
        if name not in names:
            raise UserError(f"{path}: holds no array '{name}' (but {', '.join(names[:5]) or 'nothing'})")
        with _Reading(path) as archive, archive.open(f"{name}.npy") as member:
            self.shape = self._read_header(member)
        _, height, width, channels = self.shape
        self.image_shape = image_shape or (channels, height, width)

    def _read_header(self, member: zipfile.ZipExtFile) -> tuple[int, int, int, int]:
        """(N, H, W, C) of an array that we can stream; leaves the member at the first pixel."""
        version = np.lib.format.read_magic(member)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            raise UserError(f"{self.path}: '{self.name}' is in a format of numpy that is not known here, {version}")
        shape, is_fortran, dtype = read(member)
        found = f"{self.path}: '{self.name}' is {shape} {dtype}"
        if dtype != np.uint8 or len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
            raise UserError(f"{found}; it must be (N, H, W) or (N, H, W, C) uint8 with C 1 or 3")
        if 0 in shape:
            raise UserError(f"{found}: there are no images")
        if is_fortran and sum(side > 1 for side in shape) > 1:
            raise UserError(f"{found} in Fortran order; save np.ascontiguousarray({self.name})")
        return (*shape, 1) if len(shape) == 3 else shape

    def __len__(self) -> int:
        return self.shape[0]

    def describe(self) -> str:
        _, height, width, channels = self.shape
        wanted, found = _wanted(self.image_shape), _wanted((channels, height, width))
        done = "" if wanted == found else f", converted, cropped and resized to {wanted}"
        return f"{len(self):,} images of {self.path} ({found}){done}"

    def batches(self, batch_size: int) -> Iterator[ImageBatch]:
        N, H, W, C = self.shape
        with _Reading(self.path) as archive, archive.open(f"{self.name}.npy") as member:
            self._read_header(member)
            for start in range(0, N, batch_size):
                n = min(batch_size, N - start)
                content = member.read(n * H * W * C)
                if len(content) < n * H * W * C:
                    raise UserError(f"{self.path}: damaged, it ends within image {start + len(content) // (H * W * C)}")
                pixels = np.frombuffer(bytearray(content), np.uint8).reshape(n, H, W, C)  # writable, as torch wants it
                yield ImageBatch([str(i) for i in range(start, start + n)], self._fit(pixels))

    def _fit(self, pixels: np.ndarray) -> np.ndarray:
        """(B, H, W, C) uint8 -> (B, C, H, W) as the model expects."""
        if (pixels.shape[3], *pixels.shape[1:3]) == self.image_shape:
            return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        images = (Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image) for image in pixels)
        return np.stack([fit_image(image, self.image_shape) for image in images])


class _Reading:
    """An open zip file; what goes wrong with its content becomes a UserError."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> zipfile.ZipFile:
        try:
            self.archive = zipfile.ZipFile(self.path)
        except (OSError, zipfile.BadZipFile) as error:
            raise UserError(f"{self.path}: damaged or not an .npz ({error})") from None
        return self.archive

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        self.archive.close()
        if isinstance(error, (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError)):
            raise UserError(f"{self.path}: damaged ({one_line(error, 120)})") from None
