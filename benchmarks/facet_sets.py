"""The image sets of facets.py: four files at hand, and two that are made on the spot.

Each is an .npz that train.py reads too, by `--dataset npz`; its held-out images for a seed are those of train.py.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch

from config import load_config
from datasets import Dataset, Split, load_dataset, split_labels
from rendering.hdf5_file import write_file
from utils import UserError, make_folder, write_atomically

HERE = Path(__file__).resolve().parent
CPU = torch.device("cpu")
N_INKS = 5


class FacetSet(NamedTuple):
    """The images of one seed's split, a row each, and the labels that a clustering is compared with."""

    n_clusters: tuple[int, ...]
    """(L,): the number of classes of each label."""
    train: np.ndarray
    """(N, P) float32 in [0, 1]"""
    test: np.ndarray
    """(M, P) float32 in [0, 1], held out."""
    labels: dict[str, np.ndarray]
    """Label name -> (M,) classes of the held-out images."""
    image_shape: tuple[int, int, int]
    """(C, H, W), with P = C H W."""


def load_set(path: Path, seed: int) -> FacetSet:
    """The set of an .npz, split by the seed as train.py splits it: a fifth is held out."""
    dataset = load_dataset(load_config(["--dataset", "npz", "--data_dir", str(path), "--seed", str(seed)]), CPU)
    spec = dataset.spec
    labels = split_labels(dataset.test, spec)
    return FacetSet(spec.n_classes, _rows(dataset.train), _rows(dataset.test), labels, spec.image_shape)


def _rows(split: Split) -> np.ndarray:
    """Images (N, C, H, W) uint8 -> (N, P) float32 in [0, 1]."""
    return np.asarray(split.images).reshape(len(split), -1).astype(np.float32) / 255


def set_path(name: str, data_dir: Path, made_dir: Path) -> Path:
    """The .npz of a set in data_dir, or in made_dir, where those that can be made are made once.

    Raises:
        UserError: it is in neither and cannot be made.
    """
    path = data_dir / f"{name}.npz"
    make = SETS[name]
    if make is None or path.exists():
        if not path.exists():
            raise UserError(
                f"{path} is missing; name the folder that holds it by --data_dir, or leave {name} out by --sets"
            )
        return path
    path = make_folder(made_dir) / f"{name}.npz"
    if not path.exists():
        arrays = make()
        write_atomically(path, lambda temporary: _save(temporary, arrays))
    return path


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:  # np.savez would append .npz to the name
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # none is called allow_pickle


def coloured_digits() -> dict[str, np.ndarray]:
    """scikit-learn's 8x8 digits, each in one of five inks on black: images (1797, 8, 8, 3), labels digit and colour."""
    from sklearn.datasets import load_digits

    data = load_digits()
    colours = np.random.default_rng(1).integers(0, N_INKS, len(data.images))
    inks = np.array([colorsys.hsv_to_rgb(i / N_INKS, 1, 1) for i in range(N_INKS)])  # (5, 3)
    images = data.images[..., None] / 16 * inks[colours][:, None, None]  # (N, 8, 8, 1) times (N, 1, 1, 3)
    return {
        "images": np.rint(255 * images).astype(np.uint8),
        "labels": np.stack([data.target, colours], axis=1),
        "label_names": np.array(["digit", "colour"]),
    }


def rendered_3dshapes() -> dict[str, np.ndarray]:
    """The 4,800 images of configs/3dshapes_1.yml, rendered: images (4800, 32, 32, 3), labels shape and floor_hue."""
    with TemporaryDirectory() as folder:
        settings = ["--config_args_path", str(HERE.parent / "configs" / "3dshapes_1.yml"), "--data_dir", folder]
        config = load_config([*settings, "--seed", "0"])
        write_file(Path(folder) / "Fast_3DShapes" / "raw" / "3dshapes.h5", config.factors_variation_dict)
        dataset = load_dataset(config, CPU)
    images, labels = _both(dataset)
    return {"images": images, "labels": labels, "label_names": np.array(dataset.spec.label_names)}


def _both(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, H, W, C) and labels (N, L) of both splits."""
    splits = (dataset.train, dataset.test)
    images = np.concatenate([np.asarray(split.images) for split in splits]).transpose(0, 2, 3, 1)
    return images, np.concatenate([split.labels.numpy() for split in splits])


SETS: dict[str, Callable[[], dict[str, np.ndarray]] | None] = {
    "stickfigures": None,
    "nrletters": None,
    "cmufaces": None,
    "gtsrb": None,
    "coloured_digits": coloured_digits,
    "3dshapes_1": rendered_3dshapes,
}
"""Name of each set -> what makes it; None: its file has to be there."""
