"""Every bad input gives one line that names the setting or file, the value, and what would be right."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import torch
import torchvision
import yaml
from conftest import Payload, write_3dshapes, write_svhn
from PIL import Image

import train
from config import build_config, load_config
from evaluation.health import advice_on_loss
from flags import FlagParser
from readers.published import MNIST_BYTES
from utils import UserError, expand_home, make_folder, needed, write_atomically

ROOT = Path(__file__).resolve().parent.parent
WIDTHS = [f"--{part}_dims" for part in ("enc_backbone", "dec_backbone", "dec_rung")]
TINY = [
    "--dataset", "digits", "--n_clusters_j_list", "3", "3", "--z_j_dim_list", "2", "2",
    "--n_epochs_per_progressive_step", "1", "1", "--wandb_mode", "disabled", "--save_model", "false",
    "--do_vis_train", "false", "--do_vis_test", "false", "--do_vis_sample_generations_per_cluster", "false",
    "--device", "cpu", "--compile", "false", "--run_name", "tiny",
]  # fmt: skip
TINY += [word for name in WIDTHS for word in (name, "8", "8")]


def tiny(folder: Path, *flags: str) -> list[str]:
    """The command line of a run of a second below `folder`; later flags win."""
    return [*TINY, "--results_dir", str(folder / "results"), *flags]


def complaint(argv: list[str]) -> str:
    """The one line that train.py says about a command line that cannot work."""
    with pytest.raises(UserError) as caught:
        train.main(argv)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 1000
    return message


def assert_says(message: str, *words: str) -> None:
    """All words are in the message."""
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {message}"


# --- flags and combinations: flags, words that the message must have

FC_PER_FACET = ("--model_type", "fc_per_facet_enc_shared_dec")
SHAPES = ("--dataset", "fast_3dshapes")
FLAGS = {
    "unknown": (["--bacth_size", "7"], ["--bacth_size", "--batch_size"]),
    "unknown and nothing near": (["--xyzzy", "7"], ["--xyzzy", "--help"]),
    "text for a whole number": (["--batch_size", "many"], ["batch_size = 'many'", "integer"]),
    "fraction for a whole number": (["--batch_size", "7.5"], ["batch_size = '7.5'", "integer"]),
    "text for a number": (["--init_lr", "fast"], ["init_lr = 'fast'", "number"]),
    "not a number": (["--init_lr", "nan"], ["init_lr = 'nan'", "finite"]),
    "infinite": (["--temp_sample_generation", "inf"], ["temp_sample_generation = 'inf'", "finite"]),
    "text for true or false": (["--fix_pi_p_c", "maybe"], ["fix_pi_p_c = 'maybe'", "boolean"]),
    "text in a list": (["--z_j_dim_list", "5", "x"], ["z_j_dim_list", "'x'", "integer"]),
    "too small": (["--batch_size", "1"], ["batch_size = '1'", "greater than or equal to 2"]),
    "negative": (["--init_lr=-1e-3"], ["init_lr = '-1e-3'", "greater than 0"]),
    "negative seed": (["--seed", "-1"], ["seed = '-1'", "greater than or equal to 0"]),
    "fraction of one": (["--threedshapes_train_frac", "1"], ["threedshapes_train_frac = '1'", "less than 1"]),
    "zero clusters": (["--n_clusters_j_list", "0", "3"], ["n_clusters_j_list", "'0'", "greater than or equal to 1"]),
    "no test batches": (["--n_test_batches", "0"], ["n_test_batches = 0", "-1", "at least 1"]),
    "no value": (["--seed"], ["--seed", "needs a value", "INT"]),
    "two values": (["--seed", "3", "4"], ["--seed 3 4", "one value", "got 2"]),
    "not a choice": (["--model_type", "vae"], ["model_type = 'vae'", "'fc_vlae'", "'conv_vlae'"]),
    "not a dataset": (["--dataset", "mnist"], ["dataset = 'mnist'", "'fast_mnist'", "'digits'"]),
    "broken mapping": (["--factors_variation_dict", "{shape: [0"], ["--factors_variation_dict {shape: [0", "mapping"]),
    "a date": (["--factors_variation_dict", "{shape: [2020-13-45]}"], ["factors_variation_dict", "2020-13-45"]),
    "octal in a list": (["--z_j_dim_list", "[0144, 5]"], ["--z_j_dim_list [0144, 5]", "0144 is 100 in YAML"]),
    "minutes in a list": (["--z_j_dim_list", "[1:30, 5]"], ["--z_j_dim_list", "1:30 is 90 in YAML"]),
    "alias": (["--z_j_dim_list", "[&a 5, *a]"], ["--z_j_dim_list", "aliases are not read", "*a"]),
    "key twice": (["--factors_variation_dict", "{shape: [0, 1], shape: [2]}"], ["'shape' is there twice"]),
    "a list of 3,000 characters": (
        ["--z_j_dim_list", *["x" * 30] * 100],
        ["z_j_dim_list = ['xxx", " ...: ", "integer"],
    ),
    "broken YAML of 3,000 characters": (["--z_j_dim_list", "[" + "x" * 3000], ["--z_j_dim_list", " ...: not a YAML"]),
    "a list of 101 items": (["--decode_layer_dims", *["8"] * 101], ["decode_layer_dims", "at most 100 items"]),
    "path as a name": (["--run_name", "a/b"], ["run_name = 'a/b'"]),
    "parent as a name": (["--run_name", ".."], ["run_name = '..'"]),
    "dimensions against J": (
        ["--z_j_dim_list", "5", "5", "5"],
        ["z_j_dim_list = [5, 5, 5]", "J_n_mixtures = 2", "one entry per facet", "or one for all"],
    ),
    "clusters and more against J": (
        ["--J_n_mixtures", "3", "--z_j_dim_list", "2", "2", "2"],
        ["n_clusters_j_list = [3, 3], n_epochs_per_progressive_step = ", "J_n_mixtures = 3"],
    ),
    "steps against J": (
        ["--n_epochs_per_progressive_step", "1", "1", "1"],
        ["n_epochs_per_progressive_step = [1, 1, 1]", "J_n_mixtures = 2"],
    ),
    "ladder against J": (["--enc_backbone_dims", "8", "8", "8"], ["enc_backbone_dims = [8, 8, 8]", "J_n_mixtures = 2"]),
    "gated add": (["--dec_rung_dims", "9", "8"], ["dec_rung_dims = [9, 8]", "width 9", "width 8", "equal"]),
    "layer without width": (
        ["--enc_rung_n_hidden", "1", "-1"],
        ["enc_rung_dims[0] = -1", "at least 1", "enc_rung_n_hidden"],
    ),
    "no such facet": (
        ["--facet_to_fix_pi_p_c", "facet_2"],
        ["facet_to_fix_pi_p_c = 'facet_2'", "all, facet_0, facet_1"],
    ),
    "too many encoders": (
        [*FC_PER_FACET, "--encode_layer_dims", "[[8], [8], [8]]"],
        ["encode_layer_dims = [[8], [8], [8]]", "J_n_mixtures = 2", "one entry per facet"],
    ),
    "encoders to share": (
        ["--model_type", "fc_shared", "--encode_layer_dims", "[[8], [8]]"],
        ["encode_layer_dims = [[8], [8]]", "one flat list"],
    ),
    "label with one value": (
        [*SHAPES, "--factors_label_list", "floor_hue"],
        ["factors_label_list", "'floor_hue'", "one value"],
    ),
    "unknown label": ([*SHAPES, "--factors_label_list", "shapes"], ["factors_label_list", "'shapes'", "'shape'"]),
    "no label": ([*SHAPES, "--factors_label_list", "[]"], ["factors_label_list = []", "at least one"]),
    "unknown factor": ([*SHAPES, "--factors_variation_dict", "{size: [0]}"], ["factors_variation_dict", "'size'"]),
    "index out of range": (
        [*SHAPES, "--factors_variation_dict", "{shape: [0, 4]}"],
        ["factors_variation_dict['shape'] = [0, 4]", "0 to 3"],
    ),
    "index twice": (
        [*SHAPES, "--factors_variation_dict", "{shape: [1, 1]}"],
        ["factors_variation_dict['shape']", "different"],
    ),
    "ladder too deep": (
        [
            "--model_type",
            "conv_vlae",
            "--J_n_mixtures",
            "4",
            "--z_j_dim_list",
            "2",
            "2",
            "2",
            "2",
            "--n_clusters_j_list",
            "3",
            "3",
            "3",
            "3",
            "--n_epochs_per_progressive_step",
            "1",
            "1",
            "1",
            "1",
        ],
        ["J_n_mixtures = 4", "8x8", "at most 3"],
    ),
    "more clusters than images": (
        ["--n_clusters_j_list", "3", "1438"],
        ["n_clusters_j_list = [3, 1438]", "1437", "fewer"],
    ),
    "batch of one to normalise": (["--batch_size", "4", "--do_fc_batch_norm"], ["batch_size = 4", "1437", "use 5"]),
    "depth of ten million": (["--enc_backbone_n_hidden", "10000000", "1"], ["enc_backbone_n_hidden", "equal to 100"]),
    "width of a million": (["--enc_backbone_dims", "1000000", "8"], ["enc_backbone_dims", "equal to 100000"]),
    "encoder of a million": (["--model_type", "fc_shared", "--encode_layer_dims", "1000000"], ["encode_layer_dims"]),
    "a billion facets": (["--J_n_mixtures", "1000000000"], ["J_n_mixtures = '1000000000'", "equal to 100"]),
    "a million dimensions": (["--z_j_dim_list", "1000000"], ["z_j_dim_list", "equal to 10000"]),
    "a million clusters": (["--n_clusters_j_list", "1000000"], ["n_clusters_j_list", "equal to 100000"]),
    "batch of 10^20": (["--batch_size", "1" + "0" * 20], ["batch_size = '1000", "equal to 1000000"]),
    "evaluation batch of 10^20": (["--eval_batch_size", "1" + "0" * 20], ["eval_batch_size", "equal to 1000000"]),
    "epochs without end": (
        ["--n_epochs_per_progressive_step", "1" + "0" * 20],
        ["n_epochs_per_progressive_step", "equal to"],
    ),
    "fade-in of 10^400": (["--n_batches_fade_in", "1" + "0" * 400], ["n_batches_fade_in", "equal to 1000000000"]),
    "a number of 5,000 digits": (["--batch_size", "1" * 5000], ["batch_size = '111", " ...: "]),
    "sigma of 1e300": (["--sigma_multiplier_p_x_z", "1e300"], ["sigma_multiplier_p_x_z = '1e300'", "equal to 1000000"]),
    "sigma of 1e-300": (["--sigma_multiplier_p_x_z", "1e-300"], ["sigma_multiplier_p_x_z = '1e-300'", "0.000001"]),
    "variance of 1e300": (["--fixed_var_init", "1e300"], ["fixed_var_init = '1e300'", "equal to 1000000000000"]),
    "weight of 1e300": (["--gamma_kl_z_pretrain", "1e300"], ["gamma_kl_z_pretrain", "equal to 1000000000000"]),
    "learning rate of 1e400": (["--init_lr", "1e400"], ["init_lr = '1e400'", "finite"]),
    "100,000 samples": (
        ["--n_sample_generations_per_cluster", "100000"],
        ["n_sample_generations_per_cluster", "equal to 100"],
    ),
    "100,000 examples": (["--n_examples_per_cluster", "100000"], ["n_examples_per_cluster", "equal to 100"]),
    "100,000 reconstructions": (["--n_recons_per_cluster", "100000"], ["n_recons_per_cluster", "equal to 100"]),
    "images of 10^14 pixels": (
        ["--dataset", "folder", "--image_size", "10000000"],
        ["image_size = '10000000'", "equal to 1000000"],
    ),
    "a device of 3,000 characters": (["--device", "x" * 3000], ["device = 'xxx", " ...: not a device"]),
    "no such device": (["--device", "gpu"], ["device = 'gpu'", "auto, cpu, cuda or cuda:N"]),
    "device without memory": (["--device", "meta"], ["device = 'meta'", "auto, cpu, cuda or cuda:N"]),
    "GPU beyond the last": (["--device", "cuda:99"], ["device = 'cuda:99'", "this machine has", "auto or cpu"]),
}


@pytest.mark.parametrize(("flags", "words"), FLAGS.values(), ids=FLAGS)
def test_flags_and_combinations(tmp_path, flags, words):
    assert_says(complaint(tiny(tmp_path, *flags)), *words)
    assert not list(tmp_path.iterdir())  # nothing was begun


def test_a_value_without_a_name():
    assert_says(complaint(["configs/digits.yml"]), "'configs/digits.yml'", "settings are named, as in --seed 3")


def test_cuda_without_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert_says(complaint(tiny(tmp_path, "--device", "cuda")), "device = 'cuda'", "0 GPUs", "cpu")


# --- YAML: the file's content

YAML = {
    "unknown key": (b"bacth_size: 7\n", ["unknown setting 'bacth_size'", "'batch_size'"]),
    "ill-typed value": (b"seed: [1, 2]\n", ["seed = [1, 2]", "integer"]),
    "true for a number": (b"batch_size: true\n", ["batch_size = True", "number"]),
    "mapping for a list": (b"z_j_dim_list: {a: 1}\n", ["z_j_dim_list", "list"]),
    "list at the top": (b"- seed: 1\n", ["setting: value"]),
    "text at the top": (b"seed 1\n", ["setting: value"]),
    "not YAML": (b"seed: [1\nbatch_size: }\n", ["not valid YAML", "line 2"]),
    "a date": (b"seed: 2020-13-45\n", ["seed = '2020-13-45'", "integer"]),
    "octal": (b"\nseed: 0144\n", ["not valid YAML", "line 2: 0144 is 100 in YAML", "'0144' in quotes"]),
    "hexadecimal": (b"seed: 0x1F\n", ["line 1: 0x1F is 31 in YAML"]),
    "binary number": (b"seed: 0b11\n", ["line 1: 0b11 is 3 in YAML"]),
    "minutes": (b"n_epochs: 1:30\n", ["line 1: 1:30 is 90 in YAML"]),
    "minutes with a fraction": (b"init_lr: 1:30.5\n", ["line 1: 1:30.5 is 90.5 in YAML"]),
    "a number of 5,000 digits": (b"seed: " + b"9" * 5000, ["not valid YAML", "more than 100 digits"]),
    "key twice": (b"seed: 1\nbatch_size: 7\nseed: 2\n", ["not valid YAML", "line 3: 'seed' is there twice"]),
    "key twice further down": (
        b"factors_variation_dict: {shape: [0], shape: [1]}\n",
        ["line 1: 'shape' is there twice"],
    ),
    "alias": (b"z_j_dim_list: &a [5, 5]\nn_clusters_j_list: *a\n", ["line 2: aliases are not read", "*a"]),
    "alias bomb": (
        b"a: &a [9, 9, 9, 9]\n"
        + b"".join(b"%c: &%c [*%c, *%c, *%c, *%c]\n" % (c, c, *[c - 1] * 4) for c in b"bcdefghij"),
        ["not valid YAML", "line 2: aliases are not read"],
    ),
    "merged keys": (b"<<: &a {seed: 1}\nfoo: *a\n", ["not valid YAML", "line 2: aliases are not read"]),
    "nested too deeply": (b"seed: " + b"[" * 5000, ["not valid YAML", "nested too deeply"]),
    "NUL": (b"run_name: a\x00b\n", ["not valid YAML", "x0000"]),
    "an unhashable key": (b"? [1, 2]\n: 3\n", ["not valid YAML", "line 1", "unhashable"]),
    "a tag that does not fit": (b"save_model: !!bool maybe\n", ["not valid YAML"]),
    "two documents": (b"seed: 1\n---\nseed: 2\n", ["not valid YAML", "line 2", "another document"]),
    "a megabyte": (b"# " + b"x" * 1_000_000 + b"\n", ["not valid YAML", "more than 1,000,000 bytes"]),
    "a value of 3,000 characters": (b"seed: " + b"x" * 3000, ["seed = 'xxx", " ...: should be a valid integer"]),
    "a key of 3,000 characters": (b"x" * 3000 + b": 1\n", ["line 1"]),
    "a key of 1,000 characters": (b"? " + b"x" * 1000 + b"\n: 1\n", ["unknown setting 'xxx", " ...; --help"]),
    "infinite": (b"init_lr: .inf\n", ["init_lr = inf", "finite"]),
    "an object": (b"seed: !!python/object/apply:os.getpid []\n", ["not valid YAML"]),
    "binary": (bytes(range(128, 256)), ["not valid YAML", "UTF-8"]),
}


@pytest.mark.parametrize(("content", "words"), YAML.values(), ids=YAML)
def test_yaml(tmp_path, content, words):
    path = tmp_path / "settings.yml"
    path.write_bytes(content)
    message = complaint(["--config_args_path", str(path)])
    is_a_value = re.match(r"\w+ = ", message) and "config_args_path" not in message
    assert_says(message, *words, *([] if is_a_value else [str(path)]))


def test_yaml_that_is_not_there(tmp_path):
    path = str(tmp_path / "none.yml")
    assert_says(complaint(["--config_args_path", path]), f"config_args_path = {path!r}", "no such file", "configs/")


def test_yaml_that_is_a_folder(tmp_path):
    assert_says(complaint(["--config_args_path", str(tmp_path)]), f"config_args_path = {str(tmp_path)!r}", "directory")


# --- models that do not fit into memory

LARGE = [word for name in WIDTHS for word in (name, "100000")]
GIGANTIC = {
    "layers of 100,000": [*LARGE, "--enc_backbone_n_hidden", "100"],
    "covariances of 10,000 x 10,000": [
        "--cov_type_p_z_c",
        "full",
        "--z_j_dim_list",
        "10000",
        "--n_clusters_j_list",
        "100",
    ],
}


@pytest.mark.parametrize("flags", GIGANTIC.values(), ids=GIGANTIC)
def test_models_that_do_not_fit_into_memory(tmp_path, flags):
    assert_says(complaint(tiny(tmp_path, *flags)), "parameters takes", "GiB to train, and cpu has", "smaller widths")
    assert not list(tmp_path.iterdir())


def test_the_plan_of_a_gigantic_model_takes_no_memory(tmp_path, capsys):
    assert train.main(tiny(tmp_path, *GIGANTIC["layers of 100,000"], "--dry_run")) == 0
    assert "model     2,010,034,400,102 parameters" in capsys.readouterr().out


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


def on_data(folder: Path, dataset: str, *flags: str) -> list[str]:
    return tiny(folder, "--dataset", dataset, "--data_dir", str(folder / "data"), *flags)


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


# --- own images: how to write data/, flags, words that the message must have


def pictures(*names: str, size: tuple[int, int] = (8, 8)) -> Callable[[Path], None]:
    """Writes grey pictures of these names."""

    def write(data: Path) -> None:
        for i, name in enumerate(names):
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", size, i).save(data / name)

    return write


def corrupt(data: Path) -> None:
    """Six pictures, one of which ends early and one of which is none."""
    pictures(*SIX)(data)
    os.truncate(data / "2.png", 50)
    (data / "4.png").write_text("a picture")


def archive(name: str = "a.npz", **arrays: Any) -> Callable[[Path], None]:
    """Writes an .npz of twelve images, or of the given arrays instead of some or in addition; None leaves one out."""

    def write(data: Path) -> None:
        data.mkdir(exist_ok=True)
        content = {"images": np.zeros((12, 8, 8), np.uint8)} | arrays
        np.savez(data / name, **{key: value for key, value in content.items() if value is not None})

    return write


def cut_off(data: Path) -> None:
    archive()(data)
    os.truncate(data / "a.npz", 500)


SIX = [f"{i}.png" for i in range(6)]
SMALL = ("--image_size", "8")
LADDER = ("--model_type", "conv_vlae")
TWELVE = np.arange(12)
FOLDER = {
    "no size": (pictures(*SIX), [], ["dataset = folder", "--image_size 32"]),
    "missing": (lambda _: None, SMALL, ["data: no such file or folder"]),
    "empty": (lambda data: data.mkdir(), SMALL, ["data: no images in this folder", ".png and .jpg"]),
    "no picture": (corrupt, SMALL, ["2 of 6 images cannot be read", "data/2.png", "repair or delete"]),
    "beside classes": (pictures("a/1.png", "b/2.png", "c.png"), SMALL, ["1 images such as c.png", "one per class"]),
    "splits": (
        pictures("Train/a/1.png", "val/b/2.png"),
        SMALL,
        ["data: its folders (Train, val) are no classes but splits", "name one of them by --data_dir"],
    ),
    "a file": (lambda data: data.touch(), SMALL, ["data: a file, but dataset = folder", "the folder of the pictures"]),
    "an npz": (lambda data: archive()(data), [*SMALL, "--data_dir", "{data}/a.npz"], ["a file", "use --dataset npz"]),
    "broken link": (
        lambda data: (pictures(*SIX)(data), (data / "6.png").symlink_to("none")),
        *(SMALL, ["1 of 7 images cannot be read", "data/6.png"]),
    ),
    "no picture but others": (
        lambda data: (data.mkdir(), [(data / f"a{suffix}").touch() for suffix in (".h5", ".mpg", ".wmf", ".eps")]),
        *(SMALL, ["no images in this folder"]),
    ),
    "more than the memory": (
        pictures(*SIX),
        ["--image_size", "1000000"],
        ["6 images (RGB, 1000000 x 1000000 pixels) take 16,763.8 GiB", "smaller --image_size"],
    ),
    "one image": (pictures("a.png"), SMALL, ["data: 0 of 1 images", "too few"]),
    "fewer than clusters": (
        pictures("1.png", "2.png", "3.png"),
        SMALL,
        ["n_clusters_j_list = [3, 3]", "the 2 training"],
    ),
    "too small": (pictures(*SIX), ["--image_size", "3", *LADDER], ["image_size = 3", "J_n_mixtures = 2", "at least 4"]),
}
NPZ = {
    "missing": (lambda _: None, [], ["data: no such file"]),
    "none": (lambda data: data.mkdir(), [], ["holds 0 .npz files", "--data_dir"]),
    "two": (lambda data: (archive()(data), archive("b.npz")(data)), [], ["holds 2 .npz files", "--data_dir"]),
    "cut off": (cut_off, [], ["a.npz: damaged"]),
    "no images": (archive(images=None, pictures=TWELVE), [], ["no array 'images'", "pictures"]),
    "floats": (archive(images=np.zeros((12, 8, 8))), [], ["'images' is (12, 8, 8) float64", "uint8"]),
    "pickled images": (archive(images=np.array([None] * 12)), [], ["'images' is (12,) object", "uint8"]),
    "pickled labels": (archive(labels=np.array([{}] * 12)), [], ["'labels' cannot be read", "allow_pickle=False"]),
    "too few labels": (archive(labels=TWELVE[1:]), [], ["'labels' is (11,) int64", "(12, L) for 12 images"]),
    "labels of floats": (archive(labels=TWELVE / 2), [], ["'labels' is (12,) float64", "whole numbers or texts"]),
    "too many names": (
        archive(labels=TWELVE, label_names=["a", "b"]),
        [],
        ["label_names", "must be 1 different texts"],
    ),
    "a name twice": (
        archive(labels=np.stack([TWELVE, TWELVE], 1), label_names=["a", "a"]),
        *([], ["['a', 'a']", "must be 2 different texts"]),
    ),
    "names without labels": (archive(label_names=["a"]), [], ["label_names", "must be 0"]),
    "test of another size": (archive(test_images=np.zeros((5, 8, 9), np.uint8)), [], ["(1, 8, 9)", "(1, 8, 8)"]),
    "test without labels": (
        archive(labels=TWELVE, test_images=np.zeros((5, 8, 8), np.uint8)),
        *([], ["1 labels of an image and 0 of a test image", "'test_labels'"]),
    ),
    "labels without test": (archive(test_labels=TWELVE), [], ["no array 'test_images'"]),
    "not square": (archive(images=np.zeros((12, 8, 9), np.uint8)), LADDER, ["square", "9 x 8", "--image_size"]),
    "too small": (archive(images=np.zeros((12, 3, 3), np.uint8)), LADDER, ["J_n_mixtures = 2", "3x3", "at most 1"]),
}


@pytest.mark.parametrize(
    ("dataset", "write", "flags", "words"),
    [(dataset, *case) for dataset, cases in (("folder", FOLDER), ("npz", NPZ)) for case in cases.values()],
    ids=[f"folder, {name}" for name in FOLDER] + [f"npz, {name}" for name in NPZ],
)
def test_own_images(tmp_path, dataset, write, flags, words):
    write(tmp_path / "data")
    flags = [flag.format(data=tmp_path / "data") for flag in flags]
    assert_says(complaint(on_data(tmp_path, dataset, *flags)), *words)
    assert not (tmp_path / "results").exists()


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    """Permission bits do not hold for root: os.listdir says what it would to others."""
    pictures("a/1.png", "b/2.png")(tmp_path / "data")
    closed, listdir = tmp_path / "data" / "b", os.listdir

    def refuse(path: Path) -> list[str]:
        if path == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    message = complaint(on_data(tmp_path, "folder", *SMALL))
    assert_says(message, f"{closed}: this folder cannot be read (Permission denied)")


# --- folders


def test_results_dir_that_is_a_file(tmp_path):
    (tmp_path / "results").write_text("")
    assert_says(complaint(tiny(tmp_path)), str(tmp_path / "results" / "tiny"), "cannot create", "choose another place")


def test_results_dir_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    message = complaint(tiny(tmp_path, "--results_dir", str(tmp_path / "file" / "results")))
    assert_says(message, str(tmp_path / "file" / "results"), "Not a directory", "choose another place")


def test_results_dir_without_permission(tmp_path, monkeypatch):
    """Permission bits do not hold for root, who may run the tests: os.access says what it would to others."""
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith(str(tmp_path)))
    assert_says(complaint(tiny(tmp_path)), str(tmp_path / "results" / "tiny"), "permission denied", "another place")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="ermission denied.*choose another place"):
        make_folder(tmp_path / "new")


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def write(temporary: Path) -> None:
        temporary.write_text("ne")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UserError, match=f"cannot write {path}: No space left on device; free some space"):
        write_atomically(path, write)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named_by_the_writer(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*file/new: Not a directory"):
        write_atomically(tmp_path / "file" / "new", lambda path: path.write_text("new"))


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoint.pt"])
def test_a_full_disk_during_training(tmp_path, monkeypatch, name):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    if name == "metrics.jsonl":
        (tmp_path / "results" / "tiny").mkdir(parents=True)
        monkeypatch.setattr(train.RunFolder, "forget_after", lambda *_: None)
        monkeypatch.setattr(train.RunFolder, "read_metrics", lambda _: [])  # reading /dev/full never ends
        (tmp_path / "results" / "tiny" / name).symlink_to("/dev/full")
    else:
        save = torch.save
        monkeypatch.setattr(torch, "save", lambda state, _: save(state, "/dev/full"))
    assert_says(complaint(tiny(tmp_path)), "cannot write", name, "free some space")


# --- checkpoints and the folder of an earlier run


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a finished tiny run, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    assert train.main(tiny(folder)) == 0
    return folder / "results" / "tiny"


@pytest.fixture
def earlier(finished, tmp_path) -> Path:
    """A copy of it where tiny(tmp_path) finds it."""
    folder = tmp_path / "results" / "tiny"
    folder.mkdir(parents=True)
    for path in finished.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def spoil_model(path: Path) -> None:
    """The state of a model with other widths."""
    state = torch.load(path, weights_only=True)
    state["model"] = {name: torch.zeros(3, 3) for name in state["model"]}
    torch.save(state, path)


CHECKPOINTS = {
    "truncated": (
        lambda path: os.truncate(path, path.stat().st_size // 2),
        ["is damaged", "put a copy", "--overwrite"],
    ),
    "empty": (lambda path: os.truncate(path, 0), ["is damaged", "--overwrite"]),
    "text": (lambda path: path.write_text("model"), ["is damaged", "--overwrite"]),
    "a list": (lambda path: torch.save([1, 2], path), ["not a checkpoint of this run", "--overwrite"]),
    "other keys": (
        lambda path: torch.save({"a": 1}, path),
        ["not a checkpoint of this run", "'config'", "--overwrite"],
    ),
    "another model": (spoil_model, ["not a checkpoint of this run", "size mismatch", "--overwrite"]),
}


@pytest.mark.parametrize(("spoil", "words"), CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_checkpoints(tmp_path, earlier, spoil, words):
    path = earlier / "checkpoint.pt"
    spoil(path)
    before = path.read_bytes()
    assert_says(complaint(tiny(tmp_path)), str(path), *words)
    assert path.read_bytes() == before  # the user may still mend it
    assert train.main(tiny(tmp_path, "--overwrite")) == 0


def test_a_malicious_checkpoint_does_not_run(tmp_path, earlier):
    path = earlier / "checkpoint.pt"
    torch.save(Payload(tmp_path / "payload ran"), path)
    assert_says(complaint(tiny(tmp_path)), str(path), "is damaged")
    assert not (tmp_path / "payload ran").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "payload ran").exists()  # the test's payload is one


def test_a_run_with_other_settings_names_them(tmp_path, earlier):
    before = {path: path.read_bytes() for path in earlier.iterdir()}
    message = complaint(tiny(tmp_path, "--batch_size", "100", "--seed", "1"))
    assert_says(message, str(earlier), "batch_size (512 there, 100 now)", "seed (6000 there, 1 now)", "--overwrite")
    assert "run_name (" not in message  # may differ
    assert {path: path.read_bytes() for path in earlier.iterdir()} == before


@pytest.mark.parametrize("content", [b"- 1\n", b"a: [\n", bytes(range(128, 256)), b""])
def test_a_run_whose_settings_cannot_be_read(tmp_path, earlier, content):
    (earlier / "config.yml").write_bytes(content)
    assert_says(complaint(tiny(tmp_path)), str(earlier / "config.yml"), "cannot be read", "--overwrite", "--run_name")


METRICS = {
    "zeros": b"\0" * 100,
    "a list": b"[1]",
    "a number": b"7",
    "null": b"null",
    "no epoch": b'{"loss": 1.0}',
    "an epoch in words": b'{"epoch": "0"}',
    "a list of losses": b'{"epoch": 0, "loss": [1.0]}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("line", METRICS.values(), ids=METRICS)
def test_a_run_whose_metrics_are_lost(tmp_path, earlier, line):
    """The first of its lines, or the second."""
    path = earlier / "metrics.jsonl"
    first, second = path.read_bytes().splitlines()
    for n_whole, content in ((0, [line, second]), (1, [first, line]), (2, [second, first])):
        path.write_bytes(b"\n".join(content))
        assert_says(complaint(tiny(tmp_path)), str(path), f"{n_whole} of the 2 epochs", "--overwrite")


# --- a run that fails does not stand in the way of the corrected command


def test_a_loss_that_is_not_a_number(tmp_path):
    flags = ("--batch_size", "16")
    message = complaint(tiny(tmp_path, *flags, "--init_lr", "1e10"))
    assert_says(message, "the loss is", "epoch 1", "lower --init_lr")
    message = complaint(tiny(tmp_path, *flags))  # the run has begun: nothing of it is deleted unasked
    assert_says(message, "init_lr (10000000000.0 there, 0.0005 now)", "--overwrite")
    assert train.main(tiny(tmp_path, *flags, "--overwrite")) == 0


ADVICE = {
    "same images": ({"data_init": True}, "fp32", True, "all images are the same, which data_init cannot scale"),
    "large steps": ({"init_lr": 0.5}, "bf16", False, "init_lr = 0.5 is large: .* a lower --init_lr, 5e-4 say"),
    "few digits": ({}, "bf16", False, "--precision fp32, or a lower --init_lr"),
    "anything": ({}, "fp32", True, r"a lower --init_lr \(now 0.0005\), or a larger sigma_multiplier_p_x_z"),
}


@pytest.mark.parametrize(("settings", "precision", "is_constant", "words"), ADVICE.values(), ids=ADVICE)
def test_advice_on_a_loss_names_what_is_likely(settings, precision, is_constant, words):
    images = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    if not is_constant:
        images[0] = 1
    assert re.search(words, advice_on_loss(build_config(settings), precision, images))


def test_a_path_below_the_users_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "settings.yml"
    path.write_text("data_dir: ~/images\n")
    config = load_config(["--config_args_path=~/settings.yml", "--results_dir", "~/runs"])
    assert (config.data_dir, config.results_dir) == (f"{tmp_path}/images", f"{tmp_path}/runs")
    parser = FlagParser("")
    parser.add_argument("--output", type=Path)
    assert parser.parse_args(["--output=~/a.csv"]).output == tmp_path / "a.csv"
    assert expand_home("--name=a~b") == "--name=a~b"


def test_a_backend_of_matplotlib_that_does_not_exist(tmp_path):
    environment = os.environ | {"MPLBACKEND": "nonsense"}
    command = [sys.executable, str(ROOT / "train.py"), *tiny(tmp_path, "--dry_run", "--n_batches_fade_in", "1")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_leftovers_of_a_killed_process_go_unless_it_may_still_write(tmp_path):
    old, new, other = (tmp_path / name for name in (".t[1].csv.7.8.tmp", ".t[1].csv.9.8.tmp", ".u.csv.7.8.tmp"))
    for path in (old, new, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (0, 0))
    write_atomically(tmp_path / "t[1].csv", Path.touch)
    assert [path.exists() for path in (old, new, other)] == [False, True, True]


def test_data_that_were_missing(tmp_path):
    argv = on_data(tmp_path, "fast_svhn", "--batch_size", "6")
    write_svhn(tmp_path / "data", 12, 5)
    (tmp_path / "data" / "test_32x32.mat").rename(tmp_path / "elsewhere.mat")
    (tmp_path / "data" / "test_32x32.mat").write_text("")
    complaint(argv)
    assert not (tmp_path / "results").exists()
    (tmp_path / "elsewhere.mat").replace(tmp_path / "data" / "test_32x32.mat")
    assert train.main(argv) == 0


def test_a_run_that_failed_before_its_first_checkpoint(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(train.Training, "initialise", lambda *_: (_ for _ in ()).throw(UserError("stopped")))
        assert complaint(tiny(tmp_path, "--seed", "1")) == "stopped"
    folder = tmp_path / "results" / "tiny"
    assert train.main(tiny(tmp_path, "--seed", "2")) == 0
    assert yaml.safe_load((folder / "config.yml").read_text())["seed"] == 2


def test_an_error_is_one_line_of_a_length_that_can_be_read():
    assert str(UserError("why:\n  a  b\n c")) == "why: a  b c"
    assert len(str(UserError("x" * 10**6))) < 4000


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("No module named 'optuna'"), TypeError("Descriptors cannot\nbe")]
)
def test_an_optional_package_that_is_absent_or_broken_is_named(error):
    words = "--backend optuna needs the package optuna, which cannot be imported .*pip"
    with pytest.raises(UserError, match=words), needed("optuna", "--backend optuna"):
        raise error


# --- as a program


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--bacth_size", "7"], "did you mean '--batch_size'?"),
        pytest.param(["--n_clusters_j_list", "3", "9999"], "use fewer clusters", marks=pytest.mark.slow),
        pytest.param(["--overwrite", "--results_dir", "/dev/null"], "cannot create the folder", marks=pytest.mark.slow),
    ],
)
def test_the_program_says_one_line_and_exits_with_2(tmp_path, flags, words):
    command = [sys.executable, str(ROOT / "train.py"), *tiny(tmp_path, *flags)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=100, check=False)
    assert done.returncode == 2
    assert re.fullmatch(r"error: [^\n]+\n", done.stderr)
    assert words in done.stderr
