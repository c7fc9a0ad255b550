"""The figures of the evaluation scripts, written into a folder under their published names."""

from __future__ import annotations

import logging
from pathlib import Path

from matplotlib.figure import Figure
from tqdm import tqdm

from evaluation.choices import Choices
from evaluation.decoding import Sampling, pair_members
from evaluation.figures import after_swap, before_swap, composition, generations, top_examples
from evaluation.predictions import Observed, RankedCluster
from plotting import save_figure
from utils import UserError, make_folder

log = logging.getLogger(__name__)

N_IMAGES = 10  # of each cluster in a figure
N_OVERVIEW = 25  # most confident clusters of each facet in the overview


class FigureFolder:
    """A folder of figures, each in every format that was asked for."""

    def __init__(self, path: Path, formats: tuple[str, ...] = ("png",)):
        self.path = make_folder(path)
        self.formats = formats

    def write(self, figure: Figure, name: str) -> None:
        """Write <name>.png, or whatever the formats are. The name may have folders in it."""
        path = self.path / name
        make_folder(path.parent)
        save_figure(figure, path, self.formats)


def evaluate_all(observed: Observed, folder: FigureFolder, choices: Choices) -> None:
    """Write the figures of all three evaluations."""
    facet_to_swap(observed, choices.swapped_facet)  # a wrong one is told before anything is drawn
    write_top_examples(observed, folder)
    write_generations(observed, folder, choices)
    write_swaps(observed, folder, choices)


def write_top_examples(observed: Observed, folder: FigureFolder) -> None:
    """Write of each facet: a row per cluster, its most confident inputs."""
    for j in tqdm(range(observed.config.J_n_mixtures), desc="top examples", unit="facet"):
        folder.write(top_examples(observed, j, N_IMAGES), f"examples_top_{N_IMAGES}_facet_{j}_full")


def write_generations(observed: Observed, folder: FigureFolder, choices: Choices) -> None:
    """Write of each facet: a row per cluster, images generated from it."""
    sampling = Sampling(N_IMAGES, choices.temperature, choices.seed)
    for j in tqdm(range(observed.config.J_n_mixtures), desc="generations", unit="facet"):
        folder.write(generations(observed, j, sampling), f"generations_facet_{j}")


def write_swaps(observed: Observed, folder: FigureFolder, choices: Choices) -> None:
    """Write what happens to pairs of inputs that exchange one facet, and an overview with every other facet."""
    j = facet_to_swap(observed, choices.swapped_facet)
    ranked, n_1, n_2 = observed.ranked[j], choices.first_n_clusters_swapped_1, choices.first_n_clusters_swapped_2
    if max(n_1, n_2) > len(ranked):
        log.warning("facet %d has only %d clusters with members: these are swapped", j, len(ranked))
    for pair in tqdm(cluster_pairs(ranked, n_1, n_2), desc="swaps", unit="pair"):
        write_swap(observed, folder, j, pair)
    for other in range(observed.config.J_n_mixtures):
        if other != j:
            folder.write(composition(observed, (other, j), N_OVERVIEW), f"composition_overview_facets_{other}_{j}")


def write_swap(observed: Observed, folder: FigureFolder, j: int, pair: tuple[RankedCluster, RankedCluster]) -> None:
    """Write four figures of two clusters of facet j: the inputs of either before and after the exchange."""
    a, b = pair[0].cluster, pair[1].cluster
    index = pair_members(*pair, N_IMAGES)
    after = after_swap(observed, j, (a, b), index)
    for side, cluster in enumerate((a, b)):
        before = before_swap(observed, j, cluster, index[side])
        folder.write(before, f"swap_clusters_{a}_{b}/x_x_hat_before_{side}")
        folder.write(after[side], f"swap_clusters_{a}_{b}/x_x_hat_after_{side}")


def facet_to_swap(observed: Observed, j: int | None) -> int:
    """The facet that was asked for, which must be there; else facet 1, or the only one."""
    J = observed.config.J_n_mixtures
    if j is None:
        return min(1, J - 1)
    if j >= J:
        raise UserError(f"--swapped_facet {j}: the model has {J} facets, 0 to {J - 1}")
    return j


def cluster_pairs(ranked: list[RankedCluster], n_1: int, n_2: int) -> list[tuple[RankedCluster, RankedCluster]]:
    """Each unordered pair of one of the first n_1 and one of the first n_2 clusters, once; also within a cluster."""
    ranks = {(min(a, b), max(a, b)) for a in range(min(n_1, len(ranked))) for b in range(min(n_2, len(ranked)))}
    return [(ranked[a], ranked[b]) for a, b in sorted(ranks)]
