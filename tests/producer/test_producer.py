"""The whole producer: real exchange server, real NautilusTrader node, real Kafka; it runs as a process."""

import asyncio
import gzip
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.microstructure import events, rfc3339
from app.stack.errors import StackError
from app.stack.kafka import KafkaBroker
from app.stack.ports import free_ports
from producer.exchange.replay import TapeMarket
from producer.exchange.server import ExchangeServer
from producer.exchange.sim import SimMarket
from producer.exchange.survey import survey
from producer.exchange.tape import Record, read_tape
from support.producing import Level, ProducerProcess, create, follow, lossy_line, producing, read

Until = Callable[..., Awaitable[None]]

pytestmark = pytest.mark.stack


@pytest.fixture
def own_broker(tmp_path: Path) -> KafkaBroker:
    """Give a broker that this test may stop; it is not started."""
    try:
        return KafkaBroker(tmp_path / "kafka")
    except StackError as error:
        pytest.skip(str(error))


@pytest.fixture
async def topic(kafka: str, topic_prefix: str) -> str:
    await create(kafka, topic_prefix)
    return topic_prefix


async def test_a_live_market_with_a_lost_diff_and_a_lost_connection(kafka: str, topic: str, tmp_path: Path) -> None:
    market = SimMarket(["BTCUSDT", "ETHUSDT"], seed=7, rate=200, start_ns=time.time_ns())
    async with (
        ExchangeServer(market) as exchange,
        lossy_line(exchange.ws_url) as line,
        producing(kafka, topic, exchange.http_url, line.url, "NOSUCH,BTCUSDT,ETHUSDT", tmp_path) as process,
    ):

        async def flowing() -> bool:
            health = await process.health()
            return health.get("problems") == [] and await process.counted() > 500

        async def resynced() -> bool:
            return line.lost_all and await process.resyncs("BTCUSDT") == 2

        async def reconnected() -> bool:
            return await process.resyncs("ETHUSDT") >= 2 and await process.counted() > 3000

        await process.until(flowing, "flowing")
        line.lose_next("btcusdt@depth@100ms")
        await process.until(resynced, "resynced after a gap")
        assert await process.resyncs("ETHUSDT") == 1, "a gap of one symbol leaves the others alone"
        await line.cut()
        await process.until(reconnected, "flowing after a reconnect")
        counted = await process.counted()
        assert await process.stop() == 0, process.child.log_tail(40)

    records = await read(kafka, topic)
    assert len(records) >= counted, "what was handed over before SIGTERM is in Kafka"
    symbols = follow(records)
    assert set(symbols) == {"BTCUSDT", "ETHUSDT"}
    assert "symbol NOSUCH is not known to the exchange" in process.child.log.read_text()
    assert symbols["BTCUSDT"].books[:4] == ["unknown", "snapshot"] * 2
    for followed in symbols.values():
        assert followed.kinds == set(events.EVENT_TYPES)
        assert followed.books[-1] == "snapshot"
        assert followed.depth_times == sorted(followed.depth_times)
        common = followed.tops.keys() & followed.depths.keys()
        assert len(common) > 20
        for update_id in common:
            assert followed.tops[update_id] == followed.depths[update_id], "the exchange's own top 20"


async def test_kafka_away_for_a_while_costs_no_event_and_no_order(
    own_broker: KafkaBroker, topic_prefix: str, tmp_path: Path
) -> None:
    market = SimMarket(["BTCUSDT", "ETHUSDT"], seed=7, rate=200, start_ns=time.time_ns())
    await asyncio.to_thread(own_broker.start)
    try:
        kafka = own_broker.bootstrap
        await create(kafka, topic_prefix)
        async with (
            ExchangeServer(market) as exchange,
            producing(kafka, topic_prefix, exchange.http_url, exchange.ws_url, "BTCUSDT,ETHUSDT", tmp_path) as process,
        ):

            async def queued(least: int, most: int) -> bool:
                return least <= int((await process.health()).get("queue_depth", -1)) <= most

            async def flowing() -> bool:
                return await queued(0, 50) and await process.counted() > 500

            async def away() -> bool:
                return "Kafka does not answer" in (await process.health())["problems"] and await queued(2000, 10**6)

            await process.until(flowing, "flowing")
            await asyncio.to_thread(own_broker.kill)
            await process.until(away, "waiting for Kafka")
            errors = process.child.log.read_text().count('"level":"ERROR"')
            await asyncio.to_thread(own_broker.start)
            await process.until(lambda: queued(0, 50), "all sent")
            counted = await process.counted()
            assert await process.stop() == 0, process.child.log_tail(40)
        print(f"{errors} error lines while Kafka was away")
        assert errors <= 10
        assert not [line for line in process.child.log.read_text().splitlines() if not line.startswith("{")]
        records = await read(kafka, topic_prefix)
    finally:
        await asyncio.to_thread(own_broker.stop)
    assert len(records) >= counted
    for followed in follow(records).values():
        assert followed.books == ["unknown", "snapshot"], "unbroken through the outage"
        trades = sorted(followed.trades)
        assert trades == list(range(trades[0], trades[-1] + 1))


