"""A page opened in Debian's chromium, with what it says and what it asks for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def opened(
    file: Path, width: int = 1280, height: int = 900, scheme: Any = "light"
) -> Iterator[tuple[Any, list[str], list[str]]]:
    """The page, the lines on its console and its errors, and every address that it asked for but ``data:``."""
    from playwright.sync_api import sync_playwright

    heard: list[str] = []
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith("data:") else asked.append(request.url))
        page.goto(file.as_uri())
        yield page, heard, asked
        browser.close()
