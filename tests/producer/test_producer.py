"""The whole producer: real exchange server, real NautilusTrader node, real Kafka; it runs as a process."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from app.microstructure import events
from app.stack.kafka import KafkaBroker
from app.stack.ports import free_ports
from producer.exchange.server import ExchangeServer
from producer.exchange.sim import SimMarket
from support.producing import ProducerProcess, create, follow, lossy_line, producing, read
from support.telling import Tell

Until = Callable[..., Awaitable[None]]

pytestmark = pytest.mark.stack


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


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("symbols", "least_sec", "least_waiting"),
    [
        pytest.param("BTCUSDT,ETHUSDT", 0, 2_000, id="a while"),
        pytest.param("BTCUSDT,ETHUSDT,SOLUSDT,BNBUSDT,XRPUSDT", 60, 60_000, id="a minute", marks=pytest.mark.long),
    ],
)
async def test_kafka_away_for_a_while_costs_no_event_and_no_order(
    own_broker: KafkaBroker,
    topic_prefix: str,
    tmp_path: Path,
    symbols: str,
    least_sec: float,
    least_waiting: int,
    tell: Tell,
) -> None:
    market = SimMarket(symbols.split(","), seed=7, rate=200, start_ns=time.time_ns())
    await asyncio.to_thread(own_broker.start)
    try:
        kafka = own_broker.bootstrap
        await create(kafka, topic_prefix)
        async with (
            ExchangeServer(market) as exchange,
            producing(kafka, topic_prefix, exchange.http_url, exchange.ws_url, symbols, tmp_path) as process,
        ):
            killed_at = 0.0

            async def queued(least: int, most: int) -> bool:
                return least <= int((await process.health()).get("queue_depth", -1)) <= most

            async def flowing() -> bool:
                return await queued(0, 50) and await process.counted() > 500

            async def away() -> bool:
                said = "Kafka does not answer" in (await process.health())["problems"]
                return said and await queued(least_waiting, 10**6) and time.monotonic() > killed_at + least_sec

            await process.until(flowing, "flowing")
            await asyncio.to_thread(own_broker.kill)
            killed_at = time.monotonic()
            await process.until(away, "waiting for Kafka", 120)
            waiting = (await process.health())["queue_depth"]
            errors = process.child.log.read_text().count('"level":"ERROR"')
            await asyncio.to_thread(own_broker.start)
            answers_at = time.monotonic()
            await process.until(lambda: queued(0, 50), "all sent")
            tell(f"{waiting} events waited; all sent {time.monotonic() - answers_at:.1f} s after Kafka answered again")
            counted = await process.counted()
            assert await process.stop() == 0, process.child.log_tail(40)
        tell(f"{errors} error lines while Kafka was away")
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
