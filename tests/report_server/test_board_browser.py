"""The board in a real Chromium, before a real reader and a real Valkey that holds reports of the product's engine."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from app.stack.ports import free_ports
from app.stack.process import Child
from app.stack.redis import RedisServer
from app.stores.base import Publication
from app.stores.redis import RedisReportStore
from support.browser import opened
from support.live_market import reports

pytestmark = pytest.mark.stack

NAMES = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
AWAY = ("net::ERR_", "503")
WIDE = {"width": 1400, "height": 1000}
PHONE = {"width": 390, "height": 844}
NOTE = "<img src=x onerror=alert(1)><b>pulled</b> 4 times"
TOKEN = "0123456789abcdef"
COLOURS = """() => {
  const map = document.getElementById("heatmap");
  const { data } = map.getContext("2d").getImageData(0, 0, map.width, map.height);
  return new Set(new Uint32Array(data.buffer)).size;
}"""


@pytest.fixture(scope="module")
def reader_env(reader_env: dict[str, str]) -> dict[str, str]:
    return reader_env | {"TIMEOUT_MS": "1000"}


@pytest.fixture(scope="module")
def history() -> dict[str, list[bytes]]:
    """Some seconds of each market, as a worker wrote it."""
    return {name: list(reports(name, seconds=40, seed=seed)) for seed, name in enumerate(NAMES)}


@pytest.fixture
def start_reader(reader_command: list[str], reader_env: dict[str, str], tmp_path: Path) -> Callable[..., Child]:
    """Make a reader of a test's own; `url` is where it will be."""

    def make(port: int, **env: str) -> Child:
        command = [*reader_command, "--port", str(port)]
        return Child("reader", command, log=tmp_path / "log", env=reader_env | env, cwd=tmp_path)

    return make


async def publish(store: RedisReportStore, history: dict[str, list[bytes]], *, pause_sec: float = 0.02) -> None:
    for bodies in zip(*history.values(), strict=True):
        await store.publish([Publication(name, 1, body) for name, body in zip(history, bodies, strict=True)])
        await asyncio.sleep(pause_sec)


async def publish_last(store: RedisReportStore, history: dict[str, list[bytes]]) -> None:
    await store.publish([Publication(name, 1, bodies[-1]) for name, bodies in history.items()])


def troubled(body: bytes) -> bytes:
    """Return the report with a wall, a vacuum and an anomaly whose note is hostile."""
    report = json.loads(body)
    bids, asks = report["depth"]["top_bids"], report["depth"]["top_asks"]
    report["liquidity"]["walls"] = [{"side": "bid", **bids[3], "severity": "high"}]
    report["liquidity"]["vacuums"] = [{"from": asks[5]["price"], "to": asks[7]["price"], "severity": "low"}]
    note = f"{NOTE}: {report['provenance']['offset']} orders"  # its figures change as those of a real one do
    report["anomalies"] = [{"type": "spoofing", "severity": "medium", "note": note}]
    return json.dumps(report).encode()


async def live(page: Page, symbol: str) -> None:
    await expect(page.locator("#name")).to_have_text(symbol)
    await expect(page.locator("#link")).to_have_text("live")
    await expect(page.locator("#mid")).to_contain_text(".")


@pytest.mark.parametrize(
    ("name", "viewport", "scheme"),
    [("light", WIDE, "light"), ("dark", WIDE, "dark"), ("phone", PHONE, "dark")],
)
async def test_it_draws_one_market_in_every_dress_and_anybody_can_use_it(
    name: str,
    viewport: Any,
    scheme: str,
    start_reader: Callable[..., Child],
    store: RedisReportStore,
    history: dict[str, list[bytes]],
) -> None:
    history = history | {"BTCUSDT": [troubled(body) for body in history["BTCUSDT"]]}
    await store.publish([Publication(each, 1, history[each][0]) for each in NAMES])
    (port,) = free_ports(1)
    child = start_reader(port)  # of its own: a reader answers with nothing older than it has answered with
    async with AsyncExitStack() as stack:
        stack.enter_context(child)
        await up(child)
        page = await stack.enter_async_context(
            opened(f"http://127.0.0.1:{port}/", viewport=viewport, color_scheme=scheme)
        )
        await live(page, "BTCUSDT")
        await publish(store, history)
        await expect(page.locator(".symbol")).to_have_count(3)
        await expect(page.locator("#ladder tr.wall")).to_have_count(1)
        await expect(page.locator("#ladder tr.vacuum")).to_have_count(3)
        await expect(page.locator("#ladder tr.ask:visible")).to_have_count(20)
        await expect(page.locator("#anomaly-list li")).to_have_count(1)
        await expect(page.locator("#anomaly-list li")).to_contain_text(NOTE)
        await expect(page.locator("#provenance-facts")).to_contain_text(f"#{2**63 - 1001}")
        await expect(page.locator("#profile-facts")).to_contain_text("POC")
        await expect(page.locator("#charts .barlayer .point").nth(5)).to_be_attached()
        await page.wait_for_function(f"({COLOURS})() > 40")
        assert await page.locator("#market img").count() == 0
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        found = await Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        if folder := os.environ.get("BOARD_SCREENSHOTS"):
            await page.screenshot(path=Path(folder) / f"board-{name}.png", full_page=True)


