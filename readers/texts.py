"""Names of labels and classes that come with images, as they can be drawn, written and put into names of files."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from utils import UserError, printable

MAX_LABEL_BYTES = 150
"""Of a label's name, which becomes part of file names: file systems allow 255 in all."""
MAX_CLASS_LENGTH = 100
"""Characters of a class's name that are shown."""


def checked_label_names(names: Sequence[str], where: str) -> list[str]:
    """Make the names of labels printable.

    Args:
        names: as they were found.
        where: the file, and what in it holds them.

    Raises:
        UserError: one is empty or too long, or two are the same.
    """
    encoding = sys.getfilesystemencoding()  # they become part of file names
    shown = [printable(name.strip()).encode(encoding, "backslashreplace").decode(encoding) for name in names]
    for number, name in enumerate(shown, start=1):
        n_bytes = len(name.encode())
        if not name:
            raise UserError(f"{where}: the name of label {number} is empty; name it")
        if n_bytes > MAX_LABEL_BYTES:
            raise UserError(
                f"{where}: the name of label {number} takes {n_bytes} bytes, more than {MAX_LABEL_BYTES}, which names "
                f"of files cannot hold ({name[:40]}...); shorten it"
            )
        if name in shown[: number - 1]:
            raise UserError(f"{where}: there are two labels '{name}'; give them different names")
    return shown


def class_names(values: Sequence[object]) -> tuple[str, ...]:
    """Name classes by their values: printable, not too long, and different from each other."""
    names = [_shortened(printable(str(value))) for value in values]
    return tuple(f"{name} ({i})" if names.count(name) > 1 else name for i, name in enumerate(names))


def _shortened(name: str) -> str:
    """Cut a long name."""
    return name if len(name) <= MAX_CLASS_LENGTH else f"{name[: MAX_CLASS_LENGTH - 3]}..."
