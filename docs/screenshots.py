"""Draw the page of the demo as the README shows it, by Chromium.

    python -m docs.screenshots

Needs Chromium, and the run of `make demo`. Writes graphics/page_<view>.png.
"""

from __future__ import annotations

from interrupts import run_script

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from flags import FlagParser
from utils import PROJECT, UserError

VIEWS = ("facet-1", "grid", "play")
"""Of the page, by their anchors."""
WIDTH, HEIGHT = 1200, 760
MILLISECONDS = 5000
"""Time that the page has to draw itself."""


def draw(page: Path, view: str, target: Path) -> None:
    """Draw a view of a page into a PNG."""
    if (chromium := shutil.which("chromium") or shutil.which("google-chrome")) is None:
        raise UserError("no Chromium on this machine; install it, for example by apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "view.png"
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        flags += [f"--virtual-time-budget={MILLISECONDS}", f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={picture}"]
        subprocess.run([chromium, *flags, f"{page.resolve().as_uri()}#{view}"], check=True, capture_output=True)
        with Image.open(picture) as image:
            image.convert("RGB").save(target, optimize=True)
    print(f"wrote {target}")


def main(argv: Sequence[str] | None = None) -> int:
    """Read words, draw."""
    parser = FlagParser(__doc__)
    demo = PROJECT / "results/demo_seed0/report.html"
    parser.add_argument("--page", type=Path, default=demo, help="the page [that of the demo]")
    parser.add_argument("--output_dir", type=Path, default=PROJECT / "graphics", help="folder [graphics]")
    arguments = parser.parse_args(argv)
    if not arguments.page.is_file():
        raise UserError(f"--page {arguments.page}: no such file; make demo writes that of the demo")
    for view in VIEWS:
        draw(arguments.page, view, arguments.output_dir / f"page_{view.replace('-', '_')}.png")
    return 0


if __name__ == "__main__":
    run_script(main)
