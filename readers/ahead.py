"""Reading ahead: a thread gets the next items while the last one is being used."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

Item = TypeVar("Item")

N_AHEAD = 3
"""Items that are read before they are asked for."""


@cache
def _reader() -> ThreadPoolExecutor:
    """The one thread that reads: each further one would keep freed memory of its own."""
    return ThreadPoolExecutor(1, "reading ahead")


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield the same items in the same order, of which a thread reads the next ones meanwhile.

    What they raise is raised here. They must not read ahead themselves. Where nobody asks for more, no more is read.
    """
    iterator, end = iter(items), object()
    waiting = deque(_reader().submit(next, iterator, end) for _ in range(N_AHEAD))
    while (item := waiting.popleft().result()) is not end:
        waiting.append(_reader().submit(next, iterator, end))
        yield item  # type: ignore[misc]  # not the end
