"""The facts about the data sets, their files in the original formats, and batches."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import get_args

import h5py
import numpy as np
import pytest
import torch
from conftest import random_states, striped_images, write_3dshapes, write_svhn
from scipy.io import loadmat
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_mutual_info_score

import datasets
from config import FACTOR_SIZES, FIELDS, OWN_IMAGES, build_config
from datasets import DATASETS, Split, dataset_spec, load_dataset, split_labels, to_float, training_batches
from readers import threedshapes
from readers.own_images import OWN_READERS
from readers.published import MNIST_BYTES
from readers.threedshapes import FACTOR_VALUES, allowed_indices, contiguous_runs, halve
from rendering.hdf5_file import wanted_rows
from utils import UserError

CPU = torch.device("cpu")
FEW = {"floor_hue": [0, 3], "wall_hue": [5, 2], "object_hue": [6], "scale": [2, 7], "shape": [0, 1, 3]}


def load(dataset: str, folder=None, **settings):
    """A data set with as few clusters as its size allows."""
    where = {} if folder is None else {"data_dir": str(folder)}
    return load_dataset(build_config({"dataset": dataset, "n_clusters_j_list": [2, 2]} | where | settings), CPU)


def shapes_config(folder, **settings):
    few = {"factors_variation_dict": FEW, "factors_label_list": ["shape", "floor_hue"], "n_clusters_j_list": [2, 2]}
    return build_config({"dataset": "fast_3dshapes", "data_dir": str(folder), "seed": 1} | few | settings)


# --- the table


@pytest.mark.parametrize(
    ("dataset", "facts"),
    [
        ("fast_mnist", ((1, 28, 28), "bernoulli", "sigmoid", 60_000, 10_000, ("digit",), (10,), True)),
        ("fast_fashion_mnist", ((1, 28, 28), "bernoulli", "sigmoid", 60_000, 10_000, ("garment",), (10,), True)),
        ("fast_svhn", ((3, 32, 32), "normal", "sigmoid", 73_257, 26_032, ("digit",), (10,), False)),
        ("fast_3dshapes", ((3, 32, 32), "normal", None, 3_840, 960, ("shape", "wall_hue"), (4, 10), False)),
        ("digits", ((1, 8, 8), "normal", "sigmoid", 1_437, 360, ("digit",), (10,), True)),
        ("rooms", ((3, 32, 32), "normal", "sigmoid", 320, 80, ("shape", "floor_hue"), (4, 10), True)),
        ("coloured_digits", ((3, 8, 8), "normal", "sigmoid", 1_437, 360, ("digit", "colour"), (10, 5), True)),
    ],
)
def test_facts(dataset, facts):
    spec = dataset_spec(build_config({"dataset": dataset}))
    found = (spec.image_shape, spec.likelihood, spec.output_activation, spec.n_train, spec.n_test)
    assert (*found, spec.label_names, spec.n_classes, spec.has_even_classes) == facts
    assert spec.name == dataset


def test_the_table_has_every_data_set_that_the_settings_offer():
    assert {*DATASETS, *OWN_IMAGES} == set(get_args(FIELDS["dataset"].annotation))
    assert set(datasets._READERS) == set(DATASETS)
    assert set(OWN_READERS) == set(OWN_IMAGES)


def test_factor_values_agree_with_sizes():
    assert {name: len(values) for name, values in FACTOR_VALUES.items()} == FACTOR_SIZES


# --- digits


def test_digits_are_split_by_the_seed():
    first, again, other = (load("digits", seed=seed) for seed in (3, 3, 4))
    assert (len(first.train), len(first.test)) == (1437, 360)
    assert first.train.images.dtype == torch.uint8
    assert torch.equal(first.train.images, again.train.images)
    assert torch.equal(first.test.labels, again.test.labels)
    assert not torch.equal(first.train.images, other.train.images)


def test_digits_are_all_there_once():
    data = load("digits")
    images = torch.cat([data.train.images, data.test.images]).flatten(1).numpy()
    reference = np.rint(load_digits().data * (255 / 16)).astype(np.uint8)
    np.testing.assert_array_equal(images[np.lexsort(images.T)], reference[np.lexsort(reference.T)])


def test_digits_keep_their_labels():
    data, reference = load("digits"), load_digits()
    pixels = np.rint(reference.data * (255 / 16)).astype(int)
    labels = dict(zip(map(tuple, pixels.tolist()), reference.target, strict=True))
    for image, label in zip(data.test.images.flatten(1), data.test.labels[:, 0], strict=True):
        assert labels[tuple(image.tolist())] == label


def test_coloured_digits_are_the_digits_in_the_ink_of_their_label():
    data, grey = load("coloured_digits", seed=3), load("digits", seed=3)
    assert data.spec.class_names[1] == ("red", "yellow", "green", "blue", "magenta")
    inks = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1]])
    for split, uncoloured in ((data.train, grey.train), (data.test, grey.test)):
        digits, colours = split.labels.T
        assert torch.equal(digits, uncoloured.labels[:, 0])
        assert torch.equal(split.images, uncoloured.images * inks[colours][:, :, None, None].to(torch.uint8))


def test_inks_are_drawn_by_the_seed_and_say_nothing_of_the_digit():
    first, again, other = (load("coloured_digits", seed=seed).train.labels for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first[:, 1], other[:, 1])
    assert adjusted_mutual_info_score(*first.T.numpy()) < 0.02
    assert torch.bincount(first[:, 1]).min() > 200  # of 1,437


# --- batches


def numbered(n: int) -> Split:
    """A split of one-pixel images 0, 1, 2, ... whose labels are the same numbers."""
    return Split(torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1), torch.arange(n).view(n, 1))


def test_batches_cover_every_image_once_with_its_label_and_keep_the_smaller_last():
    batches = list(training_batches(numbered(10), 4, torch.Generator().manual_seed(0), CPU))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    labels = torch.cat([batch.labels for batch in batches])[:, 0]
    assert labels.tolist() != sorted(labels.tolist()) == list(range(10))
    assert torch.cat([batch.images for batch in batches]).flatten().tolist() == labels.tolist()


def test_batches_depend_on_the_generator_alone():
    def orders(seed: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        epochs = [list(training_batches(numbered(50), 50, generator, CPU)) for _ in range(2)]
        return [epoch[0].labels[:, 0].tolist() for epoch in epochs]

    first = orders(0)
    torch.manual_seed(99)
    assert first == orders(0)
    assert first != orders(1)
    assert first[0] != first[1]


def test_the_global_random_state_is_never_touched(tmp_path):
    write_svhn(tmp_path, 12, 4)
    write_3dshapes(tmp_path, shapes_config(tmp_path))
    before = random_states()
    load("digits")
    load("coloured_digits")
    load("fast_svhn", tmp_path)
    load_dataset(shapes_config(tmp_path), CPU)
    list(training_batches(numbered(10), 4, torch.Generator().manual_seed(0), CPU))
    assert random_states() == before


def test_to_float_scales_to_one_and_copies():
    images = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)
    torch.testing.assert_close(to_float(images), torch.tensor([[[[0, 0.2, 1]]]]))
    assert images.tolist() == [[[[0, 51, 255]]]]


def test_split_labels_names_the_columns():
    split = Split(torch.zeros(2, 3, 32, 32), torch.tensor([[1, 2], [3, 4]]))
    labels = split_labels(split, dataset_spec(build_config({"dataset": "fast_3dshapes"})))
    assert {name: values.tolist() for name, values in labels.items()} == {"shape": [1, 3], "wall_hue": [2, 4]}


# --- SVHN


def test_svhn_in_the_original_format(tmp_path):
    write_svhn(tmp_path, 23, 11)
    data = load("fast_svhn", tmp_path)
    assert (data.train.images.shape, data.test.images.shape) == ((23, 3, 32, 32), (11, 3, 32, 32))
    assert data.train.labels[:, 0].tolist() == [(i + 1) % 10 for i in range(23)]  # stored 1, ..., 9, 10; 10 is the zero
    stored = loadmat(tmp_path / "test_32x32.mat")["X"]
    assert data.test.images[7, 2, 30, 4] == stored[30, 4, 2, 7]


# --- 3DShapes


def stripes(images: torch.Tensor) -> np.ndarray:
    """The value indices (N, 6) that the images (N, 3, 32, 32) of conftest.write_3dshapes show."""
    return images[:, 0, 2:30:5, 0].numpy() // 16


def test_striped_images_show_their_factors():
    factors = np.array([[1, 2, 3, 4, 3, 14], [9, 0, 9, 7, 0, 0]])
    np.testing.assert_array_equal(stripes(torch.from_numpy(halve(striped_images(factors))).movedim(3, 1)), factors)


def test_3dshapes_in_the_original_format(tmp_path):
    config = shapes_config(tmp_path)
    write_3dshapes(tmp_path, config)
    data = load_dataset(config, CPU)
    n_images = 2 * 2 * 1 * 2 * 3 * 15
    assert (len(data.train), len(data.test)) == (round(0.8 * n_images), n_images - round(0.8 * n_images))
    assert data.train.images.shape[1:] == data.spec.image_shape
    shown = np.concatenate([stripes(data.train.images), stripes(data.test.images)])
    wanted = np.flatnonzero(wanted_rows(FEW))
    np.testing.assert_array_equal(np.sort(np.ravel_multi_index(shown.T, tuple(FACTOR_SIZES.values()))), wanted)
    for split in (data.train, data.test):  # shape and floor hue, permuted as the images are
        np.testing.assert_array_equal(split.labels, stripes(split.images)[:, [4, 0]])


def test_classes_of_3dshapes_have_names():
    config = build_config({"dataset": "fast_3dshapes", "factors_label_list": ["shape", "wall_hue", "scale"]})
    shape, hue, scale = dataset_spec(config).class_names
    assert (shape[2], hue[5], scale[7]) == ("sphere", "cyan", "7")
    assert [len(shape), len(hue), len(scale)] == [4, 10, 8]


def test_3dshapes_are_split_by_the_seed(tmp_path):
    write_3dshapes(tmp_path, shapes_config(tmp_path))
    first, again, other = (load_dataset(shapes_config(tmp_path, seed=seed), CPU) for seed in (1, 1, 2))
    assert torch.equal(first.train.images, again.train.images)
    assert not torch.equal(first.train.images, other.train.images)


def test_a_factor_left_out_takes_all_values(tmp_path):
    config = shapes_config(tmp_path)
    assert allowed_indices(config, "orientation") == list(range(15))
    assert allowed_indices(config, "wall_hue") == [2, 5]


def test_halve_rounds_the_mean_of_each_block_half_up():
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3), dtype=np.uint8)
    a, b, c, d = (images[:, i::2, j::2].astype(int) for i in (0, 1) for j in (0, 1))
    np.testing.assert_array_equal(halve(images), (a + b + c + d + 2) >> 2)
    assert halve(np.full((1, 2, 2, 1), 255, dtype=np.uint8)) == 255  # no overflow


def test_rows_are_read_in_runs_of_limited_length():
    rows = np.array([1, 2, 3, 4, 5, 8, 9, 20])
    runs = [(at, run.tolist()) for at, run in contiguous_runs(rows, longest=3)]
    assert runs == [(0, [1, 2, 3]), (3, [4, 5]), (5, [8, 9]), (7, [20])]


@pytest.mark.parametrize("synthetic", [False, True])
def test_the_log_says_whether_3dshapes_are_original(tmp_path, caplog, monkeypatch, synthetic):
    config = shapes_config(tmp_path)
    path = write_3dshapes(tmp_path, config, synthetic)
    monkeypatch.setattr(threedshapes, "ORIGINAL_MD5", hashlib.md5(path.read_bytes()).hexdigest())
    with caplog.at_level(logging.INFO):
        data = load_dataset(config, CPU)
    assert data.spec.is_synthetic == synthetic  # a run does not go on with the other ones
    (record,) = caplog.records
    assert record.getMessage().startswith(f"fast_3dshapes: {'synthetic' if synthetic else 'original'} images of {path}")
    assert ("a test" in record.getMessage()) == synthetic
    assert record.getMessage().endswith(data.source)


def test_a_file_that_only_claims_to_be_the_original_is_refused(tmp_path):
    path = write_3dshapes(tmp_path, shapes_config(tmp_path), synthetic=False)
    with pytest.raises(UserError) as caught:
        load_dataset(shapes_config(tmp_path), CPU)
    for words in (str(path), "not marked as synthetic", hashlib.md5(path.read_bytes()).hexdigest(), "put the original"):
        assert words in str(caught.value)


def test_a_full_synthetic_file_has_no_list_of_rows(tmp_path):
    config = shapes_config(tmp_path)
    path = write_3dshapes(tmp_path, config, synthetic=True)
    with h5py.File(path, "r+") as file:
        del file["rendered"]
    assert len(load_dataset(config, CPU).train) == 288


def test_rows_that_are_not_rendered_are_an_error_that_names_the_command(tmp_path):
    path = write_3dshapes(tmp_path, shapes_config(tmp_path), synthetic=True)
    with pytest.raises(UserError) as caught:
        load_dataset(shapes_config(tmp_path, factors_variation_dict=FEW | {"object_hue": [5, 6]}), CPU)
    assert (
        f"lacks 360 of the 720 images of this configuration; add them: python render_3dshapes.py --output {path}"
        in str(caught.value)
    )


# --- memory


def test_images_that_do_not_fit_stay_on_the_host(caplog, monkeypatch):
    """Where the data would take more than half of the device's memory."""
    n_bytes = 1797 * 64
    for free, warns in ((2 * n_bytes, False), (2 * n_bytes - 1, True)):
        caplog.clear()
        monkeypatch.setattr(datasets, "free_memory", lambda device, free=free: free)
        moved = []
        monkeypatch.setattr(Split, "to", lambda split, device, moved=moved: moved.append(split) or split)
        data = load("digits")
        assert len(moved) == (0 if warns else 2)
        assert data.train.images.device == CPU
        assert any("stay in host memory" in record.getMessage() for record in caplog.records) == warns


