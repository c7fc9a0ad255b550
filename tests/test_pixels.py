"""Every mode in which Pillow opens a picture becomes the right pixels, or is refused with its reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from readers.image_files import ImageFiles
from readers.pixels import fit_image
from readers.sources import open_images

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


def test_fitting_pixels():
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    blocks = colour.reshape(32, 2, 32, 2, 3).astype(int).sum((1, 3))
    halved = fit_image(Image.fromarray(colour), (3, 32, 32))  # as the 3DShapes data set is halved
    np.testing.assert_array_equal(halved, ((blocks + 2) >> 2).transpose(2, 0, 1))
    same = fit_image(Image.fromarray(colour), (3, 64, 64))
    np.testing.assert_array_equal(same, colour.transpose(2, 0, 1))
    deep = np.array([[0, 257 * 77], [65535, 256]], np.uint16)
    np.testing.assert_array_equal(fit_image(Image.fromarray(deep), (1, 2, 2)), [[[0, 77], [255, 1]]])
    grey = fit_image(Image.fromarray(np.full((5, 7), 9, np.uint8)), (3, 4, 6))
    np.testing.assert_array_equal(grey, np.full((3, 4, 6), 9))
    wide = np.pad(colour[:32, :32], ((0, 0), (5, 6), (0, 0)))  # the centre is cut out, nothing is stretched
    np.testing.assert_array_equal(fit_image(Image.fromarray(wide), (3, 32, 32)), colour[:32, :32].transpose(2, 0, 1))
    with pytest.raises(ValueError, match="no known range"):
        fit_image(Image.fromarray(np.ones((2, 2), np.float32)), (1, 2, 2))


def read_one(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    [batch] = open_images([str(path)], shape).batches(1)
    return batch.images[0]


def test_a_photo_is_turned_as_its_exif_says(tmp_path):
    image = Image.fromarray(np.array([[10, 20], [30, 40], [50, 60]], np.uint8))
    for orientation, expected in (
        (1, [[30, 40]]),
        (6, [[50, 30, 10], [60, 40, 20]]),
        (8, [[20, 40, 60], [10, 30, 50]]),
    ):
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(tmp_path / "a.png", exif=exif)
        expected = np.array(expected)
        np.testing.assert_array_equal(read_one(tmp_path / "a.png", (1, *expected.shape))[0], expected)


@pytest.mark.filterwarnings("ignore:Palette images")
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_become_white_and_opaque_ones_stay(mode):
    grey = np.array([[0, 100], [200, 50]], np.uint8)
    for alpha, expected in (
        ([255, 255], grey),
        ([0, 255], [[255, 255], [200, 50]]),
        ([102, 255], [[153, 193], [200, 50]]),
    ):
        layer = np.stack([grey, np.repeat(np.array(alpha, np.uint8), 2).reshape(2, 2)], axis=2)
        image = Image.fromarray(layer)  # LA
        if mode == "P":  # every pixel is a colour of the palette, with its own transparency
            image = Image.fromarray(np.arange(4, dtype=np.uint8).reshape(2, 2))
            image.putpalette(np.repeat(grey.ravel(), 3).tolist())
            image.info["transparency"] = bytes(layer[..., 1].ravel())
        for channels in (1, 3):
            pixels = fit_image(image if mode == "P" else image.convert(mode), (channels, 2, 2))
            np.testing.assert_array_equal(pixels, np.broadcast_to(expected, (channels, 2, 2)))


def test_16_bit_images_that_would_be_almost_black_are_named_once(tmp_path, caplog):
    for name, brightest in (("a", 4096), ("b", 4095), ("c", 100), ("d", 0)):
        Image.fromarray(np.full((8, 8), brightest, np.uint16)).save(tmp_path / f"{name}.png")
    list(open_images([str(tmp_path)], (1, 8, 8)).batches(1))
    [record] = caplog.records
    assert record.getMessage().startswith(
        f"{tmp_path / 'b.png'} uses only 4096 of 65536 values; 16-bit grey is divided"
    )
