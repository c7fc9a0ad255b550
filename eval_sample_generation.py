"""Images generated from every cluster, one figure per facet.

    python eval_sample_generation.py --model_path pretrained_models/mnist.pt --temperature 1.0

Writes generations_facet_<j>.png. Rows are in the order of the examples' figures, so that both can be laid side by side;
clusters without members are left out. --formats pdf writes PDF files instead, --formats png pdf both.
"""

from __future__ import annotations

from interrupts import run_script

from collections.abc import Sequence

from evaluation.choices import choices_of, generation_parser

if __name__ == "__main__":
    generation_parser(__doc__).answer_help()  # PyTorch would take seconds to be imported for it

from evaluation.opening import open_evaluation
from evaluation.writing import write_generations


def main(argv: Sequence[str] | None = None) -> int:
    """Read words, draw."""
    arguments = generation_parser(__doc__).parse_args(argv)
    observed, folder = open_evaluation(arguments)
    write_generations(observed, folder, choices_of(arguments))
    print(f"wrote {folder.path}/generations_facet_*")
    return 0


if __name__ == "__main__":
    run_script(main)
