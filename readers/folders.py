"""Which pictures a folder holds, and which files in it are left out."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from PIL import Image

from utils import UserError, printable

log = logging.getLogger(__name__)

HEADER_ONLY = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""Formats that Pillow knows without reading their pixels."""
REMEDIES = {
    "": "give them one, such as .jpg",
    ".heic": "pip install pillow-heif",
    ".heif": "pip install pillow-heif",
}
"""Suffix of files that are left out -> what makes them readable."""
N_KINDS_SAID = 5


def list_images(path: Path, known: Collection[str] = ()) -> list[Path]:
    """List the file itself, or a folder's pictures and those below it, sorted by name.

    Broken links count as pictures, too, which cannot be read. Files that are left out are counted in the log.

    Args:
        path: a file or a folder.
        known: names of files in the folder that are read in another way.

    Raises:
        UserError: nothing is there, or a folder cannot be read.
    """
    if os.path.isfile(path):
        return [path]
    if not os.path.isdir(path):
        raise UserError(f"{path}: no such file or folder")
    readable = readable_suffixes()
    files = sorted(file for file in _files_below(path) if file.parent != path or file.name not in known)
    pictures = [file for file in files if file.suffix.lower() in readable]
    others = _count_kinds(file for file in files if file.suffix.lower() not in readable)
    if not pictures:
        found = f", but {others}" if others else ""
        raise UserError(f"{path}: no images in this folder; files like .png and .jpg are looked for{found}")
    if others:
        log.warning("%s: left out, as they are not read as pictures: %s", path, others)
    return pictures


def readable_suffixes() -> set[str]:
    """Name the suffixes of files whose pixels can be read, those of iPhones where pillow-heif is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:  # it is optional; files that it would read are named with it
        pass
    else:
        register_heif_opener()
    Image.init()
    return {suffix for suffix, kind in Image.EXTENSION.items() if kind in Image.OPEN.keys() - HEADER_ONLY}


def _count_kinds(files: Iterable[Path]) -> str:
    """Say how many files of which kinds these are, the most frequent ones first, and how to read them."""
    kinds = Counter(file.suffix.lower() for file in files).most_common()
    said = [f"{n} {printable(kind) or 'without a suffix'}{_remedy(kind)}" for kind, n in kinds[:N_KINDS_SAID]]
    if rest := sum(n for _, n in kinds[N_KINDS_SAID:]):
        said.append(f"{rest} of other kinds")
    return ", ".join(said)


def _remedy(kind: str) -> str:
    """Say what makes files of this kind readable, where something does."""
    return f" ({REMEDIES[kind]})" if kind in REMEDIES else ""


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files and broken links of a folder and of those below it; what systems hide there is left out.

    Every real folder is visited once: under its own name where it lies below, else under its first link. Links that
    lead up, to a folder that holds this one, are not followed.
    """
    root, visited, linked = _real(folder), set[Path](), [folder]
    while linked:
        start, links = linked.pop(0), list[Path]()
        real = _real(start)
        if real not in visited and (start == folder or not root.is_relative_to(real)):
            yield from _walk(start, visited, links)
        linked += sorted(links)


def _walk(folder: Path, visited: set[Path], links: list[Path]) -> Iterator[Path]:
    """Yield the files below a folder without following links to folders, which are added to `links`."""
    unseen = [folder]
    while unseen:
        here = unseen.pop()
        if _real(here) in visited:
            continue
        visited.add(_real(here))
        for path in _children(here):
            if os.path.isdir(path):
                (links if path.is_symlink() else unseen).append(path)
            elif os.path.isfile(path) or not os.path.exists(path):  # no sockets or pipes, which would be waited for
                yield path


def _children(folder: Path) -> list[Path]:
    """List what lies in a folder and is not hidden.

    Raises:
        UserError: it cannot be read.
    """
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise UserError(f"{folder}: this folder cannot be read ({error.strerror}); allow it, or move it away") from None
    return [folder / name for name in sorted(names) if not name.startswith(".") and name != "__MACOSX"]


def _real(path: Path) -> Path:
    """Resolve all links of a path."""
    return Path(os.path.realpath(path))
