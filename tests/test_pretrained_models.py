"""The shipped models are the ones that pretrained_models/README.md describes, and score what it says."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import torch

from config import build_config
from datasets import load_dataset, split_labels
from inference import full_weights, predict
from load_model import load_model_from_save_dict
from metrics import cluster_scores

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


@pytest.mark.real_data
def test_the_mnist_model_scores_what_the_table_says():
    if "MFCVAE_DATA" not in os.environ:
        pytest.skip("MFCVAE_DATA does not name a data_dir that holds MNIST")
    model, _ = load_model_from_save_dict(HERE / "pretrained_models/mnist.pt")
    dataset = load_dataset(build_config({"data_dir": os.environ["MFCVAE_DATA"]}), torch.device("cpu"))
    predictions = predict(model, dataset.test.images, full_weights(2), 1000)
    y = split_labels(dataset.test, dataset.spec)["digit"]
    accuracies = [cluster_scores(y, predictions.clusters[:, j]).accuracy for j in (0, 1)]
    assert accuracies == pytest.approx([0.1699, 0.9378], abs=5e-4)
