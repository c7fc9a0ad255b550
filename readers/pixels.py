"""One picture of any mode and size -> pixels in the wanted shape, or the reason why they would not be right."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

Shape = tuple[int, int, int]
"""(C, H, W)"""
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"})
"""Modes of Pillow whose pictures are grey for sure; one of another mode may be grey, too."""
UNREADABLE = {
    "I": "whole numbers of 32 bits, or signed ones, have no known range; save them with 8 or 16 bits",
    "F": "fractions have no known range; save them as whole numbers of 8 or 16 bits",
    "LAB": "pixels of mode LAB are not converted; save them as RGB",
}
"""Modes of Pillow that are not read, and why."""
MAX_BLOCK = 2**15
"""Pixels of the largest block whose mean Pillow's reduce gets right; it multiplies by the inverse in 24 bits."""
TIFF_BITS, TIFF_PHOTOMETRIC, TIFF_SAMPLE_FORMAT = 258, 262, 339
WHITE_IS_ZERO, SIGNED = 0, 2


class Depth(NamedTuple):
    """What the numbers of a deep grey picture mean."""

    bits: int = 16
    """The brightest value is 2^bits - 1."""
    is_inverted: bool = False
    """Whether 0 is white."""


def wanted(image_shape: Shape) -> str:
    """Say what images are brought to."""
    channels, height, width = image_shape
    return f"{'grey' if channels == 1 else 'RGB'}, {width} x {height} pixels"


def picture_pixels(image: Image.Image, image_shape: Shape) -> np.ndarray:
    """Read an opened picture: (C, H, W) uint8, turned as its EXIF data say.

    Raises:
        ValueError: the range of its numbers is not known, or its mode is not read.
        Exception: what Pillow's many readers raise where the file is damaged.
    """
    image.load()
    depth = deep_grey(image)
    with suppress(Exception):  # what is damaged in the pixels is an error, what is in the EXIF is not
        image = ImageOps.exif_transpose(image)
    return fit_image(image, image_shape, depth)


def deep_grey(image: Image.Image) -> Depth | None:
    """Find out what the numbers of a file's grey picture mean; None where Pillow has brought them to 8 bits.

    Raises:
        ValueError: they are signed, which Pillow does not see.
    """
    tags = getattr(image, "tag_v2", {})
    is_signed = SIGNED in np.atleast_1d(tags.get(TIFF_SAMPLE_FORMAT, 1))
    if image.mode == "L" and is_signed or image.format == "FITS" and image.mode in ("I;16", "I;16B"):
        raise ValueError(UNREADABLE["I"])
    if image.mode.startswith("I;16"):
        bits = int(np.atleast_1d(tags.get(TIFF_BITS, 16))[0])
        return Depth(bits, tags.get(TIFF_PHOTOMETRIC) == WHITE_IS_ZERO)
    return Depth() if image.format == "PPM" and image.mode == "I" else None  # Pillow has scaled it to 16 bits


def fit_image(image: Image.Image, image_shape: Shape, depth: Depth | None = None) -> np.ndarray:
    """Bring an image of any mode and size to (C, H, W) uint8.

    Transparent parts become white; of deep grey the 8 highest bits stay. The largest centred part of the wanted
    proportions is resized, so that nothing is stretched. Whole reductions are means of blocks, exactly as the 3DShapes
    data set is halved; other sizes are resampled.

    Args:
        image: a picture.
        image_shape: what it becomes, (C, H, W).
        depth: what the numbers of mode I mean; 16 bits where they are I;16 and it is None.

    Raises:
        ValueError: the range of its numbers is not known, or its mode is not read.
    """
    channels, height, width = image_shape
    if image.mode.startswith("I;16") or (image.mode == "I" and depth):
        image = _eight_bits(image, depth or Depth())
    elif reason := UNREADABLE.get(image.mode):
        raise ValueError(reason)
    image = _on_white(image).convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = _resized(_centre(image, width, height), width, height)
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)


def is_grey(pixels: np.ndarray) -> bool:
    """Tell whether images (N, 3, H, W) have no colour, whatever their files say."""
    return all(np.array_equal(pixels[:, 0], pixels[:, channel]) for channel in (1, 2))


def _eight_bits(image: Image.Image, depth: Depth) -> Image.Image:
    """Keep the 8 highest bits of each number; Pillow would clip instead of scaling."""
    values = (np.asarray(image) >> (depth.bits - 8)).astype(np.uint8)
    return Image.fromarray(255 - values if depth.is_inverted else values)


def _on_white(image: Image.Image) -> Image.Image:
    """Put white behind the transparent parts of an image; an opaque one stays as it is."""
    if image.mode == "La":
        image = image.convert("LA")  # from La to RGBA there is no way
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    extent = layer.getchannel("A").getextrema()[0]
    return image if extent == 255 else Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    """Resize an image of the same proportions."""
    x, y = image.width // width, image.height // height
    if image.size != (x * width, y * height):
        return image.resize((width, height), Image.Resampling.BILINEAR)
    if x * y > MAX_BLOCK:
        return image.resize((width, height), Image.Resampling.BOX)
    return image.reduce((x, y))


def _centre(image: Image.Image, width: int, height: int) -> Image.Image:
    """Cut out the largest centred part that is as wide to high as width to height."""
    scale = min(image.width / width, image.height / height)
    w, h = max(round(scale * width), 1), max(round(scale * height), 1)
    left, top = (image.width - w) // 2, (image.height - h) // 2
    return image.crop((left, top, left + w, top + h))
