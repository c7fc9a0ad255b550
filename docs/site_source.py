"""Gather the pages of the site: Markdown of the repository, and every file that it links to, under their own paths.

    python -m docs.site_source

Writes site/source/, which mkdocs.yml reads (`make docs`). README.md becomes the first page.
"""

from __future__ import annotations

from interrupts import run_script

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from flags import FlagParser
from utils import PROJECT, make_folder

PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md", "*/README.md")
UNREAD = {"results", "site", "data", "new_trained_models"}
"""Folders for what users make; README.md in them is a note."""
_FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def pages() -> list[Path]:
    """List the Markdown files that are pages."""
    found = {path for pattern in PAGES for path in PROJECT.glob(pattern)}
    first = {path: path.relative_to(PROJECT).parts[0] for path in found}
    return sorted(path for path in found if first[path] not in UNREAD and not first[path].startswith("."))


def links(page: Path) -> Iterator[str]:
    """Yield the targets of a page's links and images, code left out."""
    yield from _LINK.findall(_FENCED.sub("", page.read_text()))


def linked_files(page: Path) -> Iterator[Path]:
    """Yield the files of the repository that a page links to."""
    for link in links(page):
        target = (page.parent / link.partition("#")[0]).resolve()
        if "://" not in link and target.is_file() and target.is_relative_to(PROJECT):
            yield target


def main(argv: Sequence[str] | None = None) -> int:
    """Copy pages and what they link to into the folder of the site's source, made anew."""
    parser = FlagParser(__doc__)
    parser.add_argument("--output", type=Path, default=PROJECT / "site/source", help="folder to write [site/source]")
    output: Path = parser.parse_args(argv).output
    shutil.rmtree(output, ignore_errors=True)
    for source in {file for page in pages() for file in (page, *linked_files(page))}:
        target = output / source.relative_to(PROJECT)
        make_folder(target.parent)
        shutil.copyfile(source, target)
    return 0


if __name__ == "__main__":
    run_script(main)
