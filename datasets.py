"""The data sets: one table of facts, images resident on the device as uint8, batches by index; and your own images.

A split's images are (N, C, H, W) uint8 and become float in [0, 1] one batch at a time. Nothing here touches the global
random state. A library that one loader alone needs is imported by that loader: h5py takes 11 MiB.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import logging
import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from config import FACTOR_SIZES, OWN_IMAGES, Config
from readers.own_images import OWN_READERS
from utils import UserError, one_line

if TYPE_CHECKING:
    import h5py

log = logging.getLogger(__name__)

# MNIST and what has its format: torchvision's name of it.
MNIST_NAMES = {"fast_mnist": "MNIST", "fast_fashion_mnist": "FashionMNIST"}

# Sizes of the unpacked files of either: a download or a copy that was cut off is told by them.
MNIST_BYTES = {
    "train-images-idx3-ubyte": 47_040_016,
    "train-labels-idx1-ubyte": 60_008,
    "t10k-images-idx3-ubyte": 7_840_016,
    "t10k-labels-idx1-ubyte": 10_008,
}

ORIGINAL_3DSHAPES_MD5 = "099a2078d58cec4daad0702c55d06868"

# The label values of 3dshapes.h5, a column per factor.
FACTOR_VALUES = {
    "floor_hue": np.linspace(0, 0.9, 10),
    "wall_hue": np.linspace(0, 0.9, 10),
    "object_hue": np.linspace(0, 0.9, 10),
    "scale": np.linspace(0.75, 1.25, 8),
    "shape": np.arange(4.0),
    "orientation": np.linspace(-30, 30, 15),
}

# What people call them; classes of the other factors are named by their index.
HUES = ("red", "orange", "yellow", "green", "mint", "cyan", "azure", "indigo", "purple", "pink")
SHAPES = ("cube", "cylinder", "sphere", "capsule")
DIGITS = tuple("0123456789")


Side = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class DatasetSpec:
    """Facts about a data set that the model, the metrics and the figures need; checked where a file brings them."""

    name: str
    image_shape: tuple[Side, Side, Side]
    """(C, H, W)"""
    likelihood: Literal["bernoulli", "normal"]
    output_activation: Literal["sigmoid"] | None
    """A Bernoulli likelihood is always of the sigmoid."""
    n_train: int
    """Number of training images; 0 where it depends on the settings."""
    n_test: int = 0
    """Number of test images, likewise."""
    label_names: tuple[str, ...] = ("digit",)
    """Empty where there are no labels."""
    class_names: tuple[tuple[str, ...], ...] = (DIGITS,)
    """Of each label: the names of its classes."""
    has_even_classes: bool = True
    """Whether classes are about equally frequent; where they are not, weighted accuracy is logged too."""
    is_synthetic: bool = False
    """Whether the images were rendered in place of the original ones."""
    checksum: int | None = None
    """Of own images and their labels, in the order of the split: what tells them from others of the same shape."""

    @property
    def n_classes(self) -> tuple[int, ...]:
        """Of each label: the number of its classes."""
        return tuple(len(names) for names in self.class_names)


DATASETS = {
    "fast_mnist": DatasetSpec("fast_mnist", (1, 28, 28), "bernoulli", "sigmoid", 60_000, 10_000),
    "fast_fashion_mnist": DatasetSpec(
        "fast_fashion_mnist",
        (1, 28, 28),
        "bernoulli",
        "sigmoid",
        60_000,
        10_000,
        ("garment",),
        (("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),),
    ),
    "fast_svhn": DatasetSpec("fast_svhn", (3, 32, 32), "normal", "sigmoid", 73_257, 26_032, has_even_classes=False),
    "fast_3dshapes": DatasetSpec("fast_3dshapes", (3, 32, 32), "normal", None, 0, has_even_classes=False),
    "digits": DatasetSpec("digits", (1, 8, 8), "normal", "sigmoid", 1_437, 360),
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
    source: str
    """Which images these are, in words."""


def dataset_spec(config: Config) -> DatasetSpec:
    """The facts about the configured data set: known before any file is read, except for own images."""
    if config.dataset in OWN_IMAGES:
        return load_dataset(config, torch.device("cpu")).spec
    spec = DATASETS[config.dataset]
    if config.dataset != "fast_3dshapes":
        return spec
    sizes = [len(allowed_indices(config, factor)) for factor in FACTOR_SIZES]
    n_images, labels = int(np.prod(sizes)), tuple(config.factors_label_list)
    n_train = round(n_images * config.threedshapes_train_frac)
    return dataclasses.replace(
        spec,
        n_train=n_train,
        n_test=n_images - n_train,
        label_names=labels,
        class_names=tuple(_factor_names(factor) for factor in labels),
    )


def _factor_names(factor: str) -> tuple[str, ...]:
    """The names of a factor's values."""
    if factor.endswith("hue"):
        return HUES
    return SHAPES if factor == "shape" else tuple(map(str, range(FACTOR_SIZES[factor])))


