"""Gaussian mixtures fitted to encodings by scikit-learn, in a process of its own: the 50 MiB that it takes end with it."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence

import numpy as np


def mixture_means(encodings: Sequence[np.ndarray], n_clusters: Sequence[int], seed: int) -> list[np.ndarray]:
    """Means of one diagonal mixture per facet. J arrays (N, D_j) and J numbers K_j -> J arrays (K_j, D_j).

    Raises:
        UserError: scikit-learn cannot fit one, or its process ends before it has.
    """
    question = pickle.dumps((encodings, n_clusters, seed))
    done = subprocess.run([sys.executable, __file__], input=question, stdout=subprocess.PIPE, check=False)
    answer = pickle.loads(done.stdout) if done.returncode == 0 else _ending(done.returncode)
    if isinstance(answer, str):
        from utils import UserError  # which loads PyTorch: nothing for the other process

        raise UserError(
            f"the mixtures of n_clusters_j_list = {list(n_clusters)} cannot be fitted to the encodings ({answer}); use "
            "fewer clusters, or --init_type_p_z_c glorot, which needs no fit"
        )
    return answer


def _ending(returncode: int) -> str:
    """What became of the other process, in words."""
    if returncode > 0:
        return f"their process ended with status {returncode}, its last words are above"
    return f"their process was killed by signal {-returncode}, as systems do where the memory does not suffice"


def main() -> None:
    """Read a question from stdin, write the answer to stdout: the means, or what is wrong."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the process that asked, and that one this
    from sklearn.mixture import GaussianMixture

    encodings, n_clusters, seed = pickle.load(sys.stdin.buffer)
    mixtures = [GaussianMixture(K, covariance_type="diag", random_state=seed) for K in n_clusters]
    try:
        answer = [mixture.fit(m).means_ for mixture, m in zip(mixtures, encodings, strict=True)]
    except ValueError as error:
        answer = str(error)
    pickle.dump(answer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
