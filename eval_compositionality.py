"""What happens when two inputs exchange one facet: reconstructions before and after, for many pairs of clusters.

    python eval_compositionality.py --model_path pretrained_models/mnist.pt --swapped_facet 0

Writes swap_clusters_<a>_<b>/x_x_hat_{before,after}_{0,1}.png for the most confident clusters a and b of the swapped
facet (0: inputs of a, 1: inputs of b), and composition_overview_facets_<other>_<swapped>.png, which combines the
cluster means of two facets. --formats pdf writes PDF files instead, --formats png pdf both.
"""

from __future__ import annotations

from interrupts import run_script

from collections.abc import Sequence

from evaluation.choices import choices_of, swap_parser

if __name__ == "__main__":
    swap_parser(__doc__).answer_help()  # PyTorch would take seconds to be imported for it

from evaluation.opening import open_evaluation
from evaluation.writing import write_swaps


def main(argv: Sequence[str] | None = None) -> int:
    """Read words, draw."""
    arguments = swap_parser(__doc__).parse_args(argv)
    observed, folder = open_evaluation(arguments)
    write_swaps(observed, folder, choices_of(arguments))
    print(f"wrote {folder.path}/swap_clusters_*, composition_overview_*")
    return 0


if __name__ == "__main__":
    run_script(main)