def load_dataset(config: Config, device: torch.device) -> Dataset:
    """Read the configured data set from config.data_dir and put it on the device, if it fits.

    Raises:
        UserError: a file is missing, damaged, or not what it should be; or there are fewer images than clusters.
    """
    dataset = _LOADERS[config.dataset](config)
    _check_contents(dataset.spec, dataset.train, dataset.test)
    _check_counts(config, len(dataset.train), len(dataset.test))
    n_bytes = dataset.train.images.nbytes + dataset.test.images.nbytes
    free = free_memory(device)
    if n_bytes > free / 2:  # the other half is for the model and its batches
        log.warning(
            "%s: %.2f GiB of images stay in host memory, as %s has %.2f GiB free; batches are moved one by one, which "
            "is slower",
            *(dataset.spec.name, n_bytes / 2**30, device, free / 2**30),
        )
        return dataset
    return dataclasses.replace(dataset, train=dataset.train.to(device), test=dataset.test.to(device))


def free_memory(device: torch.device) -> float:
    """Free bytes of a GPU; no limit on the host, where the images are already."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else math.inf


def to_device(batch: Tensor, device: torch.device) -> Tensor:
    """A batch on the device. From host to GPU it goes by way of pinned memory, and nothing waits for it."""
    if batch.device.type == "cpu" and device.type == "cuda":
        return batch.pin_memory().to(device, non_blocking=True)
    return batch.to(device)


def _check_contents(spec: DatasetSpec, train: Split, test: Split) -> None:
    """Images of the right shape, and a label in range for each."""
    for name, split in (("training", train), ("test", test)):
        if split.images.shape[1:] != spec.image_shape:
            raise UserError(
                f"{spec.name}: {name} images have shape {tuple(split.images.shape[1:])}, not {spec.image_shape}"
            )
        if len(split.labels) != len(split):
            raise UserError(
                f"{spec.name}: {len(split)} {name} images but {len(split.labels)} labels; get the files again"
            )
        for label, n_classes, values in zip(spec.label_names, spec.n_classes, split.labels.T, strict=True):
            wrong = values[(values < 0) | (values >= n_classes)]
            if len(wrong):
                raise UserError(
                    f"{spec.name}: {label} of a {name} image is {int(wrong[0])}, must be from 0 to {n_classes - 1}; "
                    "get the files again"
                )


def _check_counts(config: Config, n_train: int, n_test: int) -> None:
    """Enough images for the clusters, for a test split, and for batch normalisation of the last batch."""
    if n_train < 2:
        remedy = "add more"
        if config.dataset == "fast_3dshapes":
            remedy = f"raise threedshapes_train_frac = {config.threedshapes_train_frac}, or allow more values in factors_variation_dict"
        raise UserError(f"{config.data_name}: {n_train} of {n_train + n_test} images to train on are too few; {remedy}")
    if n_train < max(config.n_clusters_j_list):
        raise UserError(
            f"n_clusters_j_list = {config.n_clusters_j_list}: more clusters than the {n_train} training images of "
            f"{config.data_name}; use fewer clusters, or more images"
        )
    if not n_test:
        raise UserError(
            f"threedshapes_train_frac = {config.threedshapes_train_frac}: leaves none of {n_train} images for the "
            "test; lower it, or allow more values in factors_variation_dict"
        )
    is_normalised = config.do_fc_batch_norm or config.model_type == "conv_vlae"
    if is_normalised and n_train % config.batch_size == 1:
        larger = next(size for size in itertools.count(config.batch_size + 1) if n_train % size != 1)
        raise UserError(
            f"batch_size = {config.batch_size}: leaves a last batch of one of the {n_train} training images, which "
            f"cannot be batch-normalised; use {larger}"
        )


def to_float(images: Tensor) -> Tensor:
    """uint8 images -> float32 in [0, 1], same shape."""
    return images.float().div_(255)


def training_batches(
    split: Split, batch_size: int, generator: torch.Generator, device: torch.device
) -> Iterator[Split]:
    """One epoch in a random order, batch by batch, on the device. The last may be smaller; none is dropped."""
    order = torch.randperm(len(split), generator=generator).to(split.images.device)
    for index in order.split(batch_size):
        yield Split(to_device(split.images[index], device), to_device(split.labels[index], device))


def split_labels(split: Split, spec: DatasetSpec) -> dict[str, np.ndarray]:
    """Label name -> (N,) class indices, on the host."""
    labels = split.labels.cpu().numpy()
    return {name: labels[:, i] for i, name in enumerate(spec.label_names)}


def split_class_names(split: Split, spec: DatasetSpec) -> dict[str, np.ndarray]:
    """Label name -> (N,) names of classes, to be shown."""
    labels = zip(split_labels(split, spec).items(), spec.class_names, strict=True)
    return {name: np.array(names)[values] for (name, values), names in labels}


# --- one loader per data set: Config -> Dataset, on the host


def _load_digits(config: Config) -> Dataset:
    """scikit-learn's 8x8 digits, 1,437 for training and 360 held out, split by the seed."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)[:, None]  # (1797, 8, 8) of 0..16 -> (1797, 1, 8, 8)
    order = np.random.default_rng(config.seed).permutation(len(images))
    return _dataset(dataset_spec(config), images[order], data.target[order, None], "scikit-learn's 8x8 digits")


