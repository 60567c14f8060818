"""A real Chromium for tests: the machine's own, driven by Playwright. Without one a test is skipped; in CI it fails."""

import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, async_playwright, expect

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_MISSING: Final = "no Chromium on this machine (Debian/Ubuntu: apt-get install chromium)"
_WAIT_MS: Final = 30_000  # for what takes a fraction of a second on a machine that is not busy
# Root may not use Chromium's sandbox; the pages are our own.
_OPTIONS: Final = ("--no-sandbox", "--disable-dev-shm-usage")


def chromium() -> str:
    """Return the program; otherwise end the test with the reason."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is not None:
        return found
    if os.environ.get("CI") == "true":
        pytest.fail(_MISSING, pytrace=False)
    pytest.skip(_MISSING)


class Complaints:
    """What a page should not have done: errors in its console, requests to other hosts."""

    def __init__(self, page: Page, url: str, expected: Sequence[str]) -> None:
        self.found: list[str] = []
        self._host = urlsplit(url).netloc
        self._expected = tuple(expected)
        page.on("console", lambda message: self._console(message.type, message.text))
        page.on("pageerror", lambda error: self.found.append(f"exception: {error}"))
        page.on("request", lambda request: self._request(request.url))

    def _console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not any(each in text for each in self._expected):
            self.found.append(f"{kind}: {text}")

    def _request(self, url: str) -> None:
        if urlsplit(url).netloc != self._host:
            self.found.append(f"request to {url}")


@asynccontextmanager
async def opened(url: str, *, expected: Sequence[str] = (), **context: Any) -> AsyncIterator[Page]:
    """Give `url` in a new browser, `context` being Playwright's options; fail if the page had cause to complain.

    Args:
        url: what to open.
        expected: parts of console messages that are right here.
        context: such as `viewport` and `color_scheme`.
    """
    program = chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=_OPTIONS)
        try:
            page = await browser.new_page(**context)
            page.set_default_timeout(_WAIT_MS)
            expect.set_options(timeout=_WAIT_MS)
            complaints = Complaints(page, url, expected)
            await page.goto(url)
            yield page
        finally:
            await browser.close()
    assert complaints.found == []
