"""One of several workers: processes.py starts it and tells it by its standard input which sweep to join."""

from __future__ import annotations

from interrupts import run_script

import logging
import os
import pickle
import signal
import sys
import threading

from sweeps.entries import join_sweep
from sweeps.request import JoinRequest


def main() -> int:
    """Join the sweep; the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    request = pickle.load(sys.stdin.buffer)
    assert isinstance(request, JoinRequest)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return join_sweep(request)


def _end_with_parent() -> None:
    """Interrupt this worker when standard input is closed, as it is when the parent ends in whatever way."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    run_script(main)
