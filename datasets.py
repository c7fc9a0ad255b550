"""The data sets: one table of facts, splits that are resident on the device as uint8 or lie on disk, batches by index.

Readers give plain arrays; here they become tensors and are split. A split's images are (N, C, H, W) uint8 and become
float in [0, 1] one batch at a time. Nothing here touches the global random state.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from config import FACTOR_SIZES, OWN_IMAGES, Config
from readers.ahead import ahead
from readers.arrays import ImageArrays
from readers.disk_images import DiskImages, Images, as_images
from readers.own_facts import OwnFacts, OwnImages
from readers.own_images import OWN_READERS
from readers.published import INKS, read_coloured_digits, read_digits, read_mnist, read_svhn
from readers.stored import StoredImages
from readers.texts import class_names
from readers.threedshapes import allowed_indices, read_3dshapes
from rendering.rooms import read_rooms
from utils import UserError

log = logging.getLogger(__name__)

HUES = ("red", "orange", "yellow", "green", "mint", "cyan", "azure", "indigo", "purple", "pink")
"""What people call the hues of 3DShapes."""
SHAPES = ("cube", "cylinder", "sphere", "capsule")
"""And its shapes; classes of the other factors are named by their index."""
DIGITS = tuple("0123456789")
GARMENTS = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
"""The classes of FashionMNIST."""

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
    """Of own images and their labels, in the order of the split; it tells them from others of the same shape.
    None for other data, and as long as the images have not been read."""

    @property
    def n_classes(self) -> tuple[int, ...]:
        """The number of classes of each label."""
        return tuple(len(names) for names in self.class_names)


DATASETS = {
    "fast_mnist": DatasetSpec("fast_mnist", (1, 28, 28), "bernoulli", "sigmoid", 60_000, 10_000),
    "fast_fashion_mnist": DatasetSpec(
        *("fast_fashion_mnist", (1, 28, 28), "bernoulli", "sigmoid", 60_000, 10_000, ("garment",), (GARMENTS,)),
    ),
    "fast_svhn": DatasetSpec("fast_svhn", (3, 32, 32), "normal", "sigmoid", 73_257, 26_032, has_even_classes=False),
    "fast_3dshapes": DatasetSpec("fast_3dshapes", (3, 32, 32), "normal", None, 0, has_even_classes=False),
    "digits": DatasetSpec("digits", (1, 8, 8), "normal", "sigmoid", 1_437, 360),
    "rooms": DatasetSpec(
        *("rooms", (3, 32, 32), "normal", "sigmoid", 320, 80, ("shape", "floor_hue"), (SHAPES, HUES)),
    ),
    "coloured_digits": DatasetSpec(
        *("coloured_digits", (3, 8, 8), "normal", "sigmoid", 1_437, 360, ("digit", "colour"), (DIGITS, tuple(INKS))),
    ),
}

_READERS: dict[str, Callable[[Config], ImageArrays]] = {
    "fast_mnist": read_mnist,
    "fast_fashion_mnist": read_mnist,
    "fast_svhn": read_svhn,
    "fast_3dshapes": read_3dshapes,
    "digits": read_digits,
    "rooms": read_rooms,
    "coloured_digits": read_coloured_digits,
}


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W) uint8, labels (N, L) int64 and maybe codes (N, J) int64, on one device or on disk."""

    images: Images
    labels: Tensor
    codes: Tensor | None = None
    """The cluster of each image in each facet that training starts from (initialisation.py)."""
    names: tuple[str, ...] = ()
    """What each image is called; empty where they have no names."""

    def __len__(self) -> int:
        return len(self.images)

    def at(self, index: Tensor) -> Batch:
        """Take some of them, read where they are on disk. index: (B,)."""
        codes = None if self.codes is None else self.codes[index]
        return Batch(self.images[index], self.labels[index], codes)

    def to(self, device: torch.device) -> Split:
        """Move all of them to a device; images on disk stay there, and the others with them."""
        if isinstance(self.images, DiskImages):
            return self
        codes = None if self.codes is None else self.codes.to(device)
        return Split(self.images.to(device), self.labels.to(device), codes, self.names)


@dataclass(frozen=True)
class Batch:
    """Some of a split: images (B, C, H, W) uint8, labels (B, L) int64 and maybe codes (B, J) int64, on one device."""

    images: Tensor
    labels: Tensor
    codes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> Batch:
        """Move all of them to a device."""
        codes = None if self.codes is None else to_device(self.codes, device)
        return Batch(to_device(self.images, device), to_device(self.labels, device), codes)


