"""How a script starts and how it is stopped: exit statuses, Ctrl-C and the signals of schedulers."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from utils import UserError


def run_script(main: Callable[[], int | None]) -> None:
    """Run a script's main(); a UserError becomes one line on stderr and exit status 2, Ctrl-C status 130."""
    try:
        sys.exit(main())
    except UserError as error:
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
    """SIGTERM, as schedulers send it, interrupts like Ctrl-C does. Threads (sweep agents) keep what they have."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, Interrupt.handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
