"""Signs of life of a run that trains."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType

log = logging.getLogger(__name__)


class Heartbeats:
    """Sends a sign of life every few seconds, from a thread, while the block lasts.

    What goes wrong with one is said once, and the next may do better.
    """

    def __init__(self, send: Callable[[], None], seconds: float):
        self._send = send
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._last = time.monotonic()
        self._longest = 0.0

    @property
    def silence(self) -> float:
        """The longest time without a sign of life, in seconds."""
        return max(self._longest, time.monotonic() - self._last)

    def __enter__(self) -> Heartbeats:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, without waiting for an answer that is still to come."""
        self._stop.set()

    def _beat(self) -> None:
        """What the thread does."""
        is_answered = True
        while not self._stop.wait(self._seconds):
            try:
                self._send()
            except Exception as error:  # drivers raise errors of many kinds
                if is_answered:
                    log.warning("the data base does not answer (%s); training goes on", type(error).__name__)
                is_answered = False
            else:
                is_answered = True
                self._longest, self._last = self.silence, time.monotonic()