async def test_symbols_are_changed_at_run_time_and_nothing_else_is_disturbed(
    kafka: str, topic: str, tmp_path: Path
) -> None:
    market = SimMarket(["BTCUSDT", "ETHUSDT", "SOLUSDT"], seed=7, rate=100, start_ns=time.time_ns())
    env_file = tmp_path / ".env"
    env_file.write_text("SYMBOLS=BTCUSDT,ETHUSDT\n")
    async with (
        ExchangeServer(market) as exchange,
        producing(kafka, topic, exchange.http_url, exchange.ws_url, None, tmp_path) as process,
    ):

        async def follows(*symbols: str) -> bool:
            health = await process.health()
            known = [symbol for symbol, state in health.get("symbols", {}).items() if state["book_known"]]
            return health.get("problems") == [] and set(health["symbols"]) == set(symbols) == set(known)

        async def told(text: str) -> bool:
            return text in process.child.log.read_text()

        def take_over(symbols: str) -> None:
            env_file.write_text(f"SYMBOLS={symbols}\n")
            os.kill(process.child.pid, signal.SIGHUP)

        await process.until(lambda: follows("BTCUSDT", "ETHUSDT"), "flowing")
        take_over("BTCUSDT,NOSUCH,SOLUSDT")
        await process.until(lambda: follows("BTCUSDT", "SOLUSDT"), "changed")
        assert (await process.health())["refused"] == {"NOSUCH": "is not known to the exchange"}
        take_over("btc")
        await process.until(lambda: told("SYMBOLS='btc' is not allowed"), "told of a bad list")
        take_over("NEITHER")
        await process.until(lambda: told("none of NEITHER can be subscribed to"), "told of an unknown list")
        assert await follows("BTCUSDT", "SOLUSDT")
        take_over("BTCUSDT,ETHUSDT,SOLUSDT")
        await process.until(lambda: follows("BTCUSDT", "ETHUSDT", "SOLUSDT"), "changed back")
        assert await process.resyncs("BTCUSDT") == 1, "left alone all the time"
        take_over("BTCUSDT,SOLUSDT")
        await process.until(lambda: follows("BTCUSDT", "SOLUSDT"), "changed again")
        assert await process.stop() == 0, process.child.log_tail(40)
    symbols = follow(await read(kafka, topic))
    assert symbols["BTCUSDT"].books == symbols["SOLUSDT"].books == ["unknown", "snapshot"]
    assert symbols["ETHUSDT"].books == ["unknown", "snapshot", "unknown"] * 2, "said to be unknown when it was left"


async def test_producers_with_symbols_of_their_own_share_a_topic_and_leave_one_another_alone(
    kafka: str, topic: str, tmp_path: Path
) -> None:
    symbols = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT"]
    market = SimMarket(symbols, seed=7, rate=50, start_ns=time.time_ns())
    shards = [",".join(symbols[:2]), ",".join(symbols[2:])]
    async with (
        ExchangeServer(market) as exchange,
        producing(kafka, topic, exchange.http_url, exchange.ws_url, shards[0], tmp_path / "one") as one,
        producing(kafka, topic, exchange.http_url, exchange.ws_url, shards[1], tmp_path / "two") as two,
    ):

        async def flow(process: ProducerProcess, least: float) -> bool:
            return (await process.health()).get("problems") == [] and await process.counted() > least

        for process in (one, two):
            await process.until(partial(flow, process, 200), "flowing")
        two.child.kill()
        await one.until(partial(flow, one, await one.counted() + 200), "flowing alone")
        two.child.start()
        await two.until(partial(flow, two, 200), "flowing again")
        for symbol in symbols[:2]:
            assert await one.resyncs(symbol) == 1, "never disturbed"
        assert set((await one.health())["symbols"]) == set(symbols[:2])
        assert (await one.stop(), await two.stop()) == (0, 0)
    followed = follow(await read(kafka, topic))
    assert set(followed) == set(symbols)
    for symbol in symbols:
        assert followed[symbol].books == ["unknown", "snapshot"] * (1 if symbol in symbols[:2] else 2)


async def test_sigint_while_the_exchange_is_away_ends_it(kafka: str, topic: str, tmp_path: Path, until: Until) -> None:
    (port,) = free_ports(1)
    nobody = f"127.0.0.1:{port}"
    async with producing(kafka, topic, f"http://{nobody}", f"ws://{nobody}", "BTCUSDT", tmp_path) as process:

        async def waiting() -> bool:
            away = "not connected to the exchange" in (await process.health()).get("problems", [])
            return away and "exchange does not answer" in process.child.log_tail(40)

        await process.until(waiting, "waiting for the exchange")
        os.kill(process.child.pid, signal.SIGINT)
        await until(lambda: not process.child.running)
        assert process.child.exit_code == 0


@pytest.mark.tape
async def test_the_recorded_market_arrives_exactly(kafka: str, topic: str, tape_path: Path, tmp_path: Path) -> None:
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
        print(f"checked by the producer itself: {truth['best_equal']} of {truth['best_compared']} equal")
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
    print(f"best bid and ask: {equal} of {len(compared)} equal")
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