@dataclass(frozen=True)
class Dataset:
    """A training and a test split with the facts about them."""

    spec: DatasetSpec
    train: Split
    test: Split
    source: str
    """Which images these are, in words."""


# --- facts


def dataset_spec(config: Config) -> DatasetSpec:
    """State the facts about the configured data set, before any image is loaded.

    Those of own images are taken from names and headers.

    Raises:
        UserError: own images are missing or not what they should be.
    """
    if config.dataset in OWN_IMAGES:
        facts = OWN_READERS[config.dataset].facts(config)
        return _own_spec(config, facts, _own_classes(facts))
    spec = DATASETS[config.dataset]
    if config.dataset != "fast_3dshapes":
        return spec
    n_images = math.prod(len(allowed_indices(config, factor)) for factor in FACTOR_SIZES)
    n_train = round(n_images * config.threedshapes_train_frac)
    return dataclasses.replace(
        spec,
        n_train=n_train,
        n_test=n_images - n_train,
        label_names=tuple(config.factors_label_list),
        class_names=tuple(_factor_names(factor) for factor in config.factors_label_list),
    )


def _own_classes(facts: OwnFacts) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Find the classes of each label that has several: their values (K,), and the index (N,) of each image's class."""
    classes = {name: np.unique(values, return_inverse=True) for name, values in facts.labels.items()}
    for name in [name for name, (values, _) in classes.items() if len(values) < 2]:
        log.warning("%s: '%s' has one class only, which tells nothing, and is left out", facts.path, name)
        del classes[name]
    return classes


