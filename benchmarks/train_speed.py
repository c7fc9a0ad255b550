"""How fast a configuration trains here, and how much of what the machine can do that is.

    python benchmarks/train_speed.py --config_args_path configs/mnist.yml --device cpu

Any flag of train.py may follow. The images are random, of the configuration's shape and number; no file is read or
written. Prints a table and, as its last line, the same as JSON. benchmarks/README.md says what is measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import platform
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # the scripts lie flat at the top, not in a package

from interrupts import run_script  # noqa: E402

import train  # noqa: E402
from config import Config, load_config  # noqa: E402
from datasets import Dataset, DatasetSpec, Split, dataset_spec, split_labels  # noqa: E402
from evaluation.predictions import predict_with_terms  # noqa: E402
from evaluation.scores import summarise  # noqa: E402
from flags import FlagParser, positive_int  # noqa: E402
from progressive import full_coefficients  # noqa: E402
from utils import resolve_device  # noqa: E402

N_FIRST_STEPS = 5  # in which a step is compiled, or warmed up and recorded
MATRIX_SIZE = {"cpu": 2048, "cuda": 8192}
MIB = 2**20


def main(argv: Sequence[str] | None = None) -> int:
    """Measure one configuration."""
    parser = FlagParser(__doc__)
    parser.add_argument("--n_repeats", type=positive_int, default=5, help="timings that a median is taken of [5]")
    parser.add_argument("--n_steps", type=positive_int, default=20, help="training steps in one timing [20]")
    parser.add_argument("--n_train", type=positive_int, help="training images [as many as the data set has]")
    parser.add_argument("--n_test", type=positive_int, help="test images [as many as the data set has]")
    parser.add_argument("--profile", action="store_true", help="also show where the time of a training step goes")
    arguments, flags = parser.parse_known_args(argv)
    config = load_config(flags)
    device = resolve_device(config.device)
    dataset = random_dataset(config, device, arguments)
    numbers = measure(config, device, dataset, arguments.n_repeats, arguments.n_steps)
    width = max(len(name) for name in numbers)
    for name, value in numbers.items():
        print(f"{name:{width}}  {value:,.4g}" if isinstance(value, float) else f"{name:{width}}  {value}")
    if arguments.profile:
        for name, share in profile(config, dataset, device, arguments.n_steps).items():
            print(f"{share:6.1%}  {name}")
    print(json.dumps(numbers))
    return 0


def random_dataset(config: Config, device: torch.device, arguments: argparse.Namespace) -> Dataset:
    """Random images and labels on the device, as many as the configured data set has or as the flags say."""
    spec = dataset_spec(config)
    n_train, n_test = arguments.n_train or spec.n_train, arguments.n_test or spec.n_test
    spec = dataclasses.replace(spec, n_train=n_train, n_test=n_test)
    generator = torch.Generator().manual_seed(config.seed)

    def split(n: int) -> Split:
        images = torch.randint(0, 256, (n, *spec.image_shape), dtype=torch.uint8, generator=generator)
        labels = [torch.randint(0, n_classes, (n,), generator=generator) for n_classes in spec.n_classes]
        return Split(images, torch.stack(labels, dim=1)).to(device)

    return Dataset(spec, split(n_train), split(n_test), "random pixels")


def circumstances(config: Config, device: torch.device) -> dict[str, Any]:
    """What was measured, on what."""
    return {
        "configuration": config.name,
        "batch_size": config.batch_size,
        "hardware": hardware(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "commit": commit(),
    }


def measure(config: Config, device: torch.device, dataset: Dataset, n_repeats: int, n_steps: int) -> dict[str, Any]:
    """All numbers of one configuration, by name. Times are seconds, medians of n_repeats; memory is MiB."""
    n_train, n_test = len(dataset.train), len(dataset.test)
    training = train.Training(config, dataset.spec, device)
    first_steps = steps_seconds(training, dataset.train, N_FIRST_STEPS)
    epoch_seconds(training, dataset)  # warms up
    memory = peak_memory(device)  # before that of the products is added
    steps, epochs, rates = repeats(training, dataset, n_repeats, n_steps)
    how = training.how
    del training
    flops_per_image = {name: n / m for name, (n, m) in model_flops(config, dataset, device).items()}
    train_flops, test_flops = flops_per_image["train"] * n_train, flops_per_image["test"] * n_test
    step_images = min(config.batch_size, n_train)
    step_flops, epoch_flops = flops_per_image["train"] * step_images, train_flops + test_flops
    epoch_parts = {name: statistics.median(parts[name] for parts in epochs) for name in epochs[0]}
    step, epoch = statistics.median(steps), sum(epoch_parts.values())
    around = [statistics.mean(pair) for pair in itertools.pairwise(rates)]  # the rate around each repeat
    return {
        **circumstances(config, device),
        "how": how,
        "n_train": n_train,
        "n_test": n_test,
        "step_seconds": step,
        "step_images_per_second": step_images / step,
        "epoch_seconds": epoch,
        **{f"epoch_{name}_seconds": value for name, value in epoch_parts.items()},
        "epoch_images_per_second": n_train / epoch,
        "compile_seconds": max(0.0, first_steps - N_FIRST_STEPS * step),
        **memory,
        "step_flops": step_flops,
        "epoch_flops": epoch_flops,
        "matrix_flops_per_second": statistics.median(rates),
        "step_efficiency": statistics.median(step_flops / t / r for t, r in zip(steps, around, strict=True)),
        "epoch_efficiency": statistics.median(
            epoch_flops / sum(parts.values()) / r for parts, r in zip(epochs, around, strict=True)
        ),
    }


# --- time


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long some work takes, until the device is done with it."""
    synchronise(device)
    started = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - started


