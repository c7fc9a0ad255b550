"""The rooms of the demo are what they say, and one short training finds both things that vary in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_train import NO_FIGURES, metrics_of

import example
import train
from config import load_config
from datasets import load_dataset
from rendering.rooms import OBJECT_HUE, ORIENTATIONS, SCALES, WALL_HUE, read_rooms
from rendering.scene import render

DEMO = str(Path(__file__).resolve().parent.parent / "configs" / "demo.yml")


def test_a_room_is_a_picture_of_3dshapes():
    arrays = read_rooms(load_config(["--config_args_path", DEMO]))
    assert arrays.images.shape == (400, 3, 32, 32) and arrays.images.dtype == np.uint8
    shape, hue = arrays.labels[5]  # the first turn and size, the first shape, the sixth hue
    frame = render((hue, WALL_HUE, OBJECT_HUE, SCALES[0], shape, ORIENTATIONS[0])).astype(float)
    halved = frame.reshape(32, 2, 32, 2, 3).mean((1, 3)).transpose(2, 0, 1)
    assert np.abs(halved - arrays.images[5]).max() <= 1
    counts = np.unique(arrays.labels, axis=0, return_counts=True)[1]
    assert counts.tolist() == [len(SCALES) * len(ORIENTATIONS)] * 40


def test_the_split_follows_the_seed():
    sets = [
        load_dataset(load_config(["--config_args_path", DEMO, "--seed", seed]), torch.device("cpu")) for seed in "01"
    ]
    assert [(len(data.train), len(data.test)) for data in sets] == [(320, 80)] * 2
    assert not torch.equal(sets[0].test.labels, sets[1].test.labels)


@pytest.mark.slow
def test_the_demo_finds_the_object_in_one_facet_and_the_floor_in_the_other(tmp_path):
    argv = ["--config_args_path", DEMO, *NO_FIGURES, "--results_dir", str(tmp_path), "--wandb_mode", "disabled"]
    assert train.main([*argv, "--run_name", "demo"]) == 0
    last = metrics_of(tmp_path / "demo")[-1]
    assert last["test_metric/facet_0_label_shape_nmi"] > 0.8
    assert last["test_metric/facet_1_label_floor_hue_nmi"] > 0.8


@pytest.mark.slow
def test_the_example_on_one_page_finds_both(capsys, monkeypatch):
    """In a third of the epochs already, the same as the demo's."""
    monkeypatch.setattr(example, "load_config", lambda words: load_config([*words, "--n_epochs", "31"]))
    example.main()
    lines = capsys.readouterr().out.splitlines()
    percent = {line.split(":")[0]: int(line.split(":")[1].split("%")[0]) for line in lines}
    assert percent["facet 0, shape"] > 80 and percent["facet 1, floor_hue"] > 80
    assert len(Path(example.__file__).read_text().splitlines()) <= 60