@contextmanager
def _reading(dataset: str, path: Path, remedy: str) -> Iterator[None]:
    """Turn what goes wrong with a file or a download into one line that names the path and the remedy."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # torchvision, scipy, h5py and the network raise errors of many kinds
        raise UserError(f"{dataset}: cannot read {path.absolute()} ({one_line(error)}); {remedy}") from error


def _load_mnist(config: Config) -> Dataset:
    """MNIST or FashionMNIST by torchvision, downloaded into data_dir/<its name>/raw where it is not there yet."""
    from torchvision import datasets  # not for other data: it takes as long to import as torch

    name = MNIST_NAMES[config.dataset]
    kind = getattr(datasets, name)
    folder = Path(config.data_dir) / name / "raw"
    remedy = (
        f"put the four unpacked files of {name} there, choose another --data_dir, let a run with network access download "
        "them, or try --config_args_path configs/digits.yml, which needs no files"
    )

    def half(train: bool) -> Split:
        data = kind(config.data_dir, train=train, download=True)  # only where files are missing
        return _split(data.data.numpy()[:, None], data.targets.numpy()[:, None])  # (N, 1, 28, 28), (N, 1)

    with _reading(config.dataset, folder, remedy):
        for file, n_bytes in MNIST_BYTES.items():
            path = folder / file
            if path.exists() and path.stat().st_size != n_bytes:
                raise UserError(
                    f"{config.dataset}: {path.absolute()} has {path.stat().st_size} bytes, not {n_bytes}: delete it "
                    "and get it again"
                )
        return Dataset(dataset_spec(config), half(True), half(False), f"images of {folder}")


def _load_svhn(config: Config) -> Dataset:
    """The two .mat files of SVHN, downloaded by torchvision into data_dir where they are not there yet."""
    train, test = (_load_svhn_split(config, split) for split in ("train", "test"))
    return Dataset(dataset_spec(config), train, test, f"images of {Path(config.data_dir) / '*_32x32.mat'}")


def _load_svhn_split(config: Config, split: str) -> Split:
    from scipy.io import loadmat

    path = Path(config.data_dir) / f"{split}_32x32.mat"
    remedy = (
        f"put a whole {path.name} of SVHN (cropped digits) there, choose another --data_dir, or delete it and let a "
        "run with network access download it"
    )
    if not path.exists():
        from torchvision.datasets import SVHN  # not where nothing is downloaded: it takes as long to import as torch
    with _reading("fast_svhn", path, remedy):
        if not path.exists():
            SVHN(config.data_dir, split=split, download=True)
        content = loadmat(path, variable_names=("X", "y"))
        images, labels = content["X"], content["y"]
        n = images.shape[-1]
        if images.dtype != np.uint8 or images.shape != (32, 32, 3, n) or labels.size != n:
            raise UserError(
                f"fast_svhn: {path.absolute()} holds X {images.shape} {images.dtype} and y {labels.shape}, not X "
                f"(32, 32, 3, N) uint8 and y (N, 1); {remedy}"
            )
        if not np.isin(labels, np.arange(1, 11)).all():
            raise UserError(f"fast_svhn: {path.absolute()} has labels y other than 1 to 10; {remedy}")
    labels = labels.astype(np.int64).reshape(-1, 1) % 10  # the digit zero is stored as 10
    return _split(images.transpose(3, 2, 0, 1), labels)  # (32, 32, 3, N) -> (N, 3, 32, 32)


def _load_3dshapes(config: Config) -> Dataset:
    """The configured part of 3dshapes.h5, halved to 32x32, split at random by the seed."""
    import h5py

    path = Path(config.data_dir) / "Fast_3DShapes" / "raw" / "3dshapes.h5"
    remedy = (
        "put the original there (255 MB, github.com/deepmind/3d-shapes), choose another --data_dir, or render a "
        f"synthetic one: {_render_command(config, path)}"
    )
    with _reading("fast_3dshapes", path, remedy):
        if not path.exists():
            raise UserError(f"fast_3dshapes: {path.absolute()} is missing; {remedy}")
        with h5py.File(path, "r") as file:
            images, labels = _read_3dshapes(file, path, config, remedy)
            is_synthetic = bool(file.attrs.get("synthetic", False))
            source = "synthetic" if is_synthetic else "original"
            source += f" images of {path}" + (f" ({file.attrs['source']})" if "source" in file.attrs else "")
    log.info("fast_3dshapes: %s", source)
    order = np.random.default_rng(config.seed).permutation(len(images))
    images = images[order].transpose(0, 3, 1, 2)  # (N, 32, 32, 3) -> (N, 3, 32, 32)
    spec = dataclasses.replace(dataset_spec(config), is_synthetic=is_synthetic)
    return _dataset(spec, images, labels[order], source)


def _render_command(config: Config, path: Path) -> str:
    """The command that writes the images of this configuration."""
    part = f" --config_args_path {config.config_args_path}" if config.config_args_path else ""
    return f"python render_3dshapes.py{part} --output {path}"


def _read_3dshapes(file: h5py.File, path: Path, config: Config, remedy: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 32, 32, 3) uint8 and label indices (N, L) of the allowed factor values, in the file's order."""
    sizes = tuple(FACTOR_SIZES.values())
    allowed = [allowed_indices(config, factor) for factor in FACTOR_SIZES]
    grid = np.stack(np.meshgrid(*allowed, indexing="ij"), axis=-1).reshape(-1, len(sizes))  # (N, 6) value indices
    rows = np.ravel_multi_index(grid.T, sizes)
    shape, images, labels = (int(np.prod(sizes)), 64, 64, 3), file["images"], file["labels"]
    if images.shape != shape or images.dtype != np.uint8 or labels.shape != (shape[0], len(sizes)):
        raise UserError(
            f"fast_3dshapes: {path.absolute()} holds images {images.shape} {images.dtype} and labels {labels.shape}, "
            f"not {shape} uint8 and {(shape[0], len(sizes))}; {remedy}"
        )
    expected = np.stack([values[grid[:, i]] for i, values in enumerate(FACTOR_VALUES.values())], axis=1)
    if not np.allclose(labels[:][rows], expected, rtol=0, atol=1e-6):  # NaN differs from everything
        raise UserError(f"fast_3dshapes: labels of {path.absolute()} are not the original's factor values; {remedy}")
    if file.attrs.get("synthetic", False):
        _check_rendered(file, path, rows, config)
    else:
        _check_original(path, remedy)
    halved = np.empty((len(rows), 32, 32, 3), dtype=np.uint8)
    for at, run in _runs(rows):
        halved[at : at + len(run)] = halve(images[run[0] : run[-1] + 1])
    columns = [list(FACTOR_SIZES).index(factor) for factor in config.factors_label_list]
    return halved, grid[:, columns]


