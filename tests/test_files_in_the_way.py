"""Files that are not what they should be, where something is to be read or written: one line, and nothing is lost."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import optuna
import pytest
import torch
from PIL import Image
from test_bad_inputs import pictures, tiny
from test_train import NO_FIGURES, UNSEEDED

import train
from multi_facet_clustering import MultiFacetClustering
from utils import UserError, n_processes, write_atomically

HERE = Path(__file__).resolve().parent.parent
KEPT = ["--save_model", "true", "--copy_model", "false", "--report", "false"]
LONGER = [*KEPT, "--n_epochs_per_progressive_step", "1", "2"]
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _nothing_hangs() -> Iterator[None]:
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("hangs"))
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a finished tiny run, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    assert train.main(tiny(folder, *KEPT)) == 0
    return folder / "results" / "tiny"


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A copy of it where tiny(tmp_path) finds it."""
    return shutil.copytree(finished, tmp_path / "results" / "tiny")


def refusal(script: str, *argv: str) -> str:
    """The one line that a script says about words that cannot work."""
    with pytest.raises(UserError) as caught:
        importlib.import_module(script).main([*argv])
    message = str(caught.value)
    assert len(message.splitlines()) == 1 and len(message) < 1000 and message.isprintable()
    return message


# --- pipes and devices in the place of files

OWN = ["--data_dir", "{d}/data", "--image_size", "none"]
PREDICT = ["--model_path", "{m}", "--output", "{d}/o.csv", "--images"]
PIPES: dict[str, tuple[str, str, list[str]]] = {
    "images.npy": ("train", "data/images.npy", ["--dataset", "npy", *OWN]),
    "an HDF5 file": ("train", "data/a.h5", ["--dataset", "hdf5", *OWN]),
    "SVHN": ("train", "data/train_32x32.mat", ["--dataset", "fast_svhn", "--data_dir", "{d}/data"]),
    "3DShapes": ("train", "Fast_3DShapes/raw/3dshapes.h5", ["--dataset", "fast_3dshapes", "--data_dir", "{d}"]),
    "checkpoint.pt": ("train", "results/tiny/checkpoint.pt", []),
    "metrics.jsonl": ("train", "results/tiny/metrics.jsonl", []),
    "config.yml": ("train", "results/tiny/config.yml", []),
    "names": ("predict", "names.json", [*PREDICT, "{d}", "--names", "{d}/names.json"]),
    "an array to predict": ("predict", "a.npy", [*PREDICT, "{d}/a.npy"]),
    "HDF5 to predict": ("predict", "a.h5", [*PREDICT, "{d}/a.h5"]),
}


@pytest.mark.parametrize("name", PIPES)
def test_a_pipe_is_not_waited_for(name, tmp_path, finished):
    script, place, flags = PIPES[name]
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(tmp_path / place)
    words = [flag.replace("{d}", str(tmp_path)).replace("{m}", str(finished / "save_dict.pt")) for flag in flags]
    message = refusal(script, *(tiny(tmp_path, *words) if script == "train" else words))
    assert f"{tmp_path / place}: a pipe or a device; a file is needed" in message


# --- outputs that would replace something else


def picture(path: Path) -> None:
    Image.new("L", (8, 8)).save(path, "PNG")


def some_text(path: Path) -> None:
    path.write_text("file,label\n1.png,2\n")


REPLACED: dict[str, tuple[str, list[str], Callable[[Path], object] | None]] = {
    "a model called .csv": ("o.csv", ["predict", "--images", "{d}/i", "--output"], None),
    "a model called .npz": ("o.npz", ["predict", "--images", "{d}/i", "--output"], None),
    "a picture called .json": ("o.json", ["predict", "--images", "{d}/i", "--output"], picture),
    "a table of labels": ("labels.csv", ["predict", "--images", "{d}/i", "--output"], some_text),
    "a pipe": ("o.csv", ["predict", "--images", "{d}/i", "--output"], os.mkfifo),
    "a picture, by an export": ("o.pt", ["load_model", "--export_published"], picture),
    "a folder, by an export": ("o.pt", ["load_model", "--export_published"], Path.mkdir),
    "a model, by a page": ("o.html", ["report", "--output"], None),
    "a model, by tune.py": ("o.yml", ["tune", "--output"], None),
    "other settings, by tune.py": ("o.yml", ["tune", "--output"], some_text),
    "a folder, by tune.py": ("o.yml", ["tune", "--output"], Path.mkdir),
}


@pytest.mark.parametrize("name", REPLACED)
def test_only_what_is_of_the_same_kind_is_replaced(name, tmp_path, finished):
    file, (script, *flags), write = REPLACED[name]
    model, path = finished / "save_dict.pt", tmp_path / file
    pictures("i/1.png")(tmp_path)
    write(path) if write else shutil.copy(model, path)
    before = path.read_bytes() if path.is_file() else None
    words = [flag.replace("{d}", str(tmp_path)) for flag in flags] + [str(path)]
    start = [
        "--config_args_path",
        str(HERE / "configs/folder.yml"),
        "--dataset",
        "digits",
        "--results_dir",
        str(tmp_path),
    ]
    message = refusal(script, *words, *(start if script == "tune" else ["--model_path", str(model)]))
    assert f"{path}: " in message and ("is not replaced" in message or "there is a folder" in message)
    assert before is None or path.read_bytes() == before


