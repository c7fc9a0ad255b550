"""The data sets: one table of facts, images resident on the device as uint8, batches by index.

A split's images are (N, C, H, W) uint8 and become float in [0, 1] one batch at a time. Nothing here touches the global
random state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import scipy.io
import sklearn.datasets
import torch
import torchvision
from torch import Tensor

from config import FACTOR_SIZES, Config
from utils import UserError


@dataclass(frozen=True)
class DatasetSpec:
    """Facts about a data set that the model, the metrics and the figures need."""

    name: str
    image_shape: tuple[int, int, int]
    """(C, H, W)"""
    likelihood: str
    """bernoulli or normal"""
    output_activation: str | None
    """sigmoid or None; a Bernoulli likelihood is always of the sigmoid."""
    n_train: int
    """Number of training images; 0 where it depends on the settings."""
    label_names: tuple[str, ...] = ("digit",)
    n_classes: tuple[int, ...] = (10,)
    has_even_classes: bool = True
    """Whether classes are about equally frequent; where they are not, weighted accuracy is logged too."""


DATASETS = {
    "fast_mnist": DatasetSpec("fast_mnist", (1, 28, 28), "bernoulli", "sigmoid", 60_000),
    "fast_svhn": DatasetSpec("fast_svhn", (3, 32, 32), "normal", "sigmoid", 73_257, has_even_classes=False),
    "fast_3dshapes": DatasetSpec("fast_3dshapes", (3, 32, 32), "normal", None, 0, has_even_classes=False),
    "digits": DatasetSpec("digits", (1, 8, 8), "normal", "sigmoid", 1_437),
}


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W) uint8 and labels (N, L) int64, on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> Split:
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    """A training and a test split with the facts about them."""

    spec: DatasetSpec
    train: Split
    test: Split


def dataset_spec(config: Config) -> DatasetSpec:
    """The facts about the configured data set, known before any file is read."""
    spec = DATASETS[config.dataset]
    if config.dataset != "fast_3dshapes":
        return spec
    sizes = [len(allowed_indices(config, factor)) for factor in FACTOR_SIZES]
    labels = tuple(config.factors_label_list)
    return dataclasses.replace(
        spec,
        n_train=round(int(np.prod(sizes)) * config.threedshapes_train_frac),
        label_names=labels,
        n_classes=tuple(FACTOR_SIZES[factor] for factor in labels),
    )


def load_dataset(config: Config, device: torch.device) -> Dataset:
    """Read the configured data set from config.data_dir and put it on the device.

    Raises:
        UserError: a file is missing, damaged, or not what it should be; or there are fewer images than clusters.
    """
    train, test = _LOADERS[config.dataset](config)
    spec = dataset_spec(config)
    for name, split in (("training", train), ("test", test)):
        if split.images.shape[1:] != spec.image_shape:
            raise UserError(f"{spec.name}: {name} images have shape {tuple(split.images.shape[1:])}, not {spec.image_shape}")
    if len(train) < max(config.n_clusters_j_list):
        raise UserError(
            f"n_clusters_j_list = {config.n_clusters_j_list}: more clusters than the {len(train)} training images of "
            f"{spec.name}; use fewer clusters"
        )
    return Dataset(spec, train.to(device), test.to(device))


def to_float(images: Tensor) -> Tensor:
    """uint8 images -> float32 in [0, 1], same shape."""
    return images.float().div_(255)


def training_batches(split: Split, batch_size: int, generator: torch.Generator) -> Iterator[Split]:
    """One epoch in a random order, batch by batch. The last batch may be smaller; none is dropped."""
    order = torch.randperm(len(split), generator=generator).to(split.images.device)
    for index in order.split(batch_size):
        yield Split(split.images[index], split.labels[index])


def split_labels(split: Split, spec: DatasetSpec) -> dict[str, np.ndarray]:
    """Label name -> (N,) class indices, on the host."""
    labels = split.labels.cpu().numpy()
    return {name: labels[:, i] for i, name in enumerate(spec.label_names)}


# --- one loader per data set: Config -> training and test split, on the host


def _load_digits(config: Config) -> tuple[Split, Split]:
    """scikit-learn's 8x8 digits, 1,437 for training and 360 held out, split by the seed."""
    data = sklearn.datasets.load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)[:, None]  # (1797, 8, 8) of 0..16 -> (1797, 1, 8, 8)
    order = np.random.default_rng(config.seed).permutation(len(images))
    whole = _split(images[order], data.target[order, None])
    n_train = DATASETS["digits"].n_train
    return Split(whole.images[:n_train], whole.labels[:n_train]), Split(whole.images[n_train:], whole.labels[n_train:])


def _load_torchvision(config: Config, loader: Callable[[Path], tuple[Split, Split]], help_text: str) -> tuple[Split, Split]:
    """Run a loader; turn what goes wrong with files and downloads into one line."""
    root = Path(config.data_dir)
    try:
        return loader(root)
    except UserError:
        raise
    except Exception as error:  # torchvision, gzip, scipy and the network raise errors of many kinds
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{config.dataset}: cannot read {root.absolute()} ({reason}); {help_text}") from error


