"""The recorded market through everything: real adapter, producer, Kafka and worker, against the venue's own word.

The tape's `bookTicker` stream is independent of the diffs from which the book is rebuilt. The best bid and ask
at an update id must be those of the newest bookTicker at or below that id.
"""

import asyncio
import gzip
import json
import sys
from bisect import bisect_right
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aioredis

from agents.intake import Intake
from agents.owned import Owned, PartitionProgress
from app.microstructure.book import BookChange, OrderBook
from app.microstructure.engine import EngineParams
from app.microstructure.events import DeltasPayload
from app.stack.ports import free_ports
from app.stack.process import Child
from support.contracts import validate_event, validate_report
from support.records import Steps
from support.telling import Tell
from support.workers import PARTITIONS, ROOT, Deployment, eventually

pytestmark = [pytest.mark.stack, pytest.mark.tape]

SPEED = 10
Quote = tuple[float, float, float, float]


class BookTickers:
    """Best bid, its quantity, best ask, its quantity by update id, as the venue sent them."""

    def __init__(self, tape: Path) -> None:
        self.exact: dict[int, Quote] = {}
        self.last_update_id = 0
        with gzip.open(tape) as lines:
            for line in lines:
                if b"bookTicker" in line:
                    data = json.loads(line.split(b" ", 1)[1])["data"]
                    self.exact[data["u"]] = (float(data["b"]), float(data["B"]), float(data["a"]), float(data["A"]))
                elif b"depthUpdate" in line:
                    self.last_update_id = json.loads(line.split(b" ", 1)[1])["data"]["u"]
        self._ids = sorted(self.exact)

    def at(self, update_id: int) -> Quote | None:
        """The newest at or below `update_id`."""
        index = bisect_right(self._ids, update_id) - 1
        return self.exact[self._ids[index]] if index >= 0 else None


class Comparison:
    """Counts how often rebuilt and recorded best prices agree."""

    def __init__(self) -> None:
        self.equal = 0
        self.different: list[tuple[int, Quote, Quote]] = []

    def note(self, update_id: int, rebuilt: Quote, recorded: Quote | None) -> None:
        if recorded == rebuilt:
            self.equal += 1
        elif recorded is not None:
            self.different.append((update_id, rebuilt, recorded))

    def __str__(self) -> str:
        return f"{self.equal} equal, {len(self.different)} different: {self.different[:5]}"

    @property
    def ratio(self) -> float:
        return self.equal / (self.equal + len(self.different))


def quote_of(report: dict[str, Any]) -> Quote:
    bid, ask = report["best_bid"], report["best_ask"]
    return bid["price"], bid["qty"], ask["price"], ask["qty"]


async def test_rebuilt_best_prices_are_the_recorded_book_tickers(
    kafka: str,
    redis_url: str,
    topic_prefix: str,
    tmp_path: Path,
    tape_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tell: Tell,
) -> None:
    tickers = BookTickers(tape_path)
    deployment = Deployment(kafka, redis_url, topic_prefix, tmp_path)
    await deployment.create_topics()
    exchange_port, producer_port = free_ports(2)
    tape = ["--tape", str(tape_path), "--speed", str(SPEED), "--port", str(exchange_port)]
    env = deployment.worker("worker").env | {
        "SYMBOLS": "BTCUSDT",
        "BINANCE_HTTP_URL": f"http://127.0.0.1:{exchange_port}",
        "BINANCE_WS_URL": f"ws://127.0.0.1:{exchange_port}",
        "PRODUCER_HTTP_PORT": str(producer_port),
    }
    live: dict[int, Quote] = {}

    async def watch() -> None:
        client = aioredis.Redis.from_url(redis_url)
        async with client:
            while True:
                body = await client.get("report:BTCUSDT")
                if body:
                    report = validate_report(body)
                    assert report["provenance"]["gap_count"] == 0
                    if report["provenance"]["book_ok"]:
                        live[report["provenance"]["book_update_id"]] = quote_of(report)
                await asyncio.sleep(0.02)

    with ExitStack() as stack:
        stack.enter_context(deployment.worker("worker"))
        stack.enter_context(_command(tmp_path, "exchange", env, *tape))
        stack.enter_context(_command(tmp_path, "producer", env))
        watching = asyncio.create_task(watch())

        async def played() -> bool:
            if watching.done():
                watching.result()
            return max(live, default=0) >= tickers.last_update_id

        await eventually(played, "the tape's last update is in a report", limit_sec=150)
        watching.cancel()
        records = await deployment.read_topic(deployment.settings.events_topic, PARTITIONS)

    from_reports = Comparison()
    for update_id, rebuilt in live.items():
        from_reports.note(update_id, rebuilt, tickers.at(update_id))

    every_update, same_id = Comparison(), Comparison()
    _compare_every_update(monkeypatch, records, tickers, every_update, same_id)
    tell(f"after every update: {every_update}; at the same id: {same_id}; in reports: {from_reports}")
    assert every_update.ratio >= 0.999, every_update
    assert same_id.ratio >= 0.999, same_id
    assert from_reports.ratio >= 0.999, from_reports
    assert every_update.equal > 3000
    assert same_id.equal > 500
    assert from_reports.equal > 50


def _compare_every_update(
    monkeypatch: pytest.MonkeyPatch,
    records: list[Any],
    tickers: BookTickers,
    every_update: Comparison,
    same_id: Comparison,
) -> None:
    """Feed the topic's records to the worker's own intake, and look at the book after each delta."""
    apply = OrderBook.apply_deltas

    def compared(book: OrderBook, deltas: DeltasPayload, ts_event: int) -> BookChange | None:
        change = apply(book, deltas, ts_event)
        if book.update_id is not None:
            ((bid, bid_qty),), ((ask, ask_qty),) = book.top(1)
            rebuilt = (bid, bid_qty, ask, ask_qty)
            every_update.note(book.update_id, rebuilt, tickers.at(book.update_id))
            if book.update_id in tickers.exact:
                same_id.note(book.update_id, rebuilt, tickers.exact[book.update_id])
        return change

    def refused(*arguments: object) -> None:
        raise AssertionError(f"the producer published something unusable: {arguments}")

    owned = Owned()
    owned.partitions = {partition: PartitionProgress() for partition in range(PARTITIONS)}
    intake = Intake(owned, EngineParams(), PARTITIONS, refused, Steps())
    monkeypatch.setattr(OrderBook, "apply_deltas", compared)
    for record in records:
        validate_event(record.value)
        intake.take([record])


def _command(folder: Path, name: str, env: dict[str, str], *arguments: str) -> Child:
    command = [sys.executable, "-m", "app.cli", name, *arguments]
    return Child(name, command, log=folder / f"{name}.log", env=env, cwd=ROOT)