def test_a_pipe_or_device_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe: a pipe or a device; a file is needed in its place"):
        write_atomically(tmp_path / "pipe", Path.touch)
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("suffix", ["csv", "json", "npz"])
def test_a_table_is_replaced_by_a_later_one(suffix, tmp_path, finished):
    pictures("i/1.png")(tmp_path)
    words = ["--model_path", str(finished / "save_dict.pt"), "--output", str(tmp_path / f"o.{suffix}"), "--images"]
    for _ in range(2):
        assert importlib.import_module("predict").main([*words, str(tmp_path / "i")]) == 0


def test_a_model_is_not_replaced_by_itself_in_another_layout(run):
    path = str(run / "save_dict.pt")
    assert "the model itself" in refusal("load_model", "--model_path", path, "--export_published", path)


def test_a_run_does_not_delete_what_it_continues_from(run, tmp_path):
    before = (run / "save_dict.pt").read_bytes()
    words = ["--continue_from", str(run / "save_dict.pt"), "--do_progressive_training", "false", "--overwrite"]
    assert "--overwrite would delete it; choose another --run_name" in refusal("train", *tiny(tmp_path, *words))
    assert (run / "save_dict.pt").read_bytes() == before


def test_an_estimator_replaces_nothing_but_models_and_pages(finished, tmp_path):
    picture(tmp_path / "p.png")
    before, clustering = (tmp_path / "p.png").read_bytes(), MultiFacetClustering.load(finished / "save_dict.pt")
    for write in (clustering.save, lambda path: clustering.report(IMAGES, path)):
        with pytest.raises(ValueError, match="is not replaced; choose another name"):
            write(tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes() == before


# --- the folder of a run


def test_changed_numbers_of_earlier_epochs_are_noticed(run, tmp_path):
    """Both where the run goes on and where it has finished; the settings that are there stay."""
    path = run / "metrics.jsonl"
    path.write_text(path.read_text().replace('"epoch_lr": 0.0005', '"epoch_lr": 0.0004', 1))
    settings = (run / "config.yml").read_text()
    for flags in (KEPT, LONGER):
        message = refusal("train", *tiny(tmp_path, *flags))
        assert f"{path} is not what checkpoint.pt had seen; put a copy of both in their place" in message
    assert (run / "config.yml").read_text() == settings


def with_short_moments(state: dict) -> dict:
    """The state with moments of another shape, with which Adam would read foreign memory."""
    for moments in state["optimizer"]["state"].values():
        moments["exp_avg"] = torch.zeros(2)
    return state


FIELDS: dict[str, Callable[[dict], dict]] = {
    "epoch": lambda state: state | {"epoch": -7},
    "epoch of another kind": lambda state: state | {"epoch": torch.zeros(3)},
    "n_epochs_planned": lambda state: state | {"n_epochs_planned": "a"},
    "sigma_x": lambda state: state | {"sigma_x": "a"},
    "codes": lambda state: state | {"codes": torch.zeros(3)},
    "codes beyond the clusters": lambda state: state | {"codes": torch.full((1437, 2), 99)},
    "facts": lambda state: state | {"data_facts": [1]},
    "moments": with_short_moments,
    "weights": lambda state: state | {"model": {name: w.double() for name, w in state["model"].items()}},
    "NaN": lambda state: state | {"model": {name: w * torch.nan for name, w in state["model"].items()}},
    "random state": lambda state: state | {"random": torch.zeros(3, dtype=torch.uint8)},
}


@pytest.mark.parametrize("name", FIELDS)
def test_fields_of_a_checkpoint_that_are_not_what_they_should_be(name, run, tmp_path):
    path = run / "checkpoint.pt"
    torch.save(FIELDS[name](torch.load(path, weights_only=True)), path)
    message = refusal("train", *tiny(tmp_path, *LONGER))
    assert f"{path} is not a checkpoint of this run" in message


# --- caches and arrays


@pytest.mark.parametrize("name", ["pixels", "lock", "names", "fraction", "depth", "folder"])
def test_a_cache_that_will_not_do(name, tmp_path):
    pictures("1.png", "2.png", *[f"{i}.png" for i in range(3, 12)])(tmp_path / "data")
    words = tiny(tmp_path, "--dataset", "folder", *OWN[:2], "--image_size", "8", "--images_in", "disk")
    words = [word.replace("{d}", str(tmp_path)) for word in words]
    assert train.main([*words, "--report", "false"]) == 0
    [cache] = (tmp_path / "results" / "image_cache").iterdir()
    state = json.loads((cache / "state.json").read_text())["content"]
    spoil = {
        "pixels": lambda: (cache / "images.npy").write_bytes((cache / "images.npy").read_bytes()[:-1] + b"\x7f"),
        "lock": lambda: ((cache / ".lock").unlink(missing_ok=True), (cache / ".lock").mkdir()),
        "names": lambda: (cache / "state.json").write_text(json.dumps(state | {"unreadable": [3]})),
        "fraction": lambda: (cache / "state.json").write_text(json.dumps(state | {"n_read": 10.5})),
        "depth": lambda: (cache / "state.json").write_text("[" * 100_000),
        "folder": lambda: ((cache / "state.json").unlink(), (cache / "state.json").mkdir()),
    }
    spoil[name]()
    said = {"pixels": "its pixels do not have their checksum", "lock": "choose another --cache_dir"}
    assert said.get(name, "its state.json is damaged; delete this folder") in refusal("train", *words)


def test_a_shape_that_only_looks_like_numbers(tmp_path):
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (True, 8, 8), }".ljust(117) + "\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(64)
    (tmp_path / "images.npy").write_bytes(content)
    words = ["--dataset", "npy", "--data_dir", str(tmp_path), "--image_size", "none"]
    assert "images.npy: damaged or not a .npy (its shape is (True, 8, 8))" in refusal("train", *tiny(tmp_path, *words))


