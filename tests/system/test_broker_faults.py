"""The broker dies, slows down or is out of reach; workers and producer go on by themselves and lose nothing."""

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord

from app.microstructure.events import OrderBookDeltas, TradeTick, decode
from app.stack.ports import free_ports
from app.stack.process import Child
from support.ground import Ground
from support.pair import Pair, stopped
from support.reports import Watch
from support.streams import interleaved, last_offsets, undisturbed_of_topic
from support.telling import Tell
from support.workers import PARTITIONS, ROOT, Worker, all_shared, eventually

pytestmark = pytest.mark.stack

MARKETS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "ADAUSDT")


@asynccontextmanager
async def source(ground: Ground, folder: Path) -> AsyncIterator[tuple[Child, Child]]:
    """The exchange's replay server with a simulated market, and a producer that reads it."""
    exchange_port, producer_port = free_ports(2)
    env = {
        "SYMBOLS": ",".join(MARKETS),
        "KAFKA_BROKERS": ground.broker.bootstrap,
        "EVENTS_TOPIC": ground.deployment.settings.events_topic,
        "BINANCE_HTTP_URL": f"http://127.0.0.1:{exchange_port}",
        "BINANCE_WS_URL": f"ws://127.0.0.1:{exchange_port}",
        "PRODUCER_HTTP_PORT": str(producer_port),
    }
    simulate = ["exchange", "--port", str(exchange_port), "--symbols", env["SYMBOLS"], "--rate", "50"]
    exchange, producer = (
        Child(arguments[0], [sys.executable, "-m", "app.cli", *arguments], log=folder / arguments[0], env=env, cwd=ROOT)
        for arguments in (simulate, ["producer"])
    )
    with exchange:
        await eventually(partial(_listens, exchange_port), "the exchange listens")
        with producer:
            yield exchange, producer


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_after_a_restart_of_the_broker_all_go_on_by_themselves(
    ground: Ground, tmp_path: Path, how: str, tell: Tell
) -> None:
    deployment, reports = ground.deployment, ground.reports
    workers = [deployment.worker("w1"), deployment.worker("w2")]
    async with source(ground, tmp_path) as (_, producer), AsyncExitStack() as running:
        for worker in workers:
            running.enter_context(worker)
        await eventually(lambda: all_shared(*workers), "the partitions are split between both")

        async def beyond(offsets: dict[str, int]) -> bool:
            now = await reports.offsets()
            return set(now) == set(MARKETS) and all(now[symbol] > offsets.get(symbol, 50) for symbol in MARKETS)

        await eventually(partial(beyond, {}), "reports of every symbol come")
        async with Watch(reports) as watch:
            getattr(ground.broker, how)()
            down = time.monotonic()
            before = await reports.offsets()
            await asyncio.to_thread(ground.broker.start)
            up = time.monotonic()
            await eventually(partial(beyond, before), "new events are in the reports of every symbol")
            tell(
                f"{how}: broker back after {up - down:.1f} s, every symbol's events {time.monotonic() - up:.2f} s later"
            )
            await asyncio.to_thread(producer.stop)
            records = await deployment.read_topic(deployment.settings.events_topic, PARTITIONS)
            last = {record.key.decode(): record.offset for record in records}
            await eventually(lambda: reports.reached(last), "every event is in a report")
        tell(f"longest gap {max(watch.gaps.values()):.2f} s")
        for worker in workers:
            await stopped(worker)
    assert await deployment.newest_states() == undisturbed_of_topic(records)
    _nothing_is_missing(records)


def _nothing_is_missing(records: list[ConsumerRecord]) -> None:
    """Hold the events of every symbol to the ids that the exchange gave them: each once, in order."""
    updates: dict[str, int] = {}
    trades: dict[str, int] = {}
    for record in records:
        event = decode(record.value, record.key)
        if isinstance(event, OrderBookDeltas):
            payload = event.payload
            if updates.get(event.symbol):  # it begins as not known, under id 0
                assert not payload.snapshot, f"{event.symbol} was synchronised anew"
                assert payload.first_update_id == updates[event.symbol] + 1
            updates[event.symbol] = payload.final_update_id
        elif isinstance(event, TradeTick):
            assert event.payload.trade_id == trades.get(event.symbol, event.payload.trade_id - 1) + 1
            trades[event.symbol] = event.payload.trade_id
    assert set(updates) == set(trades) == set(MARKETS)


