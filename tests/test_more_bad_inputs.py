"""Nasty inputs over every script: each is refused in one line, before anything is trained, and within seconds."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from test_bad_inputs import pictures, tiny
from test_eval_scripts import tiny_model
from test_train import NO_FIGURES, UNSEEDED

import train
from sweeps import processes
from utils import UserError

HERE = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"), 2)


@pytest.fixture(autouse=True)
def _nothing_is_trained_and_nothing_hangs(monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(train, "Training", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr(processes, "run_workers", lambda *_: pytest.fail("started workers"))
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("hangs"))
    signal.alarm(60)
    yield
    signal.alarm(0)


# --- files that are no files, or hold something else


def pipe(name: str) -> Callable[[Path], object]:
    """A named pipe, to which nobody writes."""
    return lambda d: ((d / name).parent.mkdir(parents=True, exist_ok=True), os.mkfifo(d / name))


def text(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda d: ((d / name).parent.mkdir(parents=True, exist_ok=True), (d / name).write_bytes(content))


def folder(name: str) -> Callable[[Path], object]:
    return lambda d: (d / name).mkdir(parents=True)


def npz(**arrays: object) -> Callable[[Path], object]:
    return lambda d: np.savez(d / "a.npz", **arrays)


def zipped(*names: str, content: bytes = b"x") -> Callable[[Path], object]:
    """An .npz whose members hold these bytes."""

    def write(d: Path) -> None:
        with zipfile.ZipFile(d / "a.npz", "w") as archive:
            for name in names:
                archive.writestr(name, content)

    return write


def encrypted(d: Path) -> None:
    """An .npz whose member says that it is encrypted."""
    np.savez(d / "a.npz", images=np.zeros((3, 8, 8), np.uint8))
    content = bytearray((d / "a.npz").read_bytes())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + place] |= 1
    (d / "a.npz").write_bytes(content)


def npy(shape: str, descr: str = "'|u1'", data: bytes = b"") -> bytes:
    """A member of an .npz with this header."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data


def torch_file(content: object) -> Callable[[Path], object]:
    return lambda d: torch.save(content, d / "m.pt")


def nested_labels(content: bytes) -> Callable[[Path], object]:
    """Twelve pictures with this labels.csv."""
    return lambda d: (
        pictures(*TWELVE)(d / "data"),
        (d / "data" / "labels.csv").write_bytes(content),
    )


def copied_model(d: Path, model: Path) -> Path:
    shutil.copy(model, d / "copy.pt")
    return d / "copy.pt"


def nothing(d: Path) -> None:
    """Nothing is needed."""


TWELVE = [f"{i}.png" for i in range(12)]
OWN = ["--dataset", "folder", "--data_dir", "{d}/data", "--image_size", "8"]
NPZ = ["--dataset", "npz", "--data_dir", "{d}/a.npz"]
PREDICT = ["--model_path", "{model}", "--output", "{d}/out.csv", "--images"]
YAML = ["--config_args_path", "{d}/a.yml"]
START = [*UNSEEDED, *NO_FIGURES, "--backend", "optuna", "--results_dir", "{d}", "--seeds", "0"]
SWEEP = [*UNSEEDED, *NO_FIGURES, "--backend", "optuna", "--results_dir", "{d}", "--sweep_config", "{d}/s.yml"]
JOIN = [*UNSEEDED, *NO_FIGURES, "--backend", "optuna", "--results_dir", "{d}", "--sweep_id"]
EVAL = ["--model_path", "{model}", "--results_dir", "{d}/figures"]

