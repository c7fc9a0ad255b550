"""The mixtures that a run's clusters start from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gmm import mixture_means
from utils import UserError

CENTRES = np.array([[5, 0, 0], [0, 5, 0], [0, 0, 5], [-5, 0, 0]], dtype=np.float32)


def encodings(n_clusters: int, D: int) -> np.ndarray:
    """50 encodings around each of the first centres, of the first D dimensions."""
    noise = np.random.default_rng(0).normal(0, 0.01, (50 * n_clusters, D))
    return (np.repeat(CENTRES[:n_clusters, :D], 50, axis=0) + noise).astype(np.float32)


def test_the_means_of_every_facet_are_those_of_its_clusters():
    means = mixture_means([encodings(4, 3), encodings(2, 2)], [4, 2], seed=0)
    assert sorted(means[0].round().tolist()) == sorted(CENTRES.tolist())
    assert sorted(means[1].round().tolist()) == sorted(CENTRES[:2, :2].tolist())


def test_equal_seeds_give_equal_means():
    m = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    first, again, other = (mixture_means([m], [5], seed)[0] for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_what_cannot_be_fitted_is_an_error_of_the_user():
    with pytest.raises(UserError, match=r"n_clusters_j_list = \[3\] cannot be fitted .*n_samples >= n_components"):
        mixture_means([np.eye(2)], [3], seed=0)


@pytest.mark.skipif(sys.platform == "win32", reason="needs sh")
@pytest.mark.parametrize(
    ("last", "words"), [("kill -9 $$", "was killed by signal 9, as systems do"), ("exit 3", "ended with status 3")]
)
def test_a_process_that_ends_early_is_one_line(tmp_path, monkeypatch, last, words):
    (tmp_path / "python").write_text(f"#!/bin/sh\n{last}\n")
    (tmp_path / "python").chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(UserError, match=f"{words}.*glorot, which needs no fit"):
        mixture_means([np.eye(4)], [2], seed=0)


def test_scikit_learn_stays_out_of_the_process():
    code = (
        "import sys, numpy as np; from gmm import mixture_means; mixture_means([np.eye(4)], [2], 0); "
        "sys.exit('sklearn' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True)
