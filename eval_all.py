"""The three evaluations one after another, with one load of the model and one pass over the split.

    python eval_all.py --model_path pretrained_models/mnist.pt --published mnist

Takes the flags of eval_top10_cluster_examples.py, eval_sample_generation.py and eval_compositionality.py. --published
sets temperature, exchanged facet and clusters as the paper has them; flags beside it win.
"""

from __future__ import annotations

from interrupts import run_script

from collections.abc import Sequence

from evaluation.opening import add_generation_flags, add_swap_flags, choices_of, evaluation_parser, open_evaluation
from evaluation.writing import PUBLISHED_CHOICES, evaluate_all


def main(argv: Sequence[str] | None = None) -> int:
    """Read words, draw everything."""
    parser = evaluation_parser(__doc__)
    add_generation_flags(parser)
    add_swap_flags(parser)
    parser.add_argument(
        "--published", choices=PUBLISHED_CHOICES, help="a published configuration, whose figures these are like"
    )
    arguments = parser.parse_args(argv)
    observed, folder = open_evaluation(arguments)
    evaluate_all(observed, folder, choices_of(arguments))
    print(f"wrote {folder.path}")
    return 0


if __name__ == "__main__":
    run_script(main)
