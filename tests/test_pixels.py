"""Every mode in which Pillow opens a picture becomes the right pixels, or is refused with its reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from readers.image_files import ImageFiles
from readers.pixels import fit_image

GREY, COLOUR = Image.new("L", (4, 4), 137), Image.new("RGB", (4, 4), (200, 100, 50))
DEEP = np.full((4, 4), 137 * 256 + 99)
REFUSED = {"I": "no known range; save them with 8 or 16 bits", "F": "fractions have no known range", "LAB": "mode LAB"}


def in_mode(mode: str) -> Image.Image:
    """The grey or the coloured picture in a mode of Pillow."""
    if mode.startswith("I;16"):
        kind = ">u2" if mode.endswith("B") else "<u2"
        return Image.frombytes(mode, (4, 4), DEEP.astype(kind).tobytes())
    if mode in REFUSED:
        return Image.new(mode, (4, 4))
    if mode in ("1", "L"):
        return GREY.convert(mode, dither=Image.Dither.NONE)
    if mode == "La":
        return GREY.convert("LA").convert("La")
    if mode == "RGBa":
        return COLOUR.convert("RGBA").convert("RGBa")
    if mode in ("P", "PA"):
        return COLOUR.convert("P", palette=Image.Palette.ADAPTIVE).convert(mode)
    return (GREY if mode == "LA" else COLOUR).convert(mode)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", Image.MODES)
def test_every_mode(mode, channels):
    image = in_mode(mode)
    assert image.mode == mode
    if mode in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[mode]):
            fit_image(image, (channels, 2, 2))
        return
    is_grey = mode in ("L", "LA", "La") or mode.startswith("I;16")
    colour = (255,) * 3 if mode == "1" else (137,) * 3 if is_grey else (200, 100, 50)
    expected = colour if channels == 3 else (colour[0] if is_grey or mode == "1" else 124,)  # 124 is the luma
    pixels = fit_image(image, (channels, 2, 2))
    assert pixels.shape == (channels, 2, 2)
    np.testing.assert_allclose(pixels[:, 1, 1], expected, atol=1)  # YCbCr rounds


def read_file(path: Path) -> np.ndarray | str:
    """The pixels of a file's picture, or what is logged of it."""
    files = ImageFiles([path], (1, 4, 4))
    [batch] = files.batches(1)
    return batch.images[0, 0] if batch.names else "unreadable"


def write_tiff(path: Path, values: np.ndarray, **tags: int) -> Path:
    """A plain little-endian TIFF of one strip: Pillow does not write all that it reads."""
    n_bytes = len(values.tobytes())
    fields = {"width": (256, 4), "height": (257, 4), "bits": (258, 8 * values.itemsize), "compression": (259, 1)}
    fields |= {
        "photometric": (262, 1),
        "offset": (273, 8),
        "rows": (278, 4),
        "size": (279, n_bytes),
        "format": (339, 1),
    }
    entries = b""
    for name, (tag, value) in fields.items():
        value = tags.get(name, value)
        entries += b"".join(number.to_bytes(size, "little") for number, size in ((tag, 2), (4, 2), (1, 4), (value, 4)))
    content = b"II*\0" + (8 + n_bytes).to_bytes(4, "little") + values.tobytes()
    path.write_bytes(content + len(fields).to_bytes(2, "little") + entries + bytes(4))
    return path


STEPS = np.arange(16).reshape(4, 4)
TIFFS = {
    "8 bits": ((STEPS * 16).astype("u1"), {}, STEPS * 16),
    "8 bits, white is 0": ((STEPS * 16).astype("u1"), {"photometric": 0}, 255 - STEPS * 16),
    "16 bits": ((STEPS * 4096 + 5).astype("<u2"), {}, STEPS * 16),
    "16 bits, white is 0": ((STEPS * 4096).astype("<u2"), {"photometric": 0}, 255 - STEPS * 16),
    "8 bits with signs": ((STEPS - 8).astype("i1"), {"format": 2}, "no known range"),
    "16 bits with signs": ((STEPS - 8).astype("<i2"), {"format": 2}, "no known range"),
    "32 bits": (STEPS.astype("<u4"), {}, "no known range"),
    "32 bits with signs": (STEPS.astype("<i4"), {"format": 2}, "no known range"),
    "fractions": ((STEPS / 16).astype("<f4"), {"format": 3}, "fractions have no known range"),
}


@pytest.mark.parametrize("name", TIFFS)
def test_numbers_in_a_tiff(name, tmp_path, caplog):
    values, tags, expected = TIFFS[name]
    found = read_file(write_tiff(tmp_path / "a.tif", values, **tags))
    if isinstance(expected, str):
        assert isinstance(found, str)
        assert expected in caplog.text
    else:
        np.testing.assert_array_equal(found, expected)


def test_12_bits_in_a_tiff_are_scaled_by_their_own_range(tmp_path):
    values = STEPS.ravel() * 256 + 7
    pairs = [(high >> 4, (high & 15) << 4 | low >> 8, low & 255) for high, low in values.reshape(-1, 2).tolist()]
    packed = np.array(pairs, np.uint8).ravel()
    found = read_file(write_tiff(tmp_path / "a.tif", packed, bits=12))
    np.testing.assert_array_equal(found, STEPS * 16)


@pytest.mark.parametrize(("brightest", "kind"), [(65_535, "P5"), (1023, "P5"), (65_535, "P2")])
def test_16_bits_of_a_pgm(brightest, kind, tmp_path):
    values = STEPS * brightest // 15
    body = values.astype(">u2").tobytes() if kind == "P5" else " ".join(map(str, values.ravel())).encode()
    (tmp_path / "a.pgm").write_bytes(f"{kind} 4 4 {brightest}\n".encode() + body)
    np.testing.assert_array_equal(read_file(tmp_path / "a.pgm"), (values * 65_535 // brightest + 0) >> 8)


def test_16_bits_of_a_fits_file_have_signs(tmp_path, caplog):
    cards = ["SIMPLE  =                    T", "BITPIX  =                   16", "NAXIS   =                    2"]
    cards += ["NAXIS1  =                    4", "NAXIS2  =                    4", "END"]
    header = "".join(card.ljust(80) for card in cards).ljust(2880)
    (tmp_path / "a.fits").write_bytes(header.encode() + STEPS.astype(">i2").tobytes().ljust(2880, b"\0"))
    assert read_file(tmp_path / "a.fits") == "unreadable"
    assert "no known range" in caplog.text


@pytest.mark.parametrize("size", [500, 2000, 5000])
def test_large_pictures_are_reduced_to_the_mean_of_their_blocks(size):
    """Pillow's reduce makes 243 of white where a pixel stands for a million."""
    white = np.zeros((2 * size, 2 * size), np.uint8)
    white[:size] = 255
    white[size:, :size] = np.arange(size) % 2 * 255
    pixels = fit_image(Image.fromarray(white), (1, 2, 2))[0]
    np.testing.assert_allclose(pixels, [[255, 255], [127.5, 0]], atol=1)
