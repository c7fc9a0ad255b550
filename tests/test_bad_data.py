"""Published data sets that are missing or damaged: one line names the file and what would be right."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torchvision
from conftest import write_3dshapes, write_svhn
from test_bad_inputs import assert_says, complaint, on_data

from config import build_config
from readers.published import MNIST_BYTES

# --- MNIST


def mnist_folder(data: Path, **sizes: int) -> Path:
    """A folder with empty files of MNIST of the right sizes, or others; a size of -1 leaves a file out."""
    raw = data / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, n_bytes in MNIST_BYTES.items():
        n_bytes = sizes.get(name.split("-")[0] + "_" + name.split("-")[1], n_bytes)
        if n_bytes >= 0:
            with (raw / name).open("wb") as file:
                file.truncate(n_bytes)  # sparse
    return raw


@pytest.fixture
def no_network(monkeypatch):
    """Downloads fail at once, as they do where there is no network."""

    def fail(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", fail)
    monkeypatch.setattr(torchvision.datasets.svhn, "download_url", fail)


@pytest.mark.usefixtures("no_network")
def test_mnist_missing_without_network(tmp_path):
    words = [str(tmp_path / "data" / "MNIST" / "raw"), "no route to host", "--data_dir", "configs/digits.yml"]
    assert_says(complaint(on_data(tmp_path, "fast_mnist")), *words)


@pytest.mark.usefixtures("no_network")
def test_mnist_with_one_file_missing_is_downloaded(tmp_path):
    mnist_folder(tmp_path / "data", train_images=-1)
    assert_says(complaint(on_data(tmp_path, "fast_mnist")), "no route to host")


def test_mnist_truncated(tmp_path):
    raw = mnist_folder(tmp_path / "data", t10k_images=1000)
    words = [str(raw / "t10k-images-idx3-ubyte"), "1000 bytes", "not 7840016", "delete it"]
    assert_says(complaint(on_data(tmp_path, "fast_mnist")), *words)


def test_mnist_of_the_right_size_and_the_wrong_content(tmp_path):
    raw = mnist_folder(tmp_path / "data")
    assert_says(complaint(on_data(tmp_path, "fast_mnist")), str(raw), "AssertionError", "four unpacked files")


def test_data_dir_that_is_a_file(tmp_path):
    (tmp_path / "data").write_text("")
    assert_says(complaint(on_data(tmp_path, "fast_mnist")), str(tmp_path / "data"), "choose another --data_dir")


# --- SVHN


def write_mat(data: Path, **arrays: np.ndarray) -> Path:
    """SVHN with another train_32x32.mat."""
    write_svhn(data, 12, 5)
    path = data / "train_32x32.mat"
    content = {key: value for key, value in scipy.io.loadmat(path).items() if key in ("X", "y")} | arrays
    scipy.io.savemat(path, {key: value for key, value in content.items() if value is not None})
    return path


IMAGES = np.zeros((32, 32, 3, 12), dtype=np.uint8)
NAN_IMAGES = np.full(IMAGES.shape, np.nan)
MAT = {
    "NaN in the images": ({"X": NAN_IMAGES}, ["float64", "uint8"]),
    "wrong axes": ({"X": IMAGES.transpose(3, 2, 0, 1)}, ["X (12, 3, 32, 32)", "(32, 32, 3, N)"]),
    "fewer labels than images": ({"y": np.ones((11, 1))}, ["y (11, 1)", "(N, 1)"]),
    "label 11": ({"y": np.full((12, 1), 11)}, ["labels y", "1 to 10"]),
    "NaN in the labels": ({"y": np.full((12, 1), np.nan)}, ["labels y", "1 to 10"]),
    "no images": ({"X": None}, ["'X'"]),
}


@pytest.mark.parametrize(("arrays", "words"), MAT.values(), ids=MAT)
def test_svhn(tmp_path, arrays, words):
    path = write_mat(tmp_path / "data", **arrays)
    assert_says(complaint(on_data(tmp_path, "fast_svhn")), *words, str(path), "put a whole train_32x32.mat")


def test_svhn_truncated(tmp_path):
    path = write_mat(tmp_path / "data")
    os.truncate(path, path.stat().st_size // 2)
    assert_says(complaint(on_data(tmp_path, "fast_svhn")), str(path), "cannot read", "delete it")


@pytest.mark.usefixtures("no_network")
def test_svhn_missing_without_network(tmp_path):
    path = tmp_path / "data" / "train_32x32.mat"
    assert_says(complaint(on_data(tmp_path, "fast_svhn")), str(path), "no route to host", "choose another --data_dir")


# --- 3DShapes

FEW = {"floor_hue": [0, 3], "wall_hue": [5], "object_hue": [6], "scale": [2], "shape": [0, 1]}
ON_FEW = [f"--factors_variation_dict={FEW}", "--factors_label_list", "shape"]


def few_shapes(folder: Path) -> Path:
    return write_3dshapes(folder / "data", build_config({"dataset": "fast_3dshapes", "factors_variation_dict": FEW,
                                                         "factors_label_list": ["shape"]}))  # fmt: skip


def replaced(file: h5py.File, name: str, shape: tuple[int, ...], dtype: str, fill: float = 0) -> None:
    """Put a constant dataset, which takes no space, in the place of another."""
    del file[name]
    file.create_dataset(name, shape, dtype, chunks=(60, *shape[1:]), fillvalue=fill)


def moved_away(file: h5py.File) -> Path:
    """Move the images into another file."""
    other = Path(file.filename).with_name("other.h5")
    with h5py.File(other, "w") as target:
        file.copy("images", target)
    del file["images"]
    return other


def externally_stored(file: h5py.File) -> None:
    """Images that are the bytes of any other file."""
    secret = Path(file.filename).with_name("secret")
    secret.write_bytes(bytes(1000))
    del file["images"]
    file.create_dataset("images", (480000, 64, 64, 3), "uint8", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def virtual(file: h5py.File) -> None:
    """Images that are put together of those of another file."""
    layout = h5py.VirtualLayout((480000, 64, 64, 3), "uint8")
    layout[:] = h5py.VirtualSource(moved_away(file), "images", (480000, 64, 64, 3))
    file.create_virtual_dataset("images", layout)


ELSEWHERE = ["'images' lies in another place or file, which is not followed"]
H5 = {
    "a link to another file": (
        lambda file: file.__setitem__("images", h5py.ExternalLink(moved_away(file), "images")),
        ELSEWHERE,
    ),
    "a link": (lambda file: (file.move("images", "x"), file.__setitem__("images", h5py.SoftLink("/x"))), ELSEWHERE),
    "external storage": (externally_stored, ELSEWHERE),
    "virtual": (virtual, ELSEWHERE),
    "wrong shape": (lambda file: replaced(file, "images", (480000, 32, 32, 3), "uint8"), ["(480000, 32, 32, 3)", "64"]),
    "too few": (lambda file: replaced(file, "images", (4800, 64, 64, 3), "uint8"), ["(4800, 64, 64, 3)", "480000"]),
    "NaN": (lambda file: replaced(file, "images", (480000, 64, 64, 3), "f4", np.nan), ["float32", "uint8"]),
    "other labels": (
        lambda file: file["labels"].write_direct(file["labels"][:] * 2),
        ["labels", "original's factor values"],
    ),
    "NaN labels": (
        lambda file: replaced(file, "labels", (480000, 6), "f8", np.nan),
        ["labels", "original's factor values"],
    ),
    "labels of five factors": (lambda file: replaced(file, "labels", (480000, 5), "f8"), ["labels (480000, 5)"]),
    "no images": (lambda file: file.pop("images"), ["holds no images"]),
}


@pytest.mark.parametrize(("spoil", "words"), H5.values(), ids=H5)
def test_3dshapes(tmp_path, spoil, words):
    path = few_shapes(tmp_path)
    with h5py.File(path, "r+") as file:
        spoil(file)
    message = complaint(on_data(tmp_path, "fast_3dshapes", *ON_FEW))
    assert_says(message, *words, str(path), "put the original there", f"python render_3dshapes.py --output {path}")


def test_3dshapes_missing(tmp_path):
    path = tmp_path / "data" / "Fast_3DShapes" / "raw" / "3dshapes.h5"
    message = complaint(on_data(tmp_path, "fast_3dshapes", *ON_FEW))
    assert_says(message, str(path), "is missing", "--data_dir", f"python render_3dshapes.py --output {path}")


@pytest.mark.parametrize("share", [0, 0.5])
def test_3dshapes_truncated(tmp_path, share):
    path = few_shapes(tmp_path)
    os.truncate(path, int(share * path.stat().st_size))
    assert_says(
        complaint(on_data(tmp_path, "fast_3dshapes", *ON_FEW)), str(path), "cannot read", "put the original there"
    )


def test_3dshapes_that_leave_no_test_images(tmp_path):
    few_shapes(tmp_path)
    message = complaint(on_data(tmp_path, "fast_3dshapes", *ON_FEW, "--threedshapes_train_frac", "0.999"))
    assert_says(message, "threedshapes_train_frac = 0.999", "none of 60", "lower it")


def test_3dshapes_that_claim_to_be_the_original(tmp_path):
    path = few_shapes(tmp_path)
    with h5py.File(path, "r+") as file:
        del file.attrs["synthetic"]
    message = complaint(on_data(tmp_path, "fast_3dshapes", *ON_FEW))
    assert_says(message, str(path), "not marked as synthetic", "its md5 is", "put the original there")
