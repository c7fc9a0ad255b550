"""Join a sweep that start_sweep.py started, on this machine or another.

    python attach_sweep.py --sweep_id digits_sweep --config_args_path configs/digits.yml

The flags of train.py must be those that the sweep was started with. With Optuna, name the same --storage.
"""

from __future__ import annotations

from interrupts import run_script

from collections.abc import Sequence

from sweeps.command import join_command


def main(argv: Sequence[str] | None = None) -> int:
    """Work on the sweep that the words name; the exit status."""
    return join_command(__doc__, argv)


if __name__ == "__main__":
    run_script(main)