def test_a_batch_goes_to_the_gpu_by_way_of_pinned_memory():
    class Batch:
        """A tensor on the host that remembers what is done to it."""

        device = CPU
        done: list = []

        def pin_memory(self):
            self.done.append("pinned")
            return self

        def to(self, device, non_blocking=False):
            self.done.append((device.type, non_blocking))
            return self

    datasets.to_device(Batch(), CPU)
    datasets.to_device(Batch(), torch.device("cuda"))
    assert Batch.done == [("cpu", False), "pinned", ("cuda", True)]


# --- MNIST


def write_mnist(data: Path, folder: str) -> Path:
    """Black images of class 0, in files with holes."""
    raw = data / folder / "raw"
    raw.mkdir(parents=True)
    for name, n_bytes in MNIST_BYTES.items():
        n = 60_000 if name.startswith("train") else 10_000
        header = [0x803, n, 28, 28] if "images" in name else [0x801, n]
        with (raw / name).open("wb") as file:
            file.write(np.array(header, ">i4").tobytes())
            file.truncate(n_bytes)
    return raw


@pytest.mark.parametrize(("dataset", "folder"), [("fast_mnist", "MNIST"), ("fast_fashion_mnist", "FashionMNIST")])
def test_files_of_the_format_of_mnist(tmp_path, dataset, folder):
    raw = write_mnist(tmp_path, folder)
    data = load(dataset, tmp_path)
    assert (data.train.images.shape, data.test.images.shape) == ((60_000, 1, 28, 28), (10_000, 1, 28, 28))
    assert data.spec == DATASETS[dataset]
    assert str(raw) in data.source


