"""The shipped models are the ones that pretrained_models/README.md describes, and score what it says."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

import pytest
import torch

from datasets import load_dataset, split_labels
from evaluation.predictions import predict
from evaluation.scores import cluster_scores
from load_model import load_model_from_save_dict
from rendering.hdf5_file import write_file

HERE = Path(__file__).resolve().parent.parent
TABLE = (HERE / "pretrained_models/README.md").read_text()


def test_every_model_has_the_listed_checksum_and_loads():
    models = sorted((HERE / "pretrained_models").glob("*.pt"))
    assert models
    for path in models:
        assert path.stat().st_size < 15e6
        assert hashlib.sha256(path.read_bytes()).hexdigest() in TABLE
        model, _ = load_model_from_save_dict(path)
        assert not model.training


# Model -> label -> accuracy of each facet on the test split.
SCORES = {
    "mnist": {"digit": (0.1699, 0.9378)},
    "3dshapes_1": {"shape": (0.8844, 0.3010), "floor_hue": (0.1958, 1.0)},
    "3dshapes_2": {"shape": (0.8979, 0.3083), "wall_hue": (0.3313, 1.0)},
}


def check_scores(name: str, data_dir: Path) -> None:
    model, config = load_model_from_save_dict(HERE / f"pretrained_models/{name}.pt")
    dataset = load_dataset(dataclasses.replace(config, data_dir=str(data_dir)), torch.device("cpu"))
    predictions = predict(model, dataset.test.images)
    for label, y in split_labels(dataset.test, dataset.spec).items():
        accuracies = [cluster_scores(y, predictions.clusters[:, j]).accuracy for j in (0, 1)]
        assert accuracies == pytest.approx(SCORES[name][label], abs=5e-4 if len(y) > 5000 else 5e-3), label
        assert f"{100 * max(SCORES[name][label]):.2f} %" in TABLE


def test_every_model_has_its_scores():
    assert {path.stem for path in (HERE / "pretrained_models").glob("*.pt")} == set(SCORES)


@pytest.mark.real_data
def test_the_mnist_model_scores_what_the_table_says():
    if "MFCVAE_DATA" not in os.environ:
        pytest.skip("MFCVAE_DATA does not name a data_dir that holds MNIST")
    check_scores("mnist", Path(os.environ["MFCVAE_DATA"]))


@pytest.mark.slow
def test_the_3dshapes_models_score_what_the_table_says(tmp_path):
    """On images rendered for it."""
    for name in [name for name in SCORES if name.startswith("3dshapes")]:
        _, config = load_model_from_save_dict(HERE / f"pretrained_models/{name}.pt")
        write_file(tmp_path / "Fast_3DShapes/raw/3dshapes.h5", config.factors_variation_dict)
        check_scores(name, tmp_path)
