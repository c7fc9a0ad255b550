"""Images generated from every cluster, one figure per facet.

    python eval_sample_generation.py --model_path pretrained_models/mnist.pt --temperature 1.0

Writes generations_facet_<i>.pdf and .png. Rows are in the order of the examples' figures, so that both can be laid side
by side; clusters without members are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from tqdm import tqdm

from evaluation.figures import cluster_label, generations
from evaluation.opening import Evaluation, evaluation_parser, open_evaluation, write_figure
from flags import FlagParser, non_negative_float
from interrupts import run_script

N_SAMPLES = 10


def add_flags(parser: FlagParser) -> None:
    """The flags of this script alone."""
    parser.add_argument(
        "--temperature", type=non_negative_float, default=0.3, help="scales the standard deviation of p(z|c) [0.3]"
    )


def draw(evaluation: Evaluation, temperature: float, seed: int) -> None:
    """Write the figure of every facet."""
    for i, ranked in enumerate(tqdm(evaluation.ranked, desc="generations", unit="facet")):
        figure = generations(
            evaluation.model,
            i,
            [cluster.cluster for cluster in ranked],
            N_SAMPLES,
            temperature,
            evaluation.coefficients,
            seed,
            f"{evaluation.data_name}, facet {i}: generated at temperature {temperature:g}",
            [cluster_label(cluster, evaluation.labels) for cluster in ranked],
        )
        write_figure(figure, evaluation.folder / f"generations_facet_{i}")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, predict, draw."""
    parser = evaluation_parser(__doc__)
    add_flags(parser)
    arguments = parser.parse_args(argv)
    evaluation = open_evaluation(arguments)
    draw(evaluation, arguments.temperature, arguments.seed)
    print(f"wrote {evaluation.folder}/generations_facet_*")
    return 0


if __name__ == "__main__":
    run_script(main)
