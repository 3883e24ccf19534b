"""A real browser, headless: the machine's Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 120
"""How long a page may take on a machine that does other things."""


@contextmanager
def pages() -> Iterator[dict[str, Page]]:
    """A page of a desk and one of a phone, without a network."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found, f"No browser: none of {', '.join(NAMES)} is there. On Debian: apt-get install chromium."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        sizes = {"desk": (1440, 900), "phone": (390, 844)}
        opened = {}
        for name, (width, height) in sizes.items():
            context = browser.new_context(
                viewport={"width": width, "height": height}, is_mobile=name == "phone", offline=True
            )
            context.set_default_timeout(SECONDS * 1000)
            opened[name] = context.new_page()
        yield opened
        browser.close()
