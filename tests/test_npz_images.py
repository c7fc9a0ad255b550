"""What an .npz claims is not believed: too much is one line before memory is spent, and large images come in steps."""

from __future__ import annotations

import io
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest
from test_own_images import load

from readers import array_images, npz_images
from readers.sources import open_images
from utils import UserError

TERA = 10**12


def header(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    """The beginning of an .npy."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


def write(path: Path, compression: int = zipfile.ZIP_DEFLATED, **members: bytes) -> Path:
    """A zip file of these members, each a whole .npy."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def claiming(path: Path, name: str, size: int, **members: bytes) -> Path:
    """An .npz whose table of contents says that a member unpacks to `size` bytes, and is as long where not packed."""
    original = zipfile.ZipFile._write_end_record

    def lie(archive: zipfile.ZipFile) -> None:
        for info in archive.filelist:
            if info.filename == f"{name}.npy":
                info.file_size = size
                if info.compress_type == zipfile.ZIP_STORED:
                    info.compress_size = size
        original(archive)

    archive_kind = type("Liar", (zipfile.ZipFile,), {"_write_end_record": lie})
    compression = zipfile.ZIP_STORED if path.stem == "stored" else zipfile.ZIP_DEFLATED
    with archive_kind(path, "w", compression) as archive:
        for member, content in members.items():
            archive.writestr(f"{member}.npy", content)
    return path


IMAGES = header((12, 8, 8)) + bytes(12 * 64)
LONG = b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + b" " * 2**20
CLAIMS = {
    "images, header alone": lambda p: write(p, images=header((TERA, 28, 28)) + bytes(100)),
    "images, all dimensions": lambda p: write(p, images=header((2**40, 2**40, 2**40)) + bytes(100)),
    "images, below zero": lambda p: write(p, images=header((-12, -8, 8)) + bytes(12 * 64)),
    "images, more than there are": lambda p: write(p, images=header((13, 8, 8)) + bytes(12 * 64)),
    "images, fewer than there are": lambda p: write(p, images=header((11, 8, 8)) + bytes(12 * 64)),
    "images, contents, too": lambda p: claiming(
        p, "images", len(header((TERA, 8, 8))) + 64 * TERA, images=header((TERA, 8, 8)) + bytes(640)
    ),
    "images, stored": lambda p: claiming(
        p.with_stem("stored"), "images", len(header((TERA, 8, 8))) + 64 * TERA, images=header((TERA, 8, 8)) + bytes(640)
    ),
    "labels": lambda p: write(p, images=IMAGES, labels=header((12, TERA), "<i8") + bytes(100)),
    "labels of long texts": lambda p: write(p, images=IMAGES, labels=header((12,), f"<U{10**8}") + bytes(100)),
    "labels, contents, too": lambda p: claiming(
        p, "labels", len(header((12, 10**11), "<i8")) + 96 * 10**11,
        images=IMAGES, labels=header((12, 10**11), "<i8") + bytes(100),
    ),
    "names of labels": lambda p: write(
        p, images=IMAGES, labels=header((12,), "<i8") + bytes(96), label_names=header((1,), f"<U{10**11}")
    ),
    "names of labels, many": lambda p: write(
        p, images=IMAGES, labels=header((12,), "<i8") + bytes(96), label_names=header((TERA,), "<U1") + bytes(100)
    ),
    "a header of two gigabytes": lambda p: write(p, images=LONG),
    "a header that is none": lambda p: write(p, images=b"\x93NUMPY\x01\x00\x10\x00{'a': __import_" + bytes(100)),
    "no header": lambda p: write(p, images=b""),
}  # fmt: skip


@pytest.mark.parametrize("name", CLAIMS)
def test_a_header_that_claims_what_is_not_there(name, tmp_path):
    path = CLAIMS[name](tmp_path / "a.npz")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="damaged") as caught:
        load("npz", path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 400
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # of KiB


def test_more_images_than_the_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    """An archive that does not lie: zeros take a thousandth."""
    path = write(tmp_path / "a.npz", images=IMAGES)
    monkeypatch.setattr("readers.sources._memory", lambda: 12 * 64 - 1)
    with pytest.raises(UserError, match="12 images .grey, 8 x 8 pixels. take 0.0 GiB, more memory than there is"):
        load("npz", path)
    monkeypatch.setattr("readers.sources._memory", lambda: 12 * 64)
    load("npz", path)


def test_labels_of_more_than_a_gigabyte_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    np.savez(path, images=np.zeros((12, 8, 8), np.uint8), labels=np.zeros((12, 100), int))
    monkeypatch.setattr("readers.array_images.MAX_SMALL_BYTES", 12 * 100 * 8 - 1)
    with pytest.raises(UserError, match=r"'labels' is \(12, 100\) int64 and takes 0.0 GiB, more than 1 GiB"):
        load("npz", path)


def test_large_images_are_unpacked_in_steps_of_bytes(tmp_path, monkeypatch):
    """All in one batch of images, but never as many bytes at once."""
    images = np.random.default_rng(0).integers(0, 2, (9, 1, 1, 3), np.uint8) * np.full((9, 220, 220, 3), 255, np.uint8)
    np.savez_compressed(tmp_path / "a.npz", images=images)
    sizes, original = [], zipfile.ZipExtFile.read

    def read(member, n=-1):
        sizes.append(n)
        return original(member, n)

    monkeypatch.setattr(zipfile.ZipExtFile, "read", read)
    for module in (array_images, npz_images):
        monkeypatch.setattr(module, "STEP_BYTES", 10**6)
    [batch] = open_images([str(tmp_path / "a.npz")], (3, 2, 2)).batches(1000)
    assert batch.names == [str(i) for i in range(9)]
    np.testing.assert_array_equal(batch.images, np.broadcast_to(images[:, 0, 0, :, None, None], (9, 3, 2, 2)))
    assert max(sizes) <= 10**6 < images.nbytes


def test_images_over_the_limit_of_pixels_name_the_setting(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 1001, 1000), np.uint8))
    with pytest.raises(
        UserError, match=r"'images' is \(2, 1001, 1000\) uint8: images of more than --max_megapixels 1;"
    ):
        open_images([str(tmp_path / "a.npz")], (1, 8, 8), max_megapixels=1)
    assert len(open_images([str(tmp_path / "a.npz")], (1, 8, 8), max_megapixels=2)) == 2