async def test_the_arrow_keys_change_the_market_and_read_the_map(
    reader_url: str, store: RedisReportStore, history: dict[str, list[bytes]]
) -> None:
    await publish_last(store, history)
    async with opened(reader_url) as page:
        await live(page, "BTCUSDT")
        await page.locator("#filter").focus()
        await page.keyboard.press("Tab")
        await page.keyboard.press("ArrowDown")
        await live(page, "ETHUSDT")
        await page.keyboard.press("End")
        await live(page, "SOLUSDT")
        await expect(page.locator("[aria-selected=true]")).to_contain_text("SOLUSDT")
        assert page.url.endswith("#SOLUSDT")

        await page.locator("#heatmap").focus()
        for _ in range(20):
            await page.keyboard.press("ArrowUp")
        await expect(page.locator("#reading")).to_contain_text("ask")
        await page.locator("#filter").fill("eth")
        await expect(page.locator(".symbol:visible")).to_have_count(1)


async def test_a_report_that_nobody_keeps_up_is_called_stale_until_somebody_does(
    start_reader: Callable[..., Child], store: RedisReportStore, history: dict[str, list[bytes]]
) -> None:
    (port,) = free_ports(1)
    await store.publish([Publication("BTCUSDT", 1, history["BTCUSDT"][-1])])
    with start_reader(port, STALE_AFTER_MS="500") as child:
        await up(child)
        async with opened(f"http://127.0.0.1:{port}/") as page:
            await expect(page.locator("#alarm")).to_contain_text("STALE")
            await expect(page.locator("body")).to_have_class("old")
            await expect(page.locator("#name")).to_have_text("BTCUSDT")
            fresh = asyncio.create_task(keep_up(store, history["BTCUSDT"][-1]))
            await expect(page.locator("#alarm")).to_be_hidden()
            fresh.cancel()
            await asyncio.wait([fresh])
            await expect(page.locator("#alarm")).to_contain_text("STALE")


async def test_it_says_that_the_reader_is_away_and_goes_on_by_itself_when_it_is_back(
    start_reader: Callable[..., Child], store: RedisReportStore, history: dict[str, list[bytes]]
) -> None:
    (port,) = free_ports(1)
    await publish_last(store, history)
    with start_reader(port) as child:
        await up(child)
        async with opened(f"http://127.0.0.1:{port}/#ETHUSDT", expected=AWAY) as page:
            await live(page, "ETHUSDT")
            child.kill()
            await expect(page.locator("#link")).to_have_text("connection lost")
            await expect(page.locator("#alarm")).to_contain_text("trying again")
            child.start()
            await live(page, "ETHUSDT")
            await expect(page.locator("#alarm")).to_be_hidden()


async def test_it_says_that_the_store_is_away_and_goes_on_by_itself_when_it_is_back(
    reader_url: str, redis_server: RedisServer, store: RedisReportStore, history: dict[str, list[bytes]]
) -> None:
    await publish_last(store, history)
    async with opened(f"{reader_url}/#ETHUSDT", expected=AWAY) as page:
        await live(page, "ETHUSDT")
        os.kill(redis_server.process.pid, signal.SIGSTOP)
        try:
            await expect(page.locator("#alarm")).to_contain_text("cannot read its store")
            await expect(page.locator("#list-note")).to_contain_text("not up to date")
        finally:
            os.kill(redis_server.process.pid, signal.SIGCONT)
        await expect(page.locator("#alarm")).to_be_hidden()
        await expect(page.locator("#list-note")).to_be_empty()


async def test_a_symbol_without_a_report_is_told_and_a_hostile_address_is_ignored(
    reader_url: str, store: RedisReportStore, history: dict[str, list[bytes]]
) -> None:
    await publish_last(store, history)
    async with opened(f"{reader_url}/#NOSUCH") as page:
        await expect(page.locator("#alarm")).to_contain_text("no report of NOSUCH")
    async with opened(f"{reader_url}/#<img src=x onerror=alert(1)>") as page:
        await live(page, "BTCUSDT")
    async with opened(f"{reader_url}/#%E0%A4") as page:
        await live(page, "BTCUSDT")


async def test_with_tokens_on_it_asks_for_one_and_uses_it(
    start_reader: Callable[..., Child], store: RedisReportStore, history: dict[str, list[bytes]], tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice:{TOKEN}\n")
    tokens.chmod(0o600)
    await publish_last(store, history)
    with start_reader(port, READER_TOKENS_FILE=str(tokens)) as child:
        await up(child)
        async with opened(f"http://127.0.0.1:{port}/", expected=("401",)) as page:
            await page.locator("#token").fill("not the right one")
            await page.keyboard.press("Enter")
            await expect(page.locator("#ask")).to_be_visible()
            await page.locator("#token").fill(TOKEN)
            await page.keyboard.press("Enter")
            await live(page, "BTCUSDT")
            assert TOKEN not in page.url


async def up(child: Child) -> None:
    await asyncio.to_thread(child.wait_ready, lambda: "listening on" in child.log_tail(), 30)


async def keep_up(store: RedisReportStore, body: bytes) -> None:
    """Write the report anew four times a second, as a worker does."""
    from time import time_ns

    while True:
        report = json.loads(body) | {"updatedAt": time_ns() // 1_000_000}
        await store.publish([Publication(report["symbol"], 1, json.dumps(report).encode())])
        await asyncio.sleep(0.1)
