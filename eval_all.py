"""The three evaluations one after another, with one load of the model and one pass over the split.

    python eval_all.py --model_path pretrained_models/mnist.pt --published mnist

Takes the flags of eval_top10_cluster_examples.py, eval_sample_generation.py and eval_compositionality.py. --published
sets temperature, exchanged facet and clusters as the paper has them; flags beside it win.
"""

from __future__ import annotations

from interrupts import run_script

from collections.abc import Sequence

from evaluation.choices import all_parser, choices_of

if __name__ == "__main__":
    all_parser(__doc__).answer_help()  # PyTorch would take seconds to be imported for it

from evaluation.opening import open_evaluation
from evaluation.writing import evaluate_all


def main(argv: Sequence[str] | None = None) -> int:
    """Read words, draw everything."""
    arguments = all_parser(__doc__).parse_args(argv)
    observed, folder = open_evaluation(arguments)
    evaluate_all(observed, folder, choices_of(arguments))
    print(f"wrote {folder.path}")
    return 0


if __name__ == "__main__":
    run_script(main)
