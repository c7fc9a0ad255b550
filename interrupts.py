"""How a script starts and how it is stopped: exit statuses, Ctrl-C and the signals of schedulers.

Scripts import this module before all others, which take seconds: until `run_script`, Ctrl-C ends them without a word.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

if Path(sys.argv[0]).resolve().parent == Path(__file__).resolve().parent:  # a script, no notebook and no test
    os.environ["MPLBACKEND"] = "agg"  # figures are only written; matplotlib refuses to be imported with an unknown one
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

if sys.platform == "darwin":  # PyTorch reads it when it is loaded: what Apple's GPUs lack is computed on the CPU
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

STOPPING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
"""Ctrl-C, what schedulers send at the end, a terminal that goes away, and SLURM's warning before the end."""


def run_script(main: Callable[[], int | None]) -> None:
    """Run a script's main(); a UserError becomes one line on stderr and exit status 2, Ctrl-C status 130.

    Of several processes of a machine that train one model, the first says it.
    """
    from utils import UserError

    for stream in (sys.stdout, sys.stderr):  # a terminal may lack the characters of a name
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.exit(main())
    except UserError as error:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def is_interruption(error: BaseException) -> bool:
    """Whether it is Ctrl-C, or the bare Exception by which wandb's agent stops a run in its thread."""
    return isinstance(error, KeyboardInterrupt) or (type(error) is Exception and not error.args)


class Interrupt:
    """Raises KeyboardInterrupt for a signal, and once for those that arrive within a second.

    The workers of a sweep get Ctrl-C and SIGTERM: the second would break off the saving of their state.
    """

    last = float("-inf")

    @classmethod
    def handle(cls, *_: object) -> None:
        """What signal.signal takes."""
        now = time.monotonic()
        if now > cls.last + 1:
            cls.last = now
            raise KeyboardInterrupt


@contextmanager
def signals_as_interrupt() -> Iterator[None]:
    """Each of STOPPING interrupts like Ctrl-C, unless it is ignored. Threads (sweep agents) keep what they have."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    known = [getattr(signal, name) for name in STOPPING if hasattr(signal, name)]  # Windows has two of them
    numbers = [number for number in known if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, Interrupt.handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
