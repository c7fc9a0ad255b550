"""What happens when two inputs exchange one facet: reconstructions before and after, for many pairs of clusters.

    python eval_compositionality.py --model_path pretrained_models/mnist.pt --swapped_facet 0

Writes swap_clusters_<a>_<b>/x_x_hat_{before,after}_{0,1}.pdf and .png for the most confident clusters a and b of the swapped
facet (0: inputs of a, 1: inputs of b), and composition_overview_facets_<other>_<swapped>.pdf and .png, which combine
the cluster means of two facets.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from evaluation.figures import after_swap, before_swap, composition
from evaluation.opening import Evaluation, copy_figure, evaluation_parser, open_evaluation, write_figure
from evaluation.predictions import RankedCluster, pair_members
from flags import FlagParser, non_negative_int, positive_int
from interrupts import run_script
from utils import UserError

log = logging.getLogger(__name__)

Pair = tuple[RankedCluster, RankedCluster]
Indices = tuple[np.ndarray, np.ndarray]  # two of (n,)
N_INPUTS = 10  # of each cluster in a figure
N_OVERVIEW = 25  # most confident clusters of each facet in the overview


def add_flags(parser: FlagParser) -> None:
    """The flags of this script alone."""
    help_text = "facet whose z is exchanged [1, or the only one]"
    parser.add_argument("--swapped_facet", type=non_negative_int, help=help_text)
    for which in (1, 2):
        parser.add_argument(
            f"--first_n_clusters_swapped_{which}",
            type=positive_int,
            default=5,
            help=f"most confident clusters that may be side {which} of a pair [5]",
        )


def facet_to_swap(evaluation: Evaluation, j: int | None) -> int:
    """The facet that was asked for, which must be there; else facet 1, or the only one."""
    J = evaluation.config.J_n_mixtures
    if j is None:
        return min(1, J - 1)
    if j >= J:
        raise UserError(f"--swapped_facet {j}: the model has {J} facets, 0 to {J - 1}")
    return j


def cluster_pairs(ranked: Sequence[RankedCluster], n_1: int, n_2: int) -> list[Pair]:
    """Each unordered pair of one of the first n_1 and one of the first n_2 clusters, once; also within a cluster."""
    ranks = {tuple(sorted((a, b))) for a in range(min(n_1, len(ranked))) for b in range(min(n_2, len(ranked)))}
    return [(ranked[a], ranked[b]) for a, b in sorted(ranks)]


def draw_before(
    evaluation: Evaluation, j: int, pair: Pair, index: Indices, folder: Path, drawn: dict[Any, Path]
) -> None:
    """Both sides before the swap. A cluster is in many pairs, mostly with the same inputs: those are drawn once."""
    for side in range(2):
        path = folder / f"x_x_hat_before_{side}"
        key = pair[side].cluster, index[side].tobytes()
        if key in drawn:
            copy_figure(drawn[key], path)
            continue
        figure = before_swap(
            evaluation.model,
            evaluation.predictions,
            evaluation.split,
            index[side],
            evaluation.coefficients,
            f"{evaluation.data_name}, cluster {pair[side].cluster} of facet {j}",
        )
        write_figure(figure, path)
        drawn[key] = path


def draw_after(evaluation: Evaluation, j: int, pair: Pair, index: Indices, folder: Path) -> None:
    """Both sides after the swap."""
    a, b = pair[0].cluster, pair[1].cluster
    titles = [
        f"{evaluation.data_name}, cluster {own} of facet {j}: its z_{j} from cluster {of}"
        for own, of in ((a, b), (b, a))
    ]
    shown = after_swap(
        evaluation.model,
        evaluation.predictions,
        j,
        evaluation.split,
        index,
        evaluation.coefficients,
        (titles[0], titles[1]),
    )
    for side, figure in enumerate(shown):
        write_figure(figure, folder / f"x_x_hat_after_{side}")


def draw(evaluation: Evaluation, j: int, n_1: int, n_2: int) -> None:
    """Write the figures of all pairs, and an overview for every other facet."""
    if max(n_1, n_2) > len(evaluation.ranked[j]):
        log.warning("facet %d has only %d clusters with members: these are swapped", j, len(evaluation.ranked[j]))
    drawn: dict[Any, Path] = {}
    for pair in tqdm(cluster_pairs(evaluation.ranked[j], n_1, n_2), desc="swaps", unit="pair"):
        folder = evaluation.folder / f"swap_clusters_{pair[0].cluster}_{pair[1].cluster}"
        index = pair_members(*pair, N_INPUTS)
        draw_before(evaluation, j, pair, index, folder, drawn)
        draw_after(evaluation, j, pair, index, folder)
    for other in range(len(evaluation.ranked)):
        if other != j:
            figure = composition(
                evaluation.model,
                evaluation.ranked,
                (other, j),
                N_OVERVIEW,
                evaluation.labels,
                evaluation.coefficients,
                evaluation.data_name,
            )
            write_figure(figure, evaluation.folder / f"composition_overview_facets_{other}_{j}")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, predict, draw."""
    parser = evaluation_parser(__doc__)
    add_flags(parser)
    arguments = parser.parse_args(argv)
    evaluation = open_evaluation(arguments)
    draw(
        evaluation,
        facet_to_swap(evaluation, arguments.swapped_facet),
        arguments.first_n_clusters_swapped_1,
        arguments.first_n_clusters_swapped_2,
    )
    print(f"wrote {evaluation.folder}/swap_clusters_*, composition_overview_*")
    return 0


if __name__ == "__main__":
    run_script(main)
