"""A bit that has changed in a file that is read back is noticed, or makes no difference."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import torch
from conftest import damaged_copies
from test_bad_inputs import pictures, tiny
from test_train import NO_FIGURES, UNSEEDED, metrics_of

import train
from config import build_config, parse_flags
from datasets import load_dataset
from readers.threedshapes import read_3dshapes
from rendering.hdf5_file import write_file
from sweeps.definition import define_sweep
from sweeps.optuna_backend import OptunaSweep
from sweeps.results import RunResult
from sweeps.wandb_backend import WandbSweep
from utils import UserError


def test_a_flipped_bit_of_a_cache_is_refused_or_without_effect(tmp_path):
    pictures(*[f"{i:02d}.png" for i in range(12)])(tmp_path / "data")
    (tmp_path / "data" / "broken.png").write_text("no picture")
    facts = {"image_size": 8, "images_in": "disk", "skip_broken": True, "results_dir": str(tmp_path / "results")}
    facts |= {"n_clusters_j_list": [3, 3]}
    config = build_config({"dataset": "folder", "data_dir": str(tmp_path / "data"), **facts})

    def pixels() -> list[bytes]:
        dataset = load_dataset(config, torch.device("cpu"))
        return [torch.cat(list(split.images.split(4))).numpy().tobytes() for split in (dataset.train, dataset.test)]

    whole = pixels()
    [cache] = (tmp_path / "results" / "image_cache").iterdir()
    for name in ("images.npy", "state.json"):
        n_refused = 0
        for flip in damaged_copies(cache / name, 20):
            try:
                assert pixels() == whole, flip
            except UserError:
                n_refused += 1
        assert n_refused >= 10
    assert pixels() == whole


def test_a_flipped_bit_of_metrics_is_refused_or_without_effect(tmp_path):
    assert train.main(tiny(tmp_path)) == 0
    run = tmp_path / "results" / "tiny"
    whole = metrics_of(run)
    for flip in damaged_copies(run / "metrics.jsonl", 10):
        before = (run / "metrics.jsonl").read_bytes()
        try:
            assert train.main(tiny(tmp_path)) == 0
            assert metrics_of(run) == whole, flip
        except UserError:
            assert (run / "metrics.jsonl").read_bytes() == before


@pytest.fixture
def noted(tmp_path, monkeypatch) -> tuple[WandbSweep, Path]:
    """A sweep of wandb with a run that failed, and the file that says so."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    words = [word for word in [*UNSEEDED, *NO_FIGURES] if word not in ("--wandb_mode", "disabled")]
    sweep = WandbSweep(define_sweep(parse_flags([*words, "--results_dir", str(tmp_path)]), [0]))
    sweep._note(RunResult("digits_seed0", {"seed": 0}, "failed", error="the loss is nan"))
    return sweep, sweep.sweep.folder / "digits_seed0" / "sweep_run.json"


def test_a_flipped_bit_of_what_a_sweep_has_noted_is_refused_or_without_effect(noted):
    sweep, path = noted
    whole = sweep.results()
    for flip in damaged_copies(path, 100):
        try:
            assert sweep.results() == whole, flip
        except UserError:
            continue


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "update trial_user_attributes set value_json = '{\"seed\": 1}' where key = 'values'",
            "run 0 does not have its",
        ),
        (
            "update trial_user_attributes set value_json = '\"digits_seed1\"' where key = 'run'",
            "run 0 does not have its",
        ),
        ("update trial_user_attributes set value_json = '{' where key = 'values'", "cannot be used"),
        ("update trials set state = 'WAITIMG'", "cannot be used"),
    ],
)
def test_what_a_data_base_says_of_a_run_has_changed(tmp_path, change, words):
    sweep = OptunaSweep(
        define_sweep(parse_flags([*UNSEEDED, *NO_FIGURES, "--results_dir", str(tmp_path)]), [0]), None, 60
    )
    sweep.start()
    assert [result.state for result in sweep.results()] == ["waiting"]
    with sqlite3.connect(tmp_path / "digits_sweep" / "sweep.db") as data_base:
        data_base.execute(change)
    with pytest.raises(UserError, match=words):
        sweep.results()


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"name": 1, "values": 2, "state": []}', "[" * 100_000])
def test_what_a_sweep_has_noted_is_damaged(noted, content):
    sweep, path = noted
    path.write_text(content)
    with pytest.raises(UserError, match=r"sweep_run.json: cannot be read .* delete it, and the run goes on"):
        sweep.results()


def test_a_run_that_had_finished_and_is_gone(noted):
    sweep, path = noted
    sweep._note(RunResult("digits_seed0", {"seed": 0}, "finished"))
    with pytest.raises(UserError, match=r"metrics.jsonl holds no epoch of this run, which had finished; put it back"):
        sweep.results()


def test_a_flipped_bit_of_rendered_images_is_refused_or_without_effect(tmp_path):
    """HDF5 packs the images with a checksum."""
    variation = {
        "floor_hue": [0],
        "wall_hue": [0],
        "object_hue": [0],
        "scale": [0],
        "shape": [0, 1],
        "orientation": [7],
    }
    path = tmp_path / "Fast_3DShapes" / "raw" / "3dshapes.h5"
    write_file(path, variation)
    facts = {"factors_variation_dict": variation, "factors_label_list": ["shape"]}
    config = build_config({"dataset": "fast_3dshapes", "data_dir": str(tmp_path), **facts})
    whole = read_3dshapes(config).images.tobytes()
    for flip in damaged_copies(path, 10):
        try:
            assert read_3dshapes(config).images.tobytes() == whole, flip
        except UserError:
            continue