def _check_rendered(file: h5py.File, path: Path, rows: np.ndarray, config: Config) -> None:
    """A synthetic file may hold some of the rows only."""
    n_missing = int((file["rendered"][:][rows] == 0).sum()) if "rendered" in file else 0
    if n_missing:
        raise UserError(
            f"fast_3dshapes: {path.absolute()} is synthetic and lacks {n_missing} of the {len(rows)} images of this "
            f"configuration; add them: {_render_command(config, path)}"
        )


def _check_original(path: Path, remedy: str) -> None:
    """A file that does not say that it is synthetic is the original to the last byte."""
    with path.open("rb") as content:
        found = hashlib.file_digest(content, "md5").hexdigest()
    if found != ORIGINAL_3DSHAPES_MD5:
        raise UserError(
            f"fast_3dshapes: {path.absolute()} is not marked as synthetic, yet is not the original: its md5 is {found}, "
            f"not {ORIGINAL_3DSHAPES_MD5}; {remedy}"
        )


def _runs(rows: np.ndarray, longest: int = 4800) -> Iterator[tuple[int, np.ndarray]]:
    """Ascending rows as contiguous runs, which are read some twenty times faster than a mask, and where each starts."""
    at = 0
    for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
        for part in np.split(run, range(longest, len(run), longest)):
            yield at, part
            at += len(part)


