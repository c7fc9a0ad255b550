"""The paper's results that reproduce.py compares with, and its flags."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from flags import FlagParser
from sweeps.command import add_seeds_flag, add_sharing_flags


class Published(NamedTuple):
    """Accuracy in percent over seeds 0 to 9, of the facet that fits the label best.

    The paper's Section 4 prints the standard deviation over n - 1.
    """

    mean: float
    sd: float
    """Over n."""


PUBLISHED = {
    "mnist": {"digit": Published(92.02, 3.02)},
    "3dshapes_1": {"floor_hue": Published(99.46, 1.10), "shape": Published(88.47, 1.82)},
    "3dshapes_2": {"wall_hue": Published(100.00, 0.00), "shape": Published(90.05, 2.65)},
    "svhn": {"digit": Published(56.25, 0.88)},
}


def reproduce_parser(description: str | None) -> FlagParser:
    """The flags of reproduce.py."""
    parser = FlagParser(description)
    parser.add_argument("experiment", choices=PUBLISHED)
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="folder of the data sets [data]")
    parser.add_argument("--results_dir", type=Path, default=Path("results"), help="folder of the sweep [results]")
    add_seeds_flag(parser)
    add_sharing_flags(parser)
    return parser
