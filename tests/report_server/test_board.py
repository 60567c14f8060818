"""The board's files as the reader serves them; test_board_browser.py looks at what they do."""

from collections.abc import AsyncIterator
from importlib.resources import files

import httpx2
import pytest

from app.stack.process import Child
from report_server.board import POLICY

pytestmark = pytest.mark.stack
PARTS = sorted(each.name for each in (files("report_server") / "web").iterdir() if each.name != "index.html")


@pytest.fixture
async def http(reader_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=reader_url, timeout=10, trust_env=False) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/board/plotly.js", *(f"/board/{name}" for name in PARTS)])
async def test_every_file_comes_with_the_policy_and_is_not_sent_twice(http: httpx2.AsyncClient, path: str) -> None:
    first = await http.get(path)
    again = await http.get(path, headers={"if-none-match": first.headers["etag"]})

    assert first.status_code == 200
    assert first.headers["content-security-policy"] == POLICY
    assert first.headers["x-content-type-options"] == "nosniff"
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["content-encoding"] == "gzip"
    assert (again.status_code, again.content) == (304, b"")


async def test_a_client_that_cannot_unpack_gets_the_file_as_it_is(http: httpx2.AsyncClient) -> None:
    packed = await http.get("/board/board.js")
    plain = await http.get("/board/board.js", headers={"accept-encoding": "identity"})

    assert "content-encoding" not in plain.headers
    assert plain.content == packed.content


@pytest.mark.parametrize("name", ["index.html.bak", "..%2f__init__.py", "%2e%2e/serve.py", "web", "plotly", "a/b"])
async def test_nothing_else_is_served(http: httpx2.AsyncClient, name: str) -> None:
    assert (await http.get(f"/board/{name}")).status_code == 404


async def test_a_foreign_host_gets_no_page(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/", headers={"host": "evil.example"})).status_code == 421


@pytest.mark.parametrize("word", ["unsafe-inline", "unsafe-eval", "*", "http", "data:", "blob:"])
def test_the_policy_lets_in_nothing_but_this_reader(word: str) -> None:
    assert POLICY.startswith("default-src 'none'")
    assert word not in POLICY


@pytest.mark.parametrize("name", ["index.html", *PARTS])
def test_no_file_is_long_or_makes_html_of_text_or_reaches_out(name: str) -> None:
    text = (files("report_server") / "web" / name).read_text(encoding="utf-8")

    assert len(text.splitlines()) < 300
    for danger in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "https://",
    ):
        assert danger not in text
    assert text.count("http://") == text.count("http://www.w3.org/")


def test_the_reader_logs_nothing_about_it(reader: Child) -> None:
    assert "Traceback" not in reader.log_tail(1000)
