"""benchmarks/train_speed.py measures what it says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from test_speed import CPU
from test_train import SMALL

from config import load_config
from datasets import Dataset, Split, dataset_spec

HERE = Path(__file__).resolve().parent.parent


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(HERE / "benchmarks")
    import train_speed

    yield train_speed
    sys.modules.pop("train_speed")


def test_the_benchmark_measures_a_small_configuration(benchmark, capsys, monkeypatch):
    monkeypatch.setitem(benchmark.MATRIX_SIZE, "cpu", 256)
    counts = ["--n_repeats", "1", "--n_steps", "2", "--n_train", "600", "--n_test", "50"]
    assert benchmark.main([*counts, *SMALL, "--device", "cpu", "--precision", "fp32", "--profile"]) == 0
    lines = capsys.readouterr().out.splitlines()
    numbers = json.loads(lines[-1])
    assert [line.split()[0] for line in lines[: len(numbers)]] == list(numbers)
    shares = [float(line.split("%")[0]) for line in lines[len(numbers) : -1]]
    assert len(shares) == 15
    assert shares == sorted(shares, reverse=True)
    assert 50 < sum(shares) <= 100
    times = [numbers[f"epoch_{part}_seconds"] for part in ("training", "evaluation", "metrics")]
    assert numbers["epoch_seconds"] == pytest.approx(sum(times))
    assert numbers["step_images_per_second"] == pytest.approx(256 / numbers["step_seconds"])
    assert numbers["epoch_images_per_second"] == pytest.approx(600 / numbers["epoch_seconds"])
    assert (numbers["how"], numbers["n_train"], numbers["n_test"], numbers["batch_size"]) == ("fp32", 600, 50, 256)
    assert 0 < numbers["step_efficiency"] < 1
    assert 0 < numbers["epoch_efficiency"] < 1
    assert 100 < numbers["peak_resident_mib"] < 100_000
    assert numbers["step_flops"] * 600 / 256 < numbers["epoch_flops"] < numbers["step_flops"] * 600 / 256 * 1.05
    assert numbers["matrix_flops_per_second"] > 1e8
    assert numbers["compile_seconds"] >= 0


def test_the_benchmark_counts_the_flops_of_linear_layers(benchmark):
    """Two for each weight and image; forward, and backward to the weights and to the inputs, but not to the images."""
    flags = [
        "--J_n_mixtures",
        "1",
        "--model_type",
        "fc_shared",
        "--encode_layer_dims",
        "30",
        "--decode_layer_dims",
        "20",
    ]
    flags += [
        "--z_j_dim_list",
        "3",
        "--n_clusters_j_list",
        "4",
        "--n_epochs_per_progressive_step",
        "1",
        "--batch_size",
        "10",
    ]
    config = load_config(["--dataset", "digits", *flags, "--eval_batch_size", "7"])
    images, labels = torch.zeros(20, 1, 8, 8, dtype=torch.uint8), torch.zeros(20, 1, dtype=torch.int64)
    dataset = Dataset(dataset_spec(config), Split(images, labels), Split(images, labels), "")
    counted = benchmark.model_flops(config, dataset, CPU)
    first, others = 64 * 30, 30 * 3 + 30 * 3 + 3 * 20 + 20 * 64
    assert counted["train"] == (10 * 2 * (2 * first + 3 * others), 10)
    assert counted["test"] == (7 * 2 * (first + others), 7)


def test_the_benchmark_makes_as_many_images_as_the_data_set_has(benchmark):
    config = load_config(["--config_args_path", str(HERE / "configs/3dshapes_1.yml")])
    arguments = benchmark.argparse.Namespace(n_train=None, n_test=None)
    dataset = benchmark.random_dataset(config, CPU, arguments)
    assert (len(dataset.train), len(dataset.test)) == (3840, 960)
    assert dataset.train.images.shape[1:] == (3, 32, 32)
    assert dataset.train.labels.amax(0).tolist() == [3, 9]