def _own_spec(config: Config, facts: OwnFacts, classes: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> DatasetSpec:
    """State the facts about own images; where no test split is given, 80 percent are for training."""
    n_train = facts.n_images * 4 // 5 if facts.n_train is None else facts.n_train
    return DatasetSpec(
        name=config.data_name,
        image_shape=facts.image_shape,
        likelihood="normal",
        output_activation="sigmoid",
        n_train=n_train,
        n_test=facts.n_images - n_train,
        label_names=tuple(classes),
        class_names=tuple(class_names(values.tolist()) for values, _ in classes.values()),
        has_even_classes=False,
    )


def _factor_names(factor: str) -> tuple[str, ...]:
    """Name the values of a factor of 3DShapes."""
    if factor.endswith("hue"):
        return HUES
    return SHAPES if factor == "shape" else tuple(map(str, range(FACTOR_SIZES[factor])))


# --- loading

CHUNK = 1000
"""Images of a checksum that are in memory at a time."""


def load_dataset(config: Config, device: torch.device, own: OwnImages | None = None) -> Dataset:
    """Read the configured data set from config.data_dir and put it on the device, if it fits.

    own: own images that are in memory already.

    Raises:
        UserError: a file is missing, damaged, or not what it should be; or there are fewer images than clusters.
    """
    dataset = _of_own(config, own) if config.dataset in OWN_IMAGES else _read_published(config)
    _check_contents(dataset.spec, dataset.train, dataset.test)
    check_counts(config, len(dataset.train), len(dataset.test))
    n_bytes = dataset.train.images.nbytes + dataset.test.images.nbytes
    free = free_memory(device)
    if isinstance(dataset.train.images, Tensor) and n_bytes > free / 2:  # the other half is for model and batches
        log.warning(
            "%s: %.2f GiB of images stay in host memory, as %s has %.2f GiB free; batches are moved one by one, which "
            "is slower",
            *(dataset.spec.name, n_bytes / 2**30, device, free / 2**30),
        )
        return dataset
    return dataclasses.replace(dataset, train=dataset.train.to(device), test=dataset.test.to(device))


def _read_published(config: Config) -> Dataset:
    """Read a data set of the table."""
    arrays = _READERS[config.dataset](config)
    spec = dataclasses.replace(dataset_spec(config), is_synthetic=arrays.is_synthetic)
    return _split(arrays, spec, config.seed)


def _split(arrays: ImageArrays, spec: DatasetSpec, seed: int) -> Dataset:
    """Make tensors of arrays, and split them by the seed where they have no split of their own."""
    images, labels, names, n_train = arrays.images, arrays.labels, arrays.names, arrays.n_train
    if n_train is None:
        order = np.random.default_rng(seed).permutation(len(images))
        images = images.part(order) if isinstance(images, StoredImages) else images[order]
        labels, n_train = labels[order], spec.n_train
        names = tuple(names[i] for i in order) if names else ()
    whole, classes = as_images(images), torch.from_numpy(labels.astype(np.int64))
    train, test = (
        Split(whole[part], classes[part], names=names[part]) for part in (slice(n_train), slice(n_train, None))
    )
    return Dataset(spec, train, test, arrays.source)


def _of_own(config: Config, own: OwnImages | None) -> Dataset:
    """Own images, read where they are not in memory already, with the facts that come from them."""
    facts, images = own or OWN_READERS[config.dataset].read(config)
    classes = _own_classes(facts)
    spec = _own_spec(config, facts, classes)
    indices = [index for _, index in classes.values()]
    labels = np.array(indices, np.int64).reshape(-1, len(images)).T  # (N, L)
    colour, (height, width) = "grey" if images.shape[1] == 1 else "RGB", images.shape[2:]
    found = ", ".join(f"{name} ({len(values)} classes)" for name, (values, _) in classes.items()) or "no labels"
    source = f"{len(images):,} images of {facts.path}, {colour}, {width} x {height} pixels, {found}"
    log.info("%s: %s", config.dataset, source)
    dataset = _split(ImageArrays(images, labels, source, facts.n_train, names=facts.names), spec, config.seed)
    return dataclasses.replace(dataset, spec=dataclasses.replace(spec, checksum=checksum_of(dataset)))


def checksum_of(dataset: Dataset) -> int:
    """Sum up the images of both splits, then their labels; where they lie on disk, this reads all of them once."""
    splits, checksum = (dataset.train, dataset.test), 0
    images = itertools.chain.from_iterable(split.images.split(CHUNK) for split in splits)
    for tensor in itertools.chain(images, (split.labels for split in splits)):
        checksum = zlib.crc32(tensor.contiguous().numpy().data, checksum)
    return checksum


# --- checks


def _check_contents(spec: DatasetSpec, train: Split, test: Split) -> None:
    """Refuse images of another shape, and labels out of range."""
    for name, split in (("training", train), ("test", test)):
        if tuple(split.images.shape[1:]) != spec.image_shape:
            raise UserError(
                f"{spec.name}: {name} images have shape {tuple(split.images.shape[1:])}, not {spec.image_shape}"
            )
        for label, n_classes, values in zip(spec.label_names, spec.n_classes, split.labels.T, strict=True):
            wrong = values[(values < 0) | (values >= n_classes)]
            if len(wrong):
                raise UserError(
                    f"{spec.name}: {label} of a {name} image is {int(wrong[0])}, must be from 0 to {n_classes - 1}; "
                    "get the files again"
                )


def check_counts(config: Config, n_train: int, n_test: int) -> None:
    """Refuse too few images for the clusters, for a test split, or for batch normalisation of the last batch."""
    if n_train < 2:
        remedy = "add more"
        if config.dataset == "fast_3dshapes":
            remedy = f"raise threedshapes_train_frac = {config.threedshapes_train_frac}, "
            remedy += "or allow more values in factors_variation_dict"
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


# --- on the device


def free_memory(device: torch.device) -> float:
    """Free bytes of a GPU; no limit on the host, where the images are already."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else math.inf


def to_device(batch: Tensor, device: torch.device) -> Tensor:
    """Move a batch to the device. From host to GPU it goes by way of pinned memory, and nothing waits for it."""
    if batch.device.type == "cpu" and device.type == "cuda":
        return batch.pin_memory().to(device, non_blocking=True)
    return batch.to(device)


def to_float(images: Tensor) -> Tensor:
    """Turn uint8 images into float32 in [0, 1], of the same shape."""
    return images.float().div_(255)


def training_batches(
    split: Split,
    batch_size: int,
    generator: torch.Generator,
    device: torch.device,
    own: Callable[[Tensor], Tensor] = lambda index: index,
) -> Iterator[Batch]:
    """Yield one epoch in a random order, batch by batch, on the device. The last may be smaller; none is dropped.

    Batches that are not on the device yet are read ahead. own: which part of a batch, given by its index (B,), is
    wanted; by default all of it.
    """
    order = torch.randperm(len(split), generator=generator).to(split.labels.device)
    batches = (split.at(own(index)) for index in order.split(batch_size))
    is_there = isinstance(split.images, Tensor) and split.images.device == device
    return (batch.to(device) for batch in (batches if is_there else ahead(batches)))


def split_labels(split: Split, spec: DatasetSpec) -> dict[str, np.ndarray]:
    """Map each label's name to the (N,) class indices, on the host."""
    labels = split.labels.cpu().numpy()
    return {name: labels[:, i] for i, name in enumerate(spec.label_names)}


def split_class_names(split: Split, spec: DatasetSpec) -> dict[str, np.ndarray]:
    """Map each label's name to the (N,) names of classes, to be shown."""
    labels = zip(split_labels(split, spec).items(), spec.class_names, strict=True)
    return {name: np.array(names)[values] for (name, values), names in labels}