def allowed_indices(config: Config, factor: str) -> list[int]:
    """The value indices that a factor of 3DShapes may take, ascending; all where the settings name none."""
    return sorted(config.factors_variation_dict.get(factor, range(FACTOR_SIZES[factor])))


def halve(images: np.ndarray) -> np.ndarray:
    """Images (N, 2H, 2W, C) uint8 -> (N, H, W, C): the mean of each 2x2 block, rounded half up."""
    n, height, width, channels = images.shape
    blocks = images.reshape(n, height // 2, 2, width // 2, 2, channels).astype(np.uint16)
    return ((blocks.sum(axis=(2, 4), dtype=np.uint16) + 2) >> 2).astype(np.uint8)


# --- your own images


def _load_own(config: Config) -> Dataset:
    """Own images with facts that come from their contents; where no test split is given, 80 percent are for training."""
    images, labels, n_train, path = OWN_READERS[config.dataset](Path(config.data_dir), config.image_size)
    if n_train is None:
        n_train = len(images) * 4 // 5
        order = np.random.default_rng(config.seed).permutation(len(images))
        images, labels = images[order], {name: values[order] for name, values in labels.items()}
    classes = {name: np.unique(values, return_inverse=True) for name, values in labels.items()}
    for name in [name for name, (values, _) in classes.items() if len(values) < 2]:
        log.warning("%s: '%s' has one class only, which tells nothing, and is left out", path, name)
        del classes[name]
    indices = np.array([index for _, index in classes.values()], np.int64).reshape(-1, len(images)).T  # (N, L)
    images, indices = np.ascontiguousarray(images), np.ascontiguousarray(indices)  # as crc32 wants them
    spec = DatasetSpec(
        name=config.data_name,
        image_shape=images.shape[1:],
        likelihood="normal",
        output_activation="sigmoid",
        n_train=n_train,
        n_test=len(images) - n_train,
        label_names=tuple(classes),
        class_names=tuple(tuple(map(str, values.tolist())) for values, _ in classes.values()),
        has_even_classes=False,
        checksum=zlib.crc32(indices, zlib.crc32(images)),
    )
    colour, (height, width) = "grey" if images.shape[1] == 1 else "RGB", images.shape[2:]
    found = ", ".join(f"{name} ({len(values)} classes)" for name, (values, _) in classes.items()) or "no labels"
    source = f"{len(images):,} images of {path}, {colour}, {width} x {height} pixels, {found}"
    log.info("%s: %s", config.dataset, source)
    return _dataset(spec, images, indices, source)


# --- arrays to tensors


def _dataset(spec: DatasetSpec, images: np.ndarray, labels: np.ndarray, source: str) -> Dataset:
    """Arrays (N, C, H, W) uint8 and (N, L), of which the first spec.n_train are for training -> Dataset."""
    whole, n = _split(images, labels), spec.n_train
    train, test = Split(whole.images[:n], whole.labels[:n]), Split(whole.images[n:], whole.labels[n:])
    return Dataset(spec, train, test, source)


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    """Arrays (N, C, H, W) uint8 and (N, L) -> Split."""
    return Split(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels.astype(np.int64)))


_LOADERS: dict[str, Callable[[Config], Dataset]] = {
    "fast_mnist": _load_mnist,
    "fast_fashion_mnist": _load_mnist,
    "fast_svhn": _load_svhn,
    "fast_3dshapes": _load_3dshapes,
    "digits": _load_digits,
    "folder": _load_own,
    "npz": _load_own,
}
