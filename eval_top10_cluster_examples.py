"""The ten most confident inputs of every cluster, one figure per facet.

    python eval_top10_cluster_examples.py --model_path pretrained_models/mnist.pt

Writes examples_top_10_facet_<j>_full.pdf and .png. Rows are clusters by the mean confidence of their members.
"""

from __future__ import annotations

from collections.abc import Sequence

from tqdm import tqdm

from evaluation.figures import top_examples
from evaluation.opening import Evaluation, evaluation_parser, open_evaluation, write_figure
from interrupts import run_script

N_EXAMPLES = 10


def draw(evaluation: Evaluation) -> None:
    """Write the figure of every facet."""
    for j in tqdm(range(evaluation.config.J_n_mixtures), desc="top examples", unit="facet"):
        figure = top_examples(
            evaluation.predictions,
            j,
            evaluation.split,
            evaluation.labels,
            N_EXAMPLES,
            f"{evaluation.title}, facet {j}: most confident inputs per cluster",
        )
        write_figure(figure, evaluation.folder / f"examples_top_{N_EXAMPLES}_facet_{j}_full")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, predict, draw."""
    evaluation = open_evaluation(evaluation_parser(__doc__).parse_args(argv))
    draw(evaluation)
    print(f"wrote {evaluation.folder}/examples_top_{N_EXAMPLES}_facet_*")
    return 0


if __name__ == "__main__":
    run_script(main)
