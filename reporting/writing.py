"""The page itself: template, styles, scripts and content as one HTML file that needs nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reporting.arrays import as_json
from reporting.collecting import Content
from utils import check_replaceable, make_folder, write_atomically

PAGE = Path(__file__).resolve().parent / "page"
MODULES = (
    "dom", "words", "content", "atlas", "decoder", "names", "thumbs", "gallery", "combined", "image", "cluster",
    "charts", "overview", "facet", "grid", "map", "play", "naming", "search", "main",
)  # fmt: skip
"""The page's scripts; each imports only from those before it."""


def write_page(content: Content, path: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        UserError: it cannot be written, or something else is there.
    """
    check_replaceable(path, "a page", rb"(?i)<!doctype html")
    html = render(content)
    make_folder(path.absolute().parent)
    write_atomically(path, lambda temporary: temporary.write_text(html, encoding="utf-8"))


def render(content: Content) -> str:
    """The page as text. Only what Jinja2 escapes, JSON without '<', and base64 come from the run."""
    described = content.facts | {
        "arrays": [packed.description for packed in content.arrays],
        "tiles": {name: tiles.description for name, tiles in content.tiles.items()},
    }
    blobs = {f"array-{packed.name}": packed.text for packed in content.arrays}
    for name, tiles in content.tiles.items():
        blobs |= {f"tiles-{name}-{i}": text for i, text in enumerate(tiles.texts)}
    environment = Environment(loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("page.html.j2").render(
        name=content.facts["name"],
        style=(PAGE / "style.css").read_text(encoding="utf-8"),
        script=bundled(),
        facts=as_json(described),
        blobs=blobs,
    )


def bundled() -> str:
    """All scripts as one, as a page opened from disk may not load modules: imports and the word export are left out."""
    parts = []
    for name in MODULES:
        source = (PAGE / f"{name}.js").read_text(encoding="utf-8")
        source = re.sub(r"^import [^;]*;\n", "", source, flags=re.MULTILINE)
        parts.append(re.sub(r"^export ", "", source, flags=re.MULTILINE))
    return "\n".join(parts)
