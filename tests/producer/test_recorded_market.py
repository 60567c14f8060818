"""A recorded market through the whole producer into Kafka, held to what was recorded."""

import gzip
import json
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from app.microstructure import rfc3339
from producer.exchange.replay import TapeMarket
from producer.exchange.server import ExchangeServer
from producer.exchange.survey import survey
from producer.exchange.tape import Record, read_tape
from support.producing import Level, follow, producing, read
from support.telling import Tell

pytestmark = [pytest.mark.stack, pytest.mark.tape]


async def test_the_recorded_market_arrives_exactly(
    kafka: str, topic: str, tape_path: Path, tmp_path: Path, tell: Tell
) -> None:
    def open_tape() -> Iterator[Record]:
        return read_tape([tape_path])

    tape = WaitingTape(survey(open_tape()), open_tape, speed=50, keep_times=True)
    recorded = Recorded(tape_path)
    async with (
        ExchangeServer(tape) as exchange,
        producing(kafka, topic, exchange.http_url, exchange.ws_url, "BTCUSDT", tmp_path) as process,
    ):
        diffs = {final for final in recorded.diffs if final > tape.depth("BTCUSDT", 1).last_update_id}

        async def listening() -> bool:
            health = await process.health()
            return bool(health) and health["exchange_connected"] and health["symbols"]["BTCUSDT"]["book_known"]

        seen = (0.0, 0.0)

        async def counts() -> tuple[float, float]:
            return await process.counted("trade_tick"), await process.counted("order_book_deltas")

        async def more() -> bool:
            nonlocal seen
            before, seen = seen, await counts()
            return seen != before

        await process.until(listening, "listening")
        expected = (len(recorded.trades), len(diffs) + len(["unknown", "snapshot"]))
        tape.begin(time.time_ns())
        while seen != expected:
            await process.until(more, f"beyond {seen} of {expected} trades and diffs")
        health = await process.health()
        truth = health["symbols"]["BTCUSDT"]
        tell(f"checked by the producer itself: {truth['best_equal']} of {truth['best_compared']} equal")
        assert truth["best_compared"] > 3400, "every diff but the last few"
        assert health["best_equal_ratio"] >= 0.999
        assert await process.stop() == 0, process.child.log_tail(40)

    followed = follow(await read(kafka, topic))["BTCUSDT"]
    assert followed.books == ["unknown", "snapshot"]
    assert followed.trades.keys() == recorded.trades.keys()
    for trade_id, body in followed.trades.items():
        assert shape(body) == recorded.trades[trade_id]
    assert followed.diffs.keys() == diffs
    for final, body in followed.diffs.items():
        assert shape(body) == recorded.diffs[final]

    compared = followed.bests.keys() & recorded.bests.keys()
    equal = sum(followed.bests[update_id] == recorded.bests[update_id] for update_id in compared)
    tell(f"best bid and ask: {equal} of {len(compared)} equal")
    assert len(compared) > 500
    assert equal >= 0.999 * len(compared)


class WaitingTape(TapeMarket):
    """A tape that begins when it is told to.

    At 50 times its speed 2 ms are a diff, so whatever delays a subscription or the first snapshot would cost events.
    """

    def subscribed(self, now_ns: int) -> None:
        """Go on waiting."""

    def begin(self, now_ns: int) -> None:
        """Begin now."""
        super().subscribed(now_ns)


def shape(body: dict[str, Any]) -> dict[str, Any]:
    """Return an event's content with its time in milliseconds."""
    return {"ms": rfc3339.parse(body["ts_event"]) / 1_000_000} | {
        name: value
        for name, value in body["payload"].items()
        if name not in ("first_update_id", "final_update_id", "snapshot", "trade_id")
    }


class Recorded:
    """The tape, read without any code of the project."""

    def __init__(self, path: Path) -> None:
        self.trades: dict[int, dict[str, Any]] = {}
        self.diffs: dict[int, dict[str, Any]] = {}
        self.bests: dict[int, tuple[Level, Level]] = {}
        with gzip.open(path, "rt") as lines:
            for line in lines:
                message = json.loads(line.split(" ", 1)[1])
                if "stream" in message:
                    self._note(message["stream"].partition("@")[2], message["data"])

    def _note(self, kind: str, data: dict[str, Any]) -> None:
        if kind == "trade":
            self.trades[data["t"]] = {
                "ms": data["T"],
                "price": Decimal(data["p"]),
                "qty": Decimal(data["q"]),
                "aggressor_side": "sell" if data["m"] else "buy",
            }
        elif kind == "bookTicker":
            bid, ask = (Decimal(data["b"]), Decimal(data["B"])), (Decimal(data["a"]), Decimal(data["A"]))
            self.bests[data["u"]] = (bid, ask)
        else:
            bids, asks = ([[Decimal(p), Decimal(q)] for p, q in data[side]] for side in "ba")
            self.diffs[data["u"]] = {"ms": data["E"], "bids": bids, "asks": asks}
