"""Gaussian mixtures fitted to encodings by scikit-learn, in a process of its own: the 50 MiB that it takes end with it."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Sequence

import numpy as np


def mixture_means(encodings: Sequence[np.ndarray], n_clusters: Sequence[int], seed: int) -> list[np.ndarray]:
    """Means of one diagonal mixture per facet. J arrays (N, D_j) and J numbers K_j -> J arrays (K_j, D_j)."""
    question = pickle.dumps((encodings, n_clusters, seed))
    command = [sys.executable, __file__]
    # In a session of its own Ctrl-C does not reach it; what ends the wait for it ends it, too.
    answer = subprocess.run(command, input=question, stdout=subprocess.PIPE, check=True, start_new_session=True)
    return pickle.loads(answer.stdout)


def main() -> None:
    """Read a question from stdin, write the answer to stdout."""
    from sklearn.mixture import GaussianMixture

    encodings, n_clusters, seed = pickle.load(sys.stdin.buffer)
    mixtures = [
        GaussianMixture(K, covariance_type="diag", random_state=seed).fit(m)
        for m, K in zip(encodings, n_clusters, strict=True)
    ]
    pickle.dump([mixture.means_ for mixture in mixtures], sys.stdout.buffer)


if __name__ == "__main__":
    main()
