"""Folders of pictures: each is read once, nothing is left out in silence, and what cannot be read says why."""

from __future__ import annotations

import builtins
import logging
import os
import sys
import time
import zlib
from pathlib import Path

import pytest
from PIL import Image

from readers.folders import list_images
from readers.image_files import ImageFiles
from readers.sources import open_images, read_all
from utils import UserError


def picture(path: Path, grey: int = 0) -> Path:
    """A grey picture of 4 x 4 pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), grey).save(path)
    return path


def greys(folder: Path, **settings) -> list[int]:
    """The greys of all pictures that are read, in order."""
    source = open_images([str(folder)], (1, 2, 2), **settings)
    return [int(image[0, 0, 0]) for batch in source.batches(3) for image in batch.images]


# --- links


def ring(folder: Path, n: int) -> list[Path]:
    """Folders that hold a picture and a link to each of the others."""
    folders = [folder / f"class_{i}" for i in range(n)]
    for i, path in enumerate(folders):
        picture(path / f"{i}.png")
    for path in folders:
        for other in set(folders) - {path}:
            (path / f"to_{other.name}").symlink_to(other)
    return folders


@pytest.mark.skipif(sys.platform != "linux", reason="needs links")
def test_folders_that_link_to_one_another_are_visited_once(tmp_path):
    """There are more paths through twelve folders than could ever be walked."""
    outside = ring(tmp_path / "outside", 12)
    inside = ring(tmp_path / "data", 3)
    (inside[1] / "first").symlink_to(outside[0])
    (inside[2] / "second").symlink_to(outside[0])
    (outside[5] / "back").symlink_to(tmp_path / "data")
    (outside[5] / "up").symlink_to(tmp_path)
    start = time.monotonic()
    found = list_images(tmp_path / "data")
    assert time.monotonic() - start < 5
    names = {str(path.relative_to(tmp_path / "data")) for path in found}
    assert names == (
        {f"class_{i}/{i}.png" for i in range(3)}
        | {"class_1/first/0.png"}
        | {f"class_1/first/to_class_{i}/{i}.png" for i in range(1, 12)}
    )
    assert found == sorted(found)


@pytest.mark.skipif(sys.platform != "linux", reason="needs links")
def test_a_folder_that_is_a_link_itself_is_read(tmp_path):
    picture(tmp_path / "real" / "a" / "1.png")
    (tmp_path / "real" / "a" / "up").symlink_to(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert list_images(tmp_path / "link") == [tmp_path / "link" / "a" / "1.png"]


# --- what is left out


LEFT_OUT = {
    "HEIC": (["a.heic", "b.HEIC"], "2 .heic (pip install pillow-heif)"),
    "no suffix": (["a", "b", "c"], "3 without a suffix (give them one, such as .jpg)"),
    "other files": (["a.txt", "b.h5"], "1 .txt, 1 .h5"),
    "many kinds": (
        [f"{i}.{kind}" for i in range(2) for kind in "abcdefg"],
        "2 .a, 2 .b, 2 .c, 2 .d, 2 .e, 4 of other kinds",
    ),
}


@pytest.mark.parametrize("name", LEFT_OUT)
@pytest.mark.parametrize("has_pictures", [True, False])
def test_files_that_are_left_out_are_counted(name, has_pictures, tmp_path, caplog, monkeypatch):
    without_heif(monkeypatch)
    names, words = LEFT_OUT[name]
    for file in names:
        (tmp_path / "deeper").mkdir(exist_ok=True)
        (tmp_path / "deeper" / file).touch()
    if has_pictures:
        picture(tmp_path / "1.png")
        assert len(list_images(tmp_path)) == 1
        assert [record.getMessage() for record in caplog.records] == [
            f"{tmp_path}: left out, as they are not read as pictures: {words}"
        ]
    else:
        with pytest.raises(UserError) as caught:
            list_images(tmp_path)
        assert str(caught.value).endswith(f"are looked for, but {words}")


def without_heif(monkeypatch) -> None:
    """pillow-heif cannot be imported, as where it is not installed."""
    original = builtins.__import__

    def refuse(name, *arguments, **keywords):
        if name == "pillow_heif":
            raise ImportError(name)
        return original(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_nothing_is_said_where_nothing_is_left_out(tmp_path, caplog):
    picture(tmp_path / "1.png")
    (tmp_path / ".hidden").touch()
    list_images(tmp_path)
    assert not caplog.records


def test_iphone_pictures_are_read_where_pillow_heif_is_installed(tmp_path):
    pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    list_images(picture(tmp_path / "1.png").parent)  # which makes Pillow know them
    Image.new("RGB", (8, 8), (200, 100, 50)).save(tmp_path / "2.heic", quality=100)
    assert len(list_images(tmp_path)) == 2
    assert abs(greys(tmp_path)[1] - 124) < 4


# --- several pictures in a file


def stack(path: Path, shades: list[int], **keywords) -> Path:
    first, *others = (Image.new("L", (4, 4), grey) for grey in shades)
    first.save(path, save_all=True, append_images=others, **keywords)
    return path


def test_all_pages_of_a_tiff_are_read(tmp_path):
    stack(tmp_path / "a.tif", list(range(10, 60)))
    picture(tmp_path / "b.png", 99)
    stack(tmp_path / "c.TIFF", list(range(100, 150)))
    picture(tmp_path / "d.tif", 200)
    source = open_images([str(tmp_path)], (1, 2, 2))
    assert len(source) == 102
    assert "102 image files (pages of 4 files)" in source.describe()
    batches = list(source.batches(7))  # which cut the stacks
    assert greys(tmp_path) == [*range(10, 60), 99, *range(100, 150), 200]
    names = [name for batch in batches for name in batch.names]
    assert names[:2] == [f"{tmp_path / 'a.tif'}#1", f"{tmp_path / 'a.tif'}#2"]
    assert (names[50], names[101]) == (str(tmp_path / "b.png"), str(tmp_path / "d.tif"))


def test_smaller_copies_and_masks_in_a_tiff_are_no_pages(tmp_path):
    pages = [Image.new("L", (4, 4), grey) for grey in (10, 20, 30, 40)]
    for page, kind in zip(pages, (0, 1, 4, 2), strict=True):  # whole, smaller copy, mask, page of many
        page.encoderinfo = {"tiffinfo": {254: kind}}
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], tiffinfo={254: 0})
    assert greys(tmp_path) == [10, 40]


def test_a_damaged_page_is_named_and_the_others_are_read(tmp_path, caplog):
    path = stack(tmp_path / "a.tif", [10, 20, 30], compression="tiff_adobe_deflate")
    with Image.open(path) as image:
        image.seek(1)
        offset = image.tag_v2[273][0]
    content = bytearray(path.read_bytes())
    content[offset : offset + 6] = b"\xff" * 6
    path.write_bytes(content)
    [batch] = open_images([str(path)], (1, 2, 2)).batches(5)
    assert batch.unreadable == (f"{path}#2",)
    assert batch.names == [f"{path}#1", f"{path}#3"]
    assert f"cannot read {path}#2: " in caplog.text


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_frames_that_are_not_read_are_counted(suffix, tmp_path, caplog):
    stack(tmp_path / f"a{suffix}", [0, 85, 170, 255])
    stack(tmp_path / f"b{suffix}", [0, 85, 170])
    picture(tmp_path / "c.png", 99)
    assert len(greys(tmp_path)) == 3
    [record] = caplog.records
    assert record.getMessage().startswith(
        f"2 files such as {tmp_path / f'a{suffix}'} hold 7 frames: of each the first is read; save them as pages of a TIFF"
    )


# --- large pictures


def claiming(path: Path, width: int, height: int) -> Path:
    """A picture whose header says another size; its pixels are not there."""
    content = bytearray(picture(path).read_bytes())
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    return path


@pytest.mark.filterwarnings("error")
def test_a_picture_over_the_limit_of_pixels_names_the_setting_that_raises_it(tmp_path, caplog):
    """Of 182 million pixels; Pillow warns of half as many."""
    path = claiming(tmp_path / "scan.png", 14_000, 13_000)
    with pytest.raises(UserError, match="1 of 1 images cannot be read"):
        read_all(ImageFiles([path], (1, 2, 2)))
    assert Image.MAX_IMAGE_PIXELS == 89_478_485  # Pillow's own
    [record] = [record for record in caplog.records if "cannot read" in record.getMessage()]
    assert record.getMessage() == (
        f"cannot read {path}: 14000 x 13000 pixels: more than --max_megapixels 179; raise it if the picture is what it seems"
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("limit", [10, 40])
def test_pillows_own_limit_does_not_hold(tmp_path, monkeypatch, limit):
    """It warns over its limit and refuses more than twice as many pixels; afterwards it holds again, for others."""
    Image.new("1", (9, 9), 1).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert (read_all(ImageFiles([tmp_path / "a.png"], (1, 2, 2), max_megapixels=82e-6))[0] == 255).all()
    with pytest.raises(UserError, match="1 of 1 images cannot be read"):
        read_all(ImageFiles([tmp_path / "a.png"], (1, 2, 2), max_megapixels=80e-6))
    assert limit == Image.MAX_IMAGE_PIXELS


def test_a_picture_far_over_the_limit_is_not_called_a_bomb(tmp_path, caplog):
    path = claiming(tmp_path / "a.png", 60_000, 60_000)
    [batch] = open_images([str(path)], (1, 2, 2)).batches(1)
    assert batch.unreadable
    [record] = caplog.records
    assert "3600000000 pixels" in record.getMessage()
    assert "more than --max_megapixels 179" in record.getMessage()
    assert "bomb" not in record.getMessage()


# --- paths


@pytest.mark.parametrize("path", ["a" * 300, "a/" * 1000, "a\0b", "\udcff"])
@pytest.mark.parametrize("suffix", ["", ".npz"])
def test_paths_that_no_file_can_have(path, suffix):
    with pytest.raises(UserError, match="no such file") as caught:
        open_images([path + suffix], (1, 2, 2))
    assert str(caught.value).isprintable()


def test_many_files_keep_their_order(tmp_path):
    for i in range(250):
        picture(tmp_path / f"{i:03}.png", i)
    assert greys(tmp_path) == list(range(250))


def test_the_log_of_unreadable_pictures_is_one_line_each(tmp_path, caplog):
    picture(tmp_path / "a.png")
    os.truncate(tmp_path / "a.png", 30)
    (tmp_path / "b\n.png").write_text("no picture")
    caplog.set_level(logging.WARNING)
    list(open_images([str(tmp_path)], (1, 2, 2)).batches(2))
    assert [len(record.getMessage().splitlines()) for record in caplog.records] == [1, 1]
