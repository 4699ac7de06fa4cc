"""A real Chromium for tests of pages, from Debian's package or any other on the path."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def opened(page: Path, **options: Any) -> Iterator[Any]:
    """Open a page without a network; skips where there is no browser."""
    with launched() as browser:
        shown = browser.new_context(offline=True, **options).new_page()
        shown.goto(page.resolve().as_uri())
        yield shown


@contextmanager
def launched() -> Iterator[Any]:
    """A browser; skips where there is none."""
    found = os.environ.get("FUNDUS_TEST_BROWSER") or next(
        filter(None, map(shutil.which, NAMES)), ""
    )
    if not found:
        pytest.skip("no Chromium: install Debian's package 'chromium', or set FUNDUS_TEST_BROWSER")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tools:
        # root may not start the sandbox, and continuous integration is root
        browser = tools.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