CASES: dict[str, tuple[str, Callable[[Path], object], list[str], list[str]]] = {
    # train: words
    "whole number in floating point": ("train", nothing, ["--seed", "1e3"], ["seed = '1e3'"]),
    "hexadecimal seed": ("train", nothing, ["--seed", "0x10"], ["seed = '0x10'"]),
    "a number that underflows": ("train", nothing, ["--init_lr", "1e-400"], ["init_lr", "greater than 0"]),
    "a number in C's hexadecimal": ("train", nothing, ["--init_lr", "0x1p-3"], ["init_lr = '0x1p-3'"]),
    "more clusters than images": ("train", nothing, ["--n_clusters_j_list", "3", "9999"], ["use fewer clusters"]),
    "no list": ("train", nothing, ["--z_j_dim_list", "null"], ["z_j_dim_list"]),
    "truth in a list": ("train", nothing, ["--z_j_dim_list", "true", "true"], ["z_j_dim_list"]),
    "a name with a line end": ("train", nothing, ["--run_name", "a\nb"], ["run_name"]),
    "a name of blanks": ("train", nothing, ["--run_name", "   "], ["run_name"]),
    "a name with a control code": ("train", nothing, ["--run_name", "a\x1b[2Jb"], ["run_name"]),
    "a negative GPU": ("train", nothing, ["--device", "cuda:-1"], ["device = 'cuda:-1'"]),
    "a device that we do not use": ("train", nothing, ["--device", "mps"], ["device = 'mps'", "auto"]),
    "no device": ("train", nothing, ["--device", ""], ["device = ''"]),
    # train: files
    "settings without end": ("train", nothing, ["--config_args_path", "/dev/zero"], ["/dev/zero"]),
    "settings in UTF-16": ("train", text("a.yml", "seed: 1".encode("utf-16")), YAML, ["a.yml", "UTF-8"]),
    "settings indented by tabs": ("train", text("a.yml", b"seed:\n\t1\n"), YAML, ["a.yml", "line 2"]),
    "not a number in YAML": ("train", text("a.yml", b"init_lr: .nan\n"), YAML, ["init_lr = nan"]),
    "bytes in YAML": (
        "train",
        text("a.yml", b"run_name: !!binary aGFsbG8=\n"),
        YAML,
        ["line 1: binary is not read here"],
    ),
    "a set in YAML": ("train", text("a.yml", b"z_j_dim_list: !!set {2, 3}\n"), YAML, ["line 1: set is not read here"]),
    "a key that is no text": ("train", text("a.yml", b"1: 2\n"), YAML, ["a.yml"]),
    "a picture from a pipe": ("train", pipe("data/1.png"), OWN, ["data"]),
    "a folder that is a pipe": ("train", pipe("data"), OWN, ["data"]),
    "labels from a pipe": (
        "train",
        lambda d: (pictures(*TWELVE)(d / "data"), os.mkfifo(d / "data" / "labels.csv")),
        OWN,
        ["labels.csv"],
    ),
    "labels.csv is a folder": (
        "train",
        lambda d: (pictures(*TWELVE)(d / "data"), (d / "data/labels.csv").mkdir()),
        OWN,
        ["labels.csv"],
    ),
    "labels without end of a quote": ("train", nested_labels(b'file,a\n"0.png,1\n'), OWN, ["labels.csv"]),
    "labels of NUL": ("train", nested_labels(b"file,a\n0.png,\x00\n"), OWN, ["labels.csv"]),
    "a field of a megabyte": ("train", nested_labels(b"file,a\n0.png," + b"x" * 10**6 + b"\n"), OWN, ["labels.csv"]),
    "an npz from a pipe": ("train", pipe("a.npz"), NPZ, ["a.npz"]),
    "an encrypted npz": ("train", encrypted, NPZ, ["a.npz"]),
    "an npz of no arrays": ("train", zipped("images.txt"), NPZ, ["a.npz"]),
    "an npz whose array is text": ("train", zipped("images.npy"), NPZ, ["a.npz"]),
    "an npz with a negative shape": ("train", zipped("images.npy", content=npy("(-3, 8, 8)")), NPZ, ["a.npz"]),
    "an npz whose shape is code": (
        "train",
        zipped("images.npy", content=npy("__import__('os').getpid()")),
        NPZ,
        ["a.npz"],
    ),
    "an npz of named fields": ("train", npz(images=np.zeros((12, 8, 8), [("a", "u1")])), NPZ, ["'images'"]),
    "an npz of no images": ("train", npz(images=np.zeros((0, 8, 8), np.uint8)), NPZ, ["a.npz"]),
    "an npz of one number": ("train", npz(images=np.uint8(3)), NPZ, ["'images'"]),
    "an npz of times": ("train", npz(images=np.zeros((12, 8, 8), "datetime64[s]")), NPZ, ["'images'"]),
    "an npz of images without pixels": ("train", npz(images=np.zeros((12, 0, 8), np.uint8)), NPZ, ["a.npz"]),
    # predict
    "the table would replace the model": (
        "predict",
        nothing,
        ["--model_path", "{copy}", "--output", "{copy}", "--images", "{d}"],
        ["copy.pt"],
    ),
    "the table is a folder": (
        "predict",
        lambda d: ((d / "out.csv").mkdir(), pictures("1.png")(d)),
        [*PREDICT, "{d}/1.png"],
        ["out.csv"],
    ),
    "no name of a table": (
        "predict",
        pictures("1.png"),
        ["--model_path", "{model}", "--output", "", "--images", "{d}/1.png"],
        ["--output"],
    ),
    "no images named": ("predict", nothing, [*PREDICT, ""], ["no images"]),
    "an image from a pipe": ("predict", pipe("1.png"), [*PREDICT, "{d}/1.png"], ["1.png"]),
    "a folder and an npz": (
        "predict",
        lambda d: (npz(images=np.zeros((3, 8, 8), np.uint8))(d), pictures("1.png")(d / "f")),
        [*PREDICT, "{d}/f", "{d}/a.npz"],
        ["a.npz"],
    ),
    "complex images": ("predict", npz(images=np.zeros((3, 8, 8), np.complex64)), [*PREDICT, "{d}/a.npz"], ["a.npz"]),
    "no megapixels": ("predict", nothing, [*PREDICT, "{d}", "--max_megapixels", "0"], ["--max_megapixels"]),
    "a model from a pipe": (
        "predict",
        pipe("m.pt"),
        ["--model_path", "{d}/m.pt", "--output", "{d}/o.csv", "--images", "{d}"],
        ["m.pt"],
    ),
    "a model that is a folder": (
        "predict",
        folder("m.pt"),
        ["--model_path", "{d}/m.pt", "--output", "{d}/o.csv", "--images", "{d}"],
        ["m.pt"],
    ),
    # models
    "a model of a list": ("load_model", torch_file([1, 2]), ["--model_path", "{d}/m.pt"], ["m.pt", "not a model"]),
    "weights without names": (
        "load_model",
        torch_file({"state_dict": {1: torch.zeros(2)}, "config": {}}),
        ["--model_path", "{d}/m.pt"],
        ["m.pt"],
    ),
    "settings that are numbers": (
        "load_model",
        torch_file({"state_dict": {}, "config": {1: 2}}),
        ["--model_path", "{d}/m.pt"],
        ["m.pt"],
    ),
    "a model that holds itself": (
        "load_model",
        lambda d: torch.save(
            (lambda x: (x.append(x), {"state_dict": {"a": x}, "config": {"z_j_dim_list": x}})[1])([]), d / "m.pt"
        ),
        ["--model_path", "{d}/m.pt"],
        ["m.pt"],
    ),
    "an export over a folder": (
        "load_model",
        folder("out"),
        ["--model_path", "{model}", "--export_published", "{d}/out"],
        ["out"],
    ),
    # evaluation
    "figures into a file": ("eval_all", text("figures", b""), EVAL, ["figures"]),
    "a facet that is not there": ("eval_compositionality", nothing, [*EVAL, "--swapped_facet", "7"], ["swapped_facet"]),
    "a temperature that is no number": (
        "eval_sample_generation",
        nothing,
        [*EVAL, "--temperature", "nan"],
        ["--temperature"],
    ),
    "a temperature beyond all numbers": (
        "eval_sample_generation",
        nothing,
        [*EVAL, "--temperature", "1e999"],
        ["--temperature"],
    ),
    "a format that nobody draws": (
        "eval_top10_cluster_examples",
        nothing,
        [*EVAL, "--formats", "gif"],
        ["--formats", "gif"],
    ),
    "a split that does not exist": ("eval_top10_cluster_examples", nothing, [*EVAL, "--split", "valid"], ["--split"]),
    "a seed beyond counting": ("eval_all", nothing, [*EVAL, "--seed", "9" * 5000], ["--seed"]),
    "a batch of nothing": ("eval_all", nothing, [*EVAL, "--batch_size", "0"], ["--batch_size"]),
    "a published model that nobody has": ("eval_all", nothing, [*EVAL, "--published", "cifar"], ["--published"]),
    # sweeps
    "a sweep that is a folder": ("start_sweep", folder("s.yml"), SWEEP, ["s.yml"]),
    "a sweep of bytes": ("start_sweep", text("s.yml", bytes(range(128, 256))), SWEEP, ["s.yml"]),
    "a sweep without a name": ("start_sweep", nothing, [*START, "--sweep_name", ""], ["--sweep_name"]),
    "a sweep's name of 300 letters": (
        "start_sweep",
        nothing,
        [*START, "--sweep_name", "x" * 300],
        ["cannot create the folder"],
    ),
    "a hundred million workers": ("start_sweep", nothing, [*START, "--workers", "100000000"], ["--workers"]),
    "no patience": ("start_sweep", nothing, [*START, "--patience", "0"], ["--patience"]),
    "a data base that is a folder": ("start_sweep", nothing, [*START, "--storage", "sqlite:///{d}"], ["--storage"]),
    "a data base that is a text": (
        "start_sweep",
        text("a.db", b"a text, no data base" * 100),
        [*START, "--storage", "sqlite:///{d}/a.db"],
        ["--storage"],
    ),
    "no sweep to join": ("attach_sweep", nothing, [*JOIN, ""], ["--sweep_id"]),
    "a sweep to join elsewhere": ("attach_sweep", nothing, [*JOIN, "../x"], ["'../x'"]),
    "an experiment of another paper": ("reproduce", nothing, ["cifar"], ["cifar"]),
    "experiments without end": ("reproduce", nothing, ["svhn", "--seeds", "0", "..", "9" * 30], ["--seeds"]),
    # rendering and the figure of the introduction
    "a rendering into a folder": ("render_3dshapes", folder("o.h5"), ["--output", "{d}/o.h5", "--overwrite"], ["o.h5"]),
    "frames that are a text": (
        "render_3dshapes",
        text("r.npz", b"frames"),
        ["--compare_with", "{d}/r.npz", "--figure", "{d}/f.png"],
        ["r.npz"],
    ),
    "frames from a pipe": (
        "render_3dshapes",
        pipe("r.npz"),
        ["--compare_with", "{d}/r.npz", "--figure", "{d}/f.png"],
        ["r.npz"],
    ),
    "frames of other arrays": (
        "render_3dshapes",
        npz(a=np.zeros(3)),
        ["--compare_with", "{d}/a.npz", "--figure", "{d}/f.png"],
        ["a.npz"],
    ),
    "frames that are not there": (
        "render_3dshapes",
        nothing,
        ["--compare_with", "{d}/r.npz", "--figure", "{d}/f.png"],
        ["r.npz"],
    ),
    "an introduction into a file": ("plot_intuition", text("o", b""), ["--output_dir", "{d}/o"], ["o"]),
    "an introduction of a fraction": ("plot_intuition", nothing, ["--seed", "1.5"], ["--seed"]),
}


@pytest.mark.parametrize("name", CASES)
def test_one_line_says_what_is_wrong(tmp_path, monkeypatch, model, name):
    script, prepare, flags, words = CASES[name]
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    copy = copied_model(tmp_path, model)
    before = copy.read_bytes()
    argv = [
        flag.replace("{d}", str(tmp_path)).replace("{model}", str(model)).replace("{copy}", str(copy)) for flag in flags
    ]
    if script == "train":
        argv = tiny(tmp_path, *argv)
    with pytest.raises(UserError) as caught:
        importlib.import_module(script).main(argv)
    message = str(caught.value)
    print(message)
    assert len(message.splitlines()) == 1 and len(message) < 1000 and message.isprintable()
    assert [word for word in words if word not in message] == [], message
    assert copy.read_bytes() == before