@pytest.mark.parametrize("fault", ["cut", "freeze"])
async def test_a_worker_out_of_reach_of_the_broker_is_replaced_and_comes_back(
    ground: Ground, fault: str, tell: Tell
) -> None:
    with Pair(ground, KAFKA_BROKERS=f"127.0.0.1:{ground.broker_proxy.port}").running() as pair:
        feed = await pair.flows()
        async with Watch(ground.reports) as watch:
            getattr(ground.broker_proxy, fault)()
            away = time.monotonic()
            await eventually(partial(pair.written_by, {"w2"}), "the other worker has taken over")
            tell(f"{fault}: taken over after {time.monotonic() - away:.2f} s")
            ground.broker_proxy.restore()
            back = time.monotonic()
            await eventually(lambda: all_shared(pair.first, pair.second), "the first worker has partitions again")
            await eventually(partial(pair.written_by, {"w1", "w2"}), "the first worker reports again")
            tell(f"{fault}: at work again {time.monotonic() - back:.2f} s after its end")
            await pair.all_reported(feed)
        tell(f"{fault}: longest gap {max(watch.gaps.values()):.2f} s")
        await pair.left_as_undisturbed()


async def test_a_slow_broker_costs_no_partition(ground: Ground, tell: Tell) -> None:
    with Pair(ground, KAFKA_BROKERS=f"127.0.0.1:{ground.broker_proxy.port}").running() as pair:
        feed = await pair.flows()
        async with Watch(ground.reports) as watch:
            before = await ground.reports.writers()
            ground.broker_proxy.delay(50)
            await pair.all_reported(feed)
            assert await ground.reports.writers() == before
        tell(f"50 ms to the broker each way: longest gap between reports {max(watch.gaps.values()):.2f} s")
        ground.broker_proxy.restore()
        await pair.left_as_undisturbed()


async def test_a_worker_that_starts_with_the_broker_gets_its_partitions(ground: Ground, tell: Tell) -> None:
    """The first answers of a broker that has just begun to listen leave topics out."""
    deployment = ground.deployment
    through_proxy = {"KAFKA_BROKERS": f"127.0.0.1:{ground.broker_proxy.port}"}
    ground.broker.kill()
    ground.broker_proxy.freeze()
    events = interleaved(40)
    with deployment.worker("w1", **through_proxy) as worker:
        await eventually(partial(_connects, worker), "the worker connects to the broker")
        starting = asyncio.create_task(asyncio.to_thread(ground.broker.start))
        await eventually(partial(_listens, ground.broker.behind), "the broker listens")
        ground.broker_proxy.restore()
        await starting
        up = time.monotonic()

        async def has_all() -> bool:
            return len(await worker.partitions()) == PARTITIONS

        await eventually(has_all, "the worker has all partitions", limit_sec=20)
        tell(f"all partitions {time.monotonic() - up:.2f} s after the broker was up")
        await deployment.send(events)
        last = last_offsets(events, PARTITIONS)
        await eventually(lambda: ground.reports.reached(last), "every event is in a report")
        await stopped(worker)


async def test_a_worker_waits_for_a_broker_that_is_away(ground: Ground) -> None:
    ground.broker.kill()
    with ground.deployment.worker("w1") as worker:
        await eventually(partial(_refused, worker), "the worker finds no broker")
        await asyncio.to_thread(ground.broker.start)
        await eventually(worker.partitions, "the worker has partitions", limit_sec=20)
        await stopped(worker)


async def _refused(worker: Worker) -> bool:
    return "Connection refused" in worker.log.read_text() or "Connect call failed" in worker.log.read_text()


async def _connects(worker: Worker) -> bool:
    return "waiting for Kafka" in worker.log.read_text()


async def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
