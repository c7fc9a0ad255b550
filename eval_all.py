"""The three evaluations one after another, with one load of the model and one pass over the split.

    python eval_all.py --model_path pretrained_models/mnist.pt --temperature 1.0 --swapped_facet 0

Takes the flags of eval_top10_cluster_examples.py, eval_sample_generation.py and eval_compositionality.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import eval_compositionality
import eval_sample_generation
import eval_top10_cluster_examples
from evaluation.opening import evaluation_parser, open_evaluation
from interrupts import run_script


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, predict, draw everything."""
    parser = evaluation_parser(__doc__)
    eval_sample_generation.add_flags(parser)
    eval_compositionality.add_flags(parser)
    arguments = parser.parse_args(argv)
    evaluation = open_evaluation(arguments)
    swapped_facet = eval_compositionality.facet_to_swap(evaluation, arguments.swapped_facet)
    eval_top10_cluster_examples.draw(evaluation)
    eval_sample_generation.draw(evaluation, arguments.temperature, arguments.seed)
    eval_compositionality.draw(
        evaluation,
        swapped_facet,
        arguments.first_n_clusters_swapped_1,
        arguments.first_n_clusters_swapped_2,
    )
    print(f"wrote {evaluation.folder}")
    return 0


if __name__ == "__main__":
    run_script(main)