def synchronise(device: torch.device) -> None:
    """Wait for what a GPU was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def repeats(
    training: train.Training, dataset: Dataset, n_repeats: int, n_steps: int
) -> tuple[list[float], list[dict[str, float]], list[float]]:
    """Seconds of a step and of an epoch's parts, FLOPs per second around them; in turn, as a machine's speed varies."""
    steps, epochs, rates = [], [], [matrix_rate(training.device)]
    for _ in range(n_repeats):
        steps.append(steps_seconds(training, dataset.train, n_steps) / n_steps)
        epochs.append(epoch_seconds(training, dataset))
        rates.append(matrix_rate(training.device))
    return steps, epochs, rates


def steps_seconds(training: train.Training, split: Split, n: int) -> float:
    """Of n training steps in a row."""
    images = split.images[: training.config.batch_size]
    coefficients = torch.tensor(full_coefficients(training.config.J_n_mixtures), device=training.device)
    training.model.train()
    return seconds(lambda: [training.step(images, coefficients) for _ in range(n)], training.device)


def epoch_seconds(training: train.Training, dataset: Dataset) -> dict[str, float]:
    """Of the three parts of an epoch: training, evaluation, and the metrics of both."""
    config, last = training.config, training.config.n_epochs - 1
    coefficients = full_coefficients(config.J_n_mixtures).on(training.device)
    trained = seconds(lambda: train.train_epoch(training, dataset, last), training.device)
    evaluated = seconds(lambda: train.evaluate(training, dataset, coefficients), training.device)
    scored = [
        seconds(partial(scores, config, split, dataset.spec), training.device)
        for split in (dataset.train, dataset.test)
    ]
    return {"training": trained - scored[0], "evaluation": evaluated - scored[1], "metrics": sum(scored)}


def scores(config: Config, split: Split, spec: DatasetSpec) -> dict[str, float]:
    """The metrics that train_epoch and evaluate compute, on clusters that are as many and as random as theirs."""
    generator = torch.Generator().manual_seed(0)
    clusters = [torch.randint(0, K, (len(split),), generator=generator) for K in config.n_clusters_j_list]
    labels = split_labels(split, spec)
    return summarise("test", torch.stack(clusters, dim=1).numpy(), labels, weighted=not spec.has_even_classes)


def profile(config: Config, dataset: Dataset, device: torch.device, n_steps: int) -> dict[str, float]:
    """Share of each operation in the time of training steps, the largest 15 first; compiled ones for a CPU are one."""
    training = train.Training(config, dataset.spec, device)
    steps_seconds(training, dataset.train, N_FIRST_STEPS)
    images = dataset.train.images[: config.batch_size]
    coefficients = torch.tensor(full_coefficients(config.J_n_mixtures), device=device)
    with torch.profiler.profile() as profiler:
        seconds(lambda: [training.step(images, coefficients) for _ in range(n_steps)], device)
    kind = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    times: Counter[str] = Counter()
    for event in profiler.key_averages():
        times["compiled kernels" if "CompiledFxGraph" in event.key else event.key] += getattr(event, kind)
    return {name: time / times.total() for name, time in times.most_common(15)}


# --- what the machine can do, and what the model asks of it


@torch.no_grad()
def matrix_rate(device: torch.device, n_repeats: int = 7) -> float:
    """FLOPs per second of square fp32 products as PyTorch computes them by default (on a GPU: no TF32), the median."""
    size = MATRIX_SIZE[device.type]
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    # Of the whole process: train.Training may have set it. PyTorch makes it when it is imported.
    products = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before, products.fp32_precision = products.fp32_precision, "none"
    a @ b
    median = statistics.median(seconds(lambda: a @ b, device) for _ in range(n_repeats))
    products.fp32_precision = before
    return 2 * size**3 / median


def model_flops(config: Config, dataset: Dataset, device: torch.device) -> dict[str, tuple[int, int]]:
    """FLOPs of one plain training step and of one test batch in fp32, each with the number of its images.

    Products and convolutions are counted, forward and backward, a multiply-add as two; nothing else is.
    """
    from torch.utils.flop_counter import FlopCounterMode  # loads Triton where it may

    plain = dataclasses.replace(config, precision="fp32", compile="false")
    training = train.Training(plain, dataset.spec, device)
    images, tests = dataset.train.images[: config.batch_size], dataset.test.images[: config.eval_batch_size]
    coefficients = torch.tensor(full_coefficients(config.J_n_mixtures), device=device)
    with FlopCounterMode(display=False) as trained:
        training.step(images, coefficients)
    with FlopCounterMode(display=False) as tested:
        predict_with_terms(training.model, tests, batch_size=config.eval_batch_size)
    return {
        "train": (trained.get_total_flops(), len(images)),
        "test": (tested.get_total_flops(), len(tests)),
    }


def peak_memory(device: torch.device) -> dict[str, float]:
    """The most that was in use so far, MiB: of the process, and of the GPU."""
    try:
        import resource
    except ImportError:  # Windows has none
        resident = math.nan
    else:
        unit = 1 if sys.platform == "darwin" else 1024  # bytes; Linux counts in KiB
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB
    if device.type == "cpu":
        return {"peak_resident_mib": resident}
    return {
        "peak_resident_mib": resident,
        "peak_allocated_mib": torch.cuda.max_memory_allocated(device) / MIB,
        "peak_reserved_mib": torch.cuda.max_memory_reserved(device) / MIB,
    }


# --- what was measured on


def hardware(device: torch.device) -> str:
    """Name of the processor or the GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def commit() -> str | None:
    """The commit of the code, with + where files were changed since; None outside of a repository."""
    command = ["git", "-C", str(HERE), "describe", "--always", "--abbrev=7", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


if __name__ == "__main__":
    run_script(main)