def test_a_label_out_of_range_is_named(tmp_path):
    with (write_mnist(tmp_path, "MNIST") / "t10k-labels-idx1-ubyte").open("r+b") as file:
        file.seek(8 + 77)
        file.write(bytes([11]))
    with pytest.raises(UserError, match="fast_mnist: digit of a test image is 11, must be from 0 to 9; get the files"):
        load("fast_mnist", tmp_path)


@pytest.mark.parametrize(
    ("settings", "n_train", "message"),
    [
        ({"dataset": "digits", "do_fc_batch_norm": True, "batch_size": 64}, 64 * 65 + 1, "batch of one of .*; use 66$"),
        (
            {"dataset": "fast_3dshapes", "threedshapes_train_frac": 0.1},
            0,
            "too few; raise threedshapes_train_frac = 0.1",
        ),
        ({"dataset": "digits"}, 0, "too few; add more$"),
    ],
)
def test_too_few_images_and_batches_that_do_not_fit(settings, n_train, message):
    with pytest.raises(UserError, match=message):
        datasets.check_counts(build_config(settings), n_train, 4)


@pytest.mark.real_data
@pytest.mark.skipif("MFCVAE_DATA" not in os.environ, reason="MFCVAE_DATA does not name a data_dir that holds MNIST")
def test_mnist():
    data = load("fast_mnist", os.environ["MFCVAE_DATA"])
    assert (data.train.images.shape, data.test.images.shape) == ((60_000, 1, 28, 28), (10_000, 1, 28, 28))
    assert data.train.labels[:10, 0].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert torch.bincount(data.test.labels[:, 0]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert float(to_float(data.train.images).mean()) == pytest.approx(0.1307, abs=1e-4)
