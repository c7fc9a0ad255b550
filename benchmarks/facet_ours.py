"""MFCVAE as a method of facets.py: configs/folder.yml with nothing set but the numbers of facets and clusters.

The factorial clustering that it starts from is a method of its own, so that what training adds is seen.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.facet_sets import CPU, FacetSet
from datasets import load_dataset
from evaluation.predictions import predict
from factorial.clustering import factorial_clustering
from load_model import load_model_from_save_dict
from utils import UserError

HERE = Path(__file__).resolve().parent
N_CLUSTERS = {
    "stickfigures": (3, 3),
    "nrletters": (6, 3, 4),
    "cmufaces": (20, 4),
    "gtsrb": (4, 2, 3),
    "coloured_digits": (10, 5),
    "3dshapes_1": (60, 10),
}
"""Name of each set -> K_j of the J facets: the classes of its labels; of 3DShapes, where size and turn vary too, 60."""


def cluster_by_facets(path: Path, seed: int, n_clusters: Sequence[int], results_dir: Path) -> np.ndarray:
    """Trains on the .npz, or goes on training; (M, J): the cluster of each held-out image in each facet."""
    name = f"{path.stem}_seed{seed}"
    command = [sys.executable, str(HERE.parent / "train.py"), "--config_args_path", "configs/folder.yml"]
    command += ["--dataset", "npz", "--image_size", "none", "--data_dir", str(path.resolve()), "--seed", str(seed)]
    command += ["--J_n_mixtures", str(len(n_clusters)), "--n_clusters_j_list", *map(str, n_clusters)]
    command += ["--run_name", name, "--results_dir", str(results_dir.resolve()), "--wandb_mode", "disabled"]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError((done.stderr.strip() or f"train.py stopped with {done.returncode}").splitlines()[-1])
    model, config = load_model_from_save_dict(results_dir / name / "save_dict.pt", map_location="cpu")
    test = load_dataset(dataclasses.replace(config, data_dir=str(path)), CPU).test
    return predict(model, test.images, batch_size=config.eval_batch_size).clusters


def cluster_by_codes(data: FacetSet, seed: int, n_clusters: Sequence[int]) -> np.ndarray:
    """(M, J): the code of each held-out image in each facet of a factorial clustering of the training images."""
    train, test = (_images(rows, data) for rows in (data.train, data.test))
    return factorial_clustering(train, n_clusters, seed).predict(test)


def _images(rows: np.ndarray, data: FacetSet) -> np.ndarray:
    """Rows (N, P) of a set, in [0, 1] -> images (N, C, H, W) uint8."""
    return np.rint(255 * rows).astype(np.uint8).reshape(-1, *data.image_shape)
