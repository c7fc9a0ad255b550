"""Words of start_sweep.py and attach_sweep.py -> what they ask for.

PyTorch takes seconds to import and is not needed to read words: what needs it is imported after them.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from config import parse_flags
from flags import FlagParser, positive_int
from sweeps.request import JoinRequest, Sharing, StartRequest
from sweeps.variation import seeds_from_words
from utils import UserError, n_processes

STORAGE_VARIABLE = "MFCVAE_SWEEP_STORAGE"
"""Environment variable with the default of --storage."""


def start_command(description: str | None, argv: Sequence[str] | None) -> int:
    """Read the words of start_sweep.py and do what they say; the exit status."""
    parser = FlagParser(description)
    add_seeds_flag(parser)
    add_start_flags(parser)
    add_sharing_flags(parser)
    arguments, settings = read_command(parser, argv)
    request = StartRequest(
        settings,
        seeds_from_words(arguments.seeds),
        arguments.sweep_config,
        arguments.sweep_name,
        sharing_of(arguments),
    )
    from sweeps.entries import start_sweep, summarise_sweep

    return summarise_sweep(request) if arguments.summarise else start_sweep(request)


def join_command(description: str | None, argv: Sequence[str] | None) -> int:
    """Read the words of attach_sweep.py and do what they say; the exit status."""
    parser = FlagParser(description)
    parser.add_argument("--sweep_id", type=some_name, required=True, help="as start_sweep.py printed it")
    _add_name_flag(parser)
    add_sharing_flags(parser)
    arguments, settings = read_command(parser, argv)
    from sweeps.entries import join_sweep

    return join_sweep(JoinRequest(settings, arguments.sweep_id, arguments.sweep_name, sharing_of(arguments)))


def read_command(parser: FlagParser, argv: Sequence[str] | None) -> tuple[argparse.Namespace, Mapping[str, Any]]:
    """The parser's flags, and the settings of train.py that the other words name."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if n_processes() > 1:
        raise UserError("torchrun trains one model by several processes (train.py); a sweep has --workers instead")
    arguments, words = parser.parse_known_args(argv)
    hide_address(sys.argv)
    return arguments, parse_flags(words, parser.flags)


def hide_address(words: list[str]) -> None:
    """Take --storage's address out of a command line: it may hold a password, and wandb writes sys.argv down."""
    for i, word in enumerate(words):
        if word.startswith("--storage="):
            words[i] = "--storage=***"
        elif i > 0 and words[i - 1] == "--storage":
            words[i] = "***"


# --- flags


def add_seeds_flag(parser: FlagParser) -> None:
    """The flag of which seeds to train."""
    parser.add_argument("--seeds", nargs="*", metavar="SEED", help="0 1 2, or 0 .. 9 for a range [0 .. 9]")


def add_start_flags(parser: FlagParser) -> None:
    """The flags of what else a new sweep is made of."""
    parser.add_argument("--sweep_config", metavar="YAML", help="method and parameters in the format of wandb's sweeps")
    parser.add_argument("--summarise", action="store_true", help="only write and print an earlier sweep's summary")
    _add_name_flag(parser)


def _add_name_flag(parser: FlagParser) -> None:
    parser.add_argument("--sweep_name", type=some_name, help="folder below results [<configuration>_sweep]")


def add_sharing_flags(parser: FlagParser) -> None:
    """The flags of who shares out the runs, and among whom."""
    default = Sharing()
    parser.add_argument(
        "--backend",
        choices=("auto", "wandb", "optuna"),
        default=default.backend,
        help="who shares out the runs; auto: wandb where a key is found, else Optuna [auto]",
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        default=os.environ.get(STORAGE_VARIABLE),
        help=f"Optuna's data base [{STORAGE_VARIABLE}, else sqlite:///<folder of the sweep>/sweep.db]",
    )
    parser.add_argument(
        "--workers",
        type=worker_count,
        default=default.workers,
        help="processes; they share this machine's cores [1]",
    )
    parser.add_argument(
        "--patience",
        type=positive_int,
        default=default.patience,
        metavar="SECONDS",
        help="a worker that is not heard of for this long is given up, and another takes its run (Optuna) [120]",
    )


def some_name(text: str) -> str:
    """A name, and not what a variable of a shell leaves that was never set."""
    if not text.strip():
        raise argparse.ArgumentTypeError("a name is needed, but this one is empty")
    return text


def worker_count(text: str) -> int:
    """A number of processes that a machine may start; each takes some hundred megabytes."""
    count, most = positive_int(text), max(64, 4 * (os.cpu_count() or 1))
    if count > most:
        raise argparse.ArgumentTypeError(f"{text} processes are more than the {most} that this machine should start")
    return count


def sharing_of(arguments: argparse.Namespace) -> Sharing:
    """What the flags of add_sharing_flags say."""
    return Sharing(arguments.backend, arguments.storage, arguments.workers, arguments.patience)
