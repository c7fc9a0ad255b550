"""Start a sweep over seeds, or go on with one.

    python start_sweep.py --config_args_path configs/digits.yml --seeds 0 .. 9 --workers 2

Any flag of train.py may follow and holds for every run. Run the same command again to resume: finished runs are kept,
failed ones get another try. Other machines join with attach_sweep.py.
"""

from __future__ import annotations

from interrupts import run_script

from collections.abc import Sequence

from sweeps.command import start_command


def main(argv: Sequence[str] | None = None) -> int:
    """Start the sweep that the words describe, or go on with it; the exit status."""
    return start_command(__doc__, argv)


if __name__ == "__main__":
    run_script(main)