@pytest.mark.parametrize("content", ["h5py.Empty", "compound", "group", "vlen"])
def test_hdf5_without_an_array_of_pixels(content, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        if content == "h5py.Empty":
            file["images"] = h5py.Empty("u1")
        elif content == "compound":
            file["images"] = np.zeros((20, 8, 8), [("r", "u1"), ("g", "u1")])
        elif content == "group":
            file.create_group("images")
        else:
            file.create_dataset("images", (20,), dtype=h5py.vlen_dtype(np.uint8))
    words = ["--dataset", "hdf5", "--data_dir", str(tmp_path / "a.h5"), "--image_size", "none"]
    assert "a.h5: " in refusal("train", *tiny(tmp_path, *words))


# --- where nothing is named, and where other processes are


@pytest.mark.parametrize("flag", ["--data_dir", "--results_dir", "--cache_dir", "--continue_from"])
def test_a_variable_of_a_shell_that_was_never_set_is_no_folder(flag, tmp_path):
    assert f"{flag[2:]} = ''" in refusal("train", *tiny(tmp_path, flag, ""))


def test_a_name_with_nul_in_a_yaml_file(tmp_path):
    (tmp_path / "a.yml").write_text('results_dir: "a\\0b"\n')
    words = [*tiny(tmp_path)[:-2], "--config_args_path", str(tmp_path / "a.yml")]
    assert "cannot create the folder a\\x00b" in refusal("train", *words)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WORLD_SIZE", "abc", "WORLD_SIZE = 'abc': not as torchrun sets it"),
        ("RANK", "5", "RANK = 5, WORLD_SIZE = 2"),
        ("LOCAL_RANK", "x", "LOCAL_RANK = 'x'"),
        ("MASTER_PORT", "-1", "MASTER_PORT = '-1'"),
    ],
)
def test_an_environment_that_is_not_torchruns(monkeypatch, name, value, words):
    for known, usual in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(known, usual)
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=words):
        n_processes()


def test_processes_that_cannot_be_joined(tmp_path, monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    assert "MASTER_PORT expected, but not set); start them by torchrun" in refusal("train", *tiny(tmp_path))


def old_tables(url: str) -> None:
    """A data base as a version of Optuna made it that is long gone."""
    optuna.create_study(study_name="digits_sweep", storage=url)
    with optuna.storages.RDBStorage(url).engine.begin() as connection:
        connection.exec_driver_sql("update alembic_version set version_num = 'v0.9.0.a'")


DATABASES: dict[str, tuple[Callable[[str], object], str]] = {
    "of another version": (old_tables, "no longer compatible with the table schema"),
    "of another search": (
        lambda url: optuna.create_study(study_name="digits_sweep", storage=url, direction="maximize"),
        "is not a sweep; use another --sweep_name or --storage",
    ),
    "of other settings": (
        lambda url: optuna.create_study(study_name="digits_sweep", storage=url).set_user_attr("settings", [1]),
        "is not a sweep; use another --sweep_name or --storage",
    ),
}


@pytest.mark.parametrize("name", DATABASES)
def test_a_data_base_that_holds_no_sweep(name, tmp_path):
    url = f"sqlite:///{tmp_path / 'a.db'}"
    make, words = DATABASES[name]
    make(url)
    flags = [*UNSEEDED, *NO_FIGURES, "--results_dir", str(tmp_path), "--seeds", "0", "--backend", "optuna"]
    assert words in refusal("start_sweep", *flags, "--storage", url)


def test_a_data_base_that_no_other_worker_sees(tmp_path):
    flags = [*UNSEEDED, *NO_FIGURES, "--results_dir", str(tmp_path), "--backend", "optuna", "--workers", "2"]
    assert "in memory, which no other worker sees" in refusal("start_sweep", *flags, "--storage", "sqlite://")


@pytest.mark.parametrize(
    ("flag", "value"), [("--max_clusters", "1"), ("--max_facets", "1000"), ("--workers", "1000000")]
)
def test_numbers_with_which_nothing_can_be_searched(flag, value):
    assert f"argument {flag}: " in refusal("tune", "--dataset", "digits", flag, value)
