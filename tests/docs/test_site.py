"""The site is built as `make docs` builds it: a broken link, anchor or page fails, and nothing comes from elsewhere."""

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final
from xml.etree import ElementTree

import pytest

from support.browser import opened
from support.pages import DOCS, ROOT

SVGS: Final = sorted((DOCS / "assets").glob("*.svg"))
SVG: Final = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


class Fetched(HTMLParser):
    """What a browser fetches when it opens a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.classes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.classes |= set(given.get("class", "").split())
        if tag == "link" and given.get("rel") in ("canonical", "prev", "next"):
            return
        names = {"link": ("href",), "a": ()}.get(tag, ("src", "srcset", "data", "poster"))
        self.found += [given[name] for name in names if name in given]
        self.found += re.findall(r"url\(([^)]+)\)", given.get("style", ""))


def test_no_page_fetches_anything_from_another_host(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 50
    for page in pages:
        fetched = Fetched()
        fetched.feed(page.read_text(encoding="utf-8"))
        outside = [each for each in fetched.found if re.match(r"\w+:|//", each.strip("'\"")) and "data:" not in each]
        assert outside == [], page
        # The theme's script would fetch Mermaid from elsewhere for these.
        assert "mermaid" not in fetched.classes, page


def test_no_stylesheet_fetches_anything_from_another_host(site: Path) -> None:
    sheets = sorted(site.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        assert not re.search(r"(url\(|@import )['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_files_of_the_repository_that_pages_link_to_are_part_of_the_site(site: Path) -> None:
    linked = (site / "repository" / "deploy" / "redis-users.acl.txt").read_text(encoding="utf-8")
    assert linked == (ROOT / "deploy" / "redis-users.acl").read_text(encoding="utf-8")
    assert 'href="repository/deploy/redis-users.acl.txt"' in (site / "reader.html").read_text(encoding="utf-8")


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    """Give the address of the site's folder, served."""

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(site))

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_page_opens_in_both_colour_schemes_without_a_complaint(served: str, scheme: str) -> None:
    async with opened(f"{served}/index.html", color_scheme=scheme) as page:
        shown = await page.evaluate("document.body.dataset.mdColorScheme")
        widths = await page.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert shown == {"light": "default", "dark": "slate"}[scheme]
    assert widths
    assert all(widths)


@pytest.mark.parametrize("path", SVGS, ids=lambda path: path.name)
def test_a_diagram_tells_what_it_shows_and_stands_alone(path: Path) -> None:
    root = ElementTree.parse(path).getroot()
    assert root.findtext(f"{SVG}title")
    assert root.findtext(f"{SVG}desc")
    text = path.read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"(href|src)=|url\(['\"]?http|@import", text)


@pytest.mark.parametrize("path", SVGS, ids=lambda path: path.name)
@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_the_words_of_a_diagram_can_be_read_in_both_colour_schemes(path: Path, scheme: int) -> None:
    palette = dict(re.findall(r"--([\w-]+): (#\w{6})", re.findall(r"svg \{([^}]*)\}", path.read_text())[scheme]))
    for ink in ("ink", "dim"):
        for ground in ("card", "box", "own", "warn"):
            assert contrast(palette[ink], palette[ground]) >= 4.5, (ink, ground)


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
