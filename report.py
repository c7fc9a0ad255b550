"""One page of a run: its facets, clusters and images, to look at, play with and name.

    python report.py --model_path results/demo_seed0/save_dict.pt

The page is one HTML file that needs neither server nor network. train.py writes it, too, at the end of a run.
"""

from __future__ import annotations

from interrupts import run_script

from evaluation.choices import report_parser

if __name__ == "__main__":
    report_parser(__doc__).answer_help()  # PyTorch would take seconds to be imported for it

import logging
from collections.abc import Sequence

from evaluation.opening import default_folder, observe_model
from reporting.opening import run_rows, write_report


def main(argv: Sequence[str] | None = None) -> int:
    """Read words, write the page, say where it is."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments = report_parser(__doc__).parse_args(argv)
    path = arguments.output or default_folder(arguments.model_path).parent / "report.html"
    observed = observe_model(
        arguments.model_path, arguments.split, arguments.data_dir, arguments.device, arguments.batch_size
    )
    write_report(observed, path, run_rows(arguments.model_path), arguments.map)
    print(path)
    return 0


if __name__ == "__main__":
    run_script(main)