def _load_mnist(config: Config) -> tuple[Split, Split]:
    """MNIST by torchvision, downloaded into data_dir/MNIST/raw where it is not there yet."""

    def load(root: Path) -> tuple[Split, Split]:
        def half(train: bool) -> Split:
            download = not (root / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").exists()
            data = torchvision.datasets.MNIST(root, train=train, download=download)
            return _split(data.data.numpy()[:, None], data.targets.numpy()[:, None])  # (N, 1, 28, 28), (N, 1)

        return half(True), half(False)

    train, test = _load_torchvision(
        config,
        load,
        "put the four files of MNIST into MNIST/raw there, let a run with network access download them, or try "
        "--config_args_path configs/digits.yml, which needs no files",
    )
    _check_sizes("fast_mnist", Path(config.data_dir) / "MNIST" / "raw", (60_000, 10_000), train, test)
    return train, test


def _load_svhn(config: Config) -> tuple[Split, Split]:
    """The two .mat files of SVHN, downloaded by torchvision into data_dir where they are not there yet."""

    def load(root: Path) -> tuple[Split, Split]:
        def half(split: str) -> Split:
            path = root / f"{split}_32x32.mat"
            if not path.exists():
                torchvision.datasets.SVHN(root, split=split, download=True)
            data = scipy.io.loadmat(path)
            if data["X"].dtype != np.uint8 or data["X"].shape[:3] != (32, 32, 3) or len(data["y"]) != data["X"].shape[3]:
                raise UserError(f"fast_svhn: {path.absolute()} does not hold X (32, 32, 3, N) uint8 and y (N, 1)")
            labels = data["y"].astype(np.int64).reshape(-1, 1) % 10  # the digit zero is stored as 10
            return _split(data["X"].transpose(3, 2, 0, 1), labels)  # (32, 32, 3, N) -> (N, 3, 32, 32)

        return half("train"), half("test")

    return _load_torchvision(
        config, load, "put train_32x32.mat and test_32x32.mat of SVHN (cropped digits) there, or let a run with network download them"
    )


def _load_3dshapes(config: Config) -> tuple[Split, Split]:
    """The configured part of 3dshapes.h5, halved to 32x32, split at random by the seed."""
    path = Path(config.data_dir) / "Fast_3DShapes" / "raw" / "3dshapes.h5"
    if not path.exists():
        raise UserError(
            f"fast_3dshapes: {path.absolute()} is missing; download 3dshapes.h5 (255 MB, github.com/deepmind/3d-shapes) and "
            "put it there"
        )
    try:
        images, labels = _read_3dshapes(path, config)
    except (OSError, KeyError) as error:
        raise UserError(f"fast_3dshapes: {path.absolute()} is not a whole 3dshapes.h5 ({error}); download it again") from error
    order = np.random.default_rng(config.seed).permutation(len(images))
    whole = _split(halve(images[order]).transpose(0, 3, 1, 2), labels[order])
    n_train = dataset_spec(config).n_train
    return Split(whole.images[:n_train], whole.labels[:n_train]), Split(whole.images[n_train:], whole.labels[n_train:])


def _read_3dshapes(path: Path, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 64, 64, 3) uint8 and label indices (N, L) of the allowed factor values, in the file's order."""
    sizes = tuple(FACTOR_SIZES.values())
    allowed = [allowed_indices(config, factor) for factor in FACTOR_SIZES]
    grid = np.stack(np.meshgrid(*allowed, indexing="ij"), axis=-1).reshape(-1, len(sizes))  # (N, 6) value indices
    rows = np.ravel_multi_index(grid.T, sizes)
    with h5py.File(path, "r") as file:
        shape = (int(np.prod(sizes)), 64, 64, 3)
        if file["images"].shape != shape or file["images"].dtype != np.uint8:
            raise UserError(f"fast_3dshapes: images of {path.absolute()} must be {shape} uint8, not {file['images'].shape}")
        # Contiguous runs of rows are read as slices, some twenty times faster than a mask.
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        runs = np.split(rows, starts[1:])
        images = np.concatenate([file["images"][run[0] : run[-1] + 1] for run in runs])
    columns = [list(FACTOR_SIZES).index(factor) for factor in config.factors_label_list]
    return images, grid[:, columns]


def allowed_indices(config: Config, factor: str) -> list[int]:
    """The value indices that a factor of 3DShapes may take, ascending; all where the settings name none."""
    return sorted(config.factors_variation_dict.get(factor, range(FACTOR_SIZES[factor])))


def halve(images: np.ndarray) -> np.ndarray:
    """Images (N, 2H, 2W, C) uint8 -> (N, H, W, C): the mean of each 2x2 block, rounded half up."""
    n, height, width, channels = images.shape
    blocks = images.reshape(n, height // 2, 2, width // 2, 2, channels).astype(np.uint16)
    return ((blocks.sum(axis=(2, 4), dtype=np.uint16) + 2) >> 2).astype(np.uint8)


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    """Arrays (N, C, H, W) uint8 and (N, L) -> Split."""
    return Split(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels.astype(np.int64)))


def _check_sizes(name: str, folder: Path, expected: tuple[int, int], train: Split, test: Split) -> None:
    """The files hold as many images as they should."""
    if (len(train), len(test)) != expected:
        raise UserError(
            f"{name}: {folder.absolute()} holds {len(train)} training and {len(test)} test images, not {expected[0]} and "
            f"{expected[1]}; delete the files and get them again"
        )


_LOADERS: dict[str, Callable[[Config], tuple[Split, Split]]] = {
    "fast_mnist": _load_mnist,
    "fast_svhn": _load_svhn,
    "fast_3dshapes": _load_3dshapes,
    "digits": _load_digits,
}
