"""A page in a browser, opened from disk without a network."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

VIEWS = ["overview", "facet-0", "map", "play", "names"]
HARM = "<img src=x onerror=window.pwned=1>"


@contextmanager
def opened(browser: Any, path: Path, **context: Any) -> Iterator[Any]:
    """A page that must neither complain nor ask for anything beyond its own file."""
    complaints: list[str] = []
    options = {"viewport": {"width": 1280, "height": 800}, "offline": True, "accept_downloads": True} | context
    with browser.new_context(**options) as own:
        page = own.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if not allowed(request.url, path) else None)
        page.goto(path.as_uri())
        yield page
        assert page.evaluate("window.pwned") is None
        assert complaints == []


def allowed(url: str, path: Path) -> bool:
    return url.startswith(("data:", "blob:")) or url.split("#")[0] == path.as_uri()


def go(page: Any, name: str) -> Any:
    """Open a view by its tab; its panel."""
    page.locator(f"#tab-{name}").click()
    panel = page.locator(f"#panel-{name}")
    panel.wait_for(state="visible")
    return panel


def is_wider_than_the_window(page: Any) -> bool:
    return page.evaluate("document.documentElement.scrollWidth > innerWidth")


def pixels(page: Any, selector: str) -> np.ndarray:
    """What a canvas shows, (H, W, 3)."""
    url = page.locator(selector).first.evaluate("canvas => canvas.toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))
