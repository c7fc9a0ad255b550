"""The ten most confident inputs of every cluster, one figure per facet.

    python eval_top10_cluster_examples.py --model_path pretrained_models/mnist.pt

Writes examples_top_10_facet_<j>_full.png. Rows are clusters by the mean confidence of their members. --formats pdf
writes PDF files instead, --formats png pdf both.
"""

from __future__ import annotations

from interrupts import run_script

from collections.abc import Sequence

from evaluation.choices import evaluation_parser

if __name__ == "__main__":
    evaluation_parser(__doc__).answer_help()  # PyTorch would take seconds to be imported for it

from evaluation.opening import open_evaluation
from evaluation.writing import N_IMAGES, write_top_examples


def main(argv: Sequence[str] | None = None) -> int:
    """Read words, draw."""
    observed, folder = open_evaluation(evaluation_parser(__doc__).parse_args(argv))
    write_top_examples(observed, folder)
    print(f"wrote {folder.path}/examples_top_{N_IMAGES}_facet_*")
    return 0


if __name__ == "__main__":
    run_script(main)
