"""Find numbers of facets and clusters, latent dimensions and sigma for your own images, without labels.

    python tune.py --config_args_path configs/folder.yml --data_dir photos --minutes 10 --workers 2

Flags that are not listed here are settings of train.py. Writes a YAML file for train.py's --config_args_path and says
why it chose it. Run the same command again to go on where it was stopped. docs/tune.md says how it judges.
"""

from __future__ import annotations

from interrupts import run_script

import os
from collections.abc import Sequence
from functools import partial

from config import file_settings, resolve
from flags import FlagParser, positive_int, whole_number
from sweeps.command import STORAGE_VARIABLE, read_command, worker_count
from tuning.options import TuneOptions
from utils import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Read words, options of the search and settings of train.py, and search; the exit status."""
    default = TuneOptions()
    parser = FlagParser(__doc__)
    facets, clusters = partial(whole_number, least=1, most=100), partial(whole_number, least=2, most=100_000)
    for name, kind, about in (
        ("minutes", positive_int, "how long to search"),
        ("workers", worker_count, "processes; they share this machine's cores"),
        ("max_facets", facets, "the largest number of facets J that is tried"),
        ("max_clusters", clusters, "the largest number of clusters K_j that is tried"),
    ):
        value = getattr(default, name)
        parser.add_argument(f"--{name}", type=kind, default=value, metavar="N", help=f"{about} [{value}]")
    parser.add_argument(
        "--storage",
        metavar="URL",
        default=os.environ.get(STORAGE_VARIABLE),
        help=f"Optuna's data base [{STORAGE_VARIABLE}, else sqlite:///results/<images>_tune/tune.db]",
    )
    parser.add_argument("--output", metavar="YAML", help="where the settings go [results/<images>_tune/tuned.yml]")
    arguments, settings = read_command(parser, argv)
    for name, bound in (("J_n_mixtures", "max_facets"), ("n_clusters_j_list", "max_clusters")):
        if name in settings:
            raise UserError(f"--{name}: tune.py looks for it; leave it out, or bound the search by --{bound}")
    config = resolve(file_settings(settings), settings, {})
    from tuning.search import tune  # PyTorch and Optuna take seconds to import

    return tune(config, TuneOptions(**vars(arguments)))


if __name__ == "__main__":
    run_script(main)
