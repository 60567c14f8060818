"""Names that somebody makes up, by the thousand, in a topic that workers read: traded symbols go on as before."""

import asyncio
import time
from collections import Counter
from functools import partial
from itertools import batched
from statistics import quantiles
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaProducer

from agents.admission import MOST_REMEMBERED
from agents.intake import home_partition
from app.topics import changelog_name
from support.ground import Ground
from support.markets import START, trade
from support.records import event_bytes
from support.reports import Watch
from support.streams import SYMBOLS, interleaved, undisturbed
from support.telling import Tell
from support.workers import PARTITIONS, Deployment, Worker, eventually
from tables.records import symbol_of

pytestmark = pytest.mark.stack

NAMES: Final = 20_000
ROOM: Final = 800
"""Of each of the four partitions: 3,200 symbols a worker."""
EACH: Final = 40
MOST_GAP_SEC: Final = 5.0  # on a machine that is busy with tests; alone it is a fraction of a second
MOST_RSS_MB: Final = 600
MOST_HEALTH_BYTES: Final = 100_000


async def flood(brokers: str, topic: str) -> None:
    """Send one trade of each of `NAMES` invented names within some 3 s."""
    async with AIOKafkaProducer(bootstrap_servers=brokers, linger_ms=5) as producer:
        for some in batched(range(NAMES), NAMES // 30):
            began = time.monotonic()
            for number in some:
                name = f"FAKE{number}"
                await producer.send(topic, event_bytes(trade(1, symbol=name)), key=name.encode())
            await asyncio.sleep(max(0.0, 0.1 - (time.monotonic() - began)))


class Probe:
    """Sends trades of BTCUSDT and sees how long each takes to its report."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._number = 1_000_000

    async def waits(self, seconds: float) -> list[float]:
        """Return how long each trade took, of `seconds`."""
        topic, until = self._ground.deployment.settings.events_topic, time.monotonic() + seconds
        taken: list[float] = []
        async with AIOKafkaProducer(bootstrap_servers=self._ground.broker.bootstrap) as producer:
            while time.monotonic() < until:
                self._number += 1
                value = event_bytes(trade(self._number, symbol="BTCUSDT", at=START + self._number))
                began = time.monotonic()
                sent = await producer.send_and_wait(topic, value, key=b"BTCUSDT")
                await eventually(partial(self._reached, sent.offset), "the trade is in a report")
                taken.append(time.monotonic() - began)
        return taken

    async def _reached(self, offset: int) -> bool:
        seen = (await self._ground.reports.all()).get("BTCUSDT")
        return seen is not None and seen.offset >= offset


def p95(waits: list[float]) -> float:
    return quantiles(waits, n=20)[-1]


async def test_twenty_thousand_invented_names_cost_the_traded_ones_nothing(ground: Ground, tell: Tell) -> None:
    deployment, probe = ground.deployment, Probe(ground)
    with deployment.worker("w1", PARTITION_SYMBOLS=str(ROOM)) as worker:
        await deployment.send(interleaved(EACH))
        await eventually(ground.reports.complete, "every symbol has a report")
        usual, before_mb = await probe.waits(5), worker.most_memory_mb
        async with Watch(ground.reports) as watch:
            flooding = asyncio.to_thread(asyncio.run, flood(ground.broker.bootstrap, deployment.settings.events_topic))
            flooded, _ = await asyncio.gather(probe.waits(10), flooding)
        tell(f"{NAMES} invented names: longest gap of any traded symbol {max(watch.gaps.values()):.2f} s")
        tell(f"to the report: P95 {p95(usual):.2f} s, with them {p95(flooded):.2f} s, at most {max(flooded):.2f} s")
        assert watch.faults == []
        assert max(watch.gaps.values()) < MOST_GAP_SEC
        assert max(flooded) < MOST_GAP_SEC
        await eventually(partial(_is_full, worker), "each partition has as many as it may")
        await eventually(deployment.all_is_committed, "all is committed")
        health = await worker.health()
        (said,) = [each for each in health["problems"] if "names were refused" in each]
        assert f"has {ROOM} symbols, as many as PARTITION_SYMBOLS allows" in said
        assert len(str(health)) < MOST_HEALTH_BYTES
        await eventually(partial(_counts, worker, _refused(NAMES)), "each refused event is counted")
        tell(f"memory at most {before_mb:.0f} MB before, {worker.most_memory_mb:.0f} MB after")
        assert worker.most_memory_mb < MOST_RSS_MB
        assert worker.stop() == 0
    letters = await deployment.read_topic(deployment.settings.dlq_topic, 1)
    assert len(letters) <= MOST_REMEMBERED
    assert {dict(letter.headers)["reason"] for letter in letters} == {b"too_many_symbols"}


async def test_only_symbols_that_are_allowed_become_any(deployment: Deployment) -> None:
    events = interleaved(EACH)
    with deployment.worker("w1", WORKER_SYMBOLS="B*USDT,ETHUSDT") as worker:
        await deployment.send(events)
        states = undisturbed(events, PARTITIONS)
        wanted = {name: states[name] for name in ("BNBUSDT", "BTCUSDT", "ETHUSDT")}
        await eventually(partial(deployment.has_states, wanted), "those that are allowed have their states")
        await eventually(deployment.all_is_committed, "all is committed")
        assert worker.stop() == 0
    assert (await deployment.newest_states()).keys() == wanted.keys()
    letters = await deployment.read_topic(deployment.settings.dlq_topic, 1)
    reasons = Counter((letter.key, dict(letter.headers)["reason"]) for letter in letters)
    assert reasons == {(name.encode(), b"symbol_not_allowed"): 1 for name in SYMBOLS if name not in wanted}


async def test_a_symbol_that_falls_silent_is_forgotten_and_may_come_back(ground: Ground) -> None:
    deployment, reports = ground.deployment, ground.reports
    with deployment.worker("w1", FORGET_AFTER_SEC="2") as worker:
        await deployment.send(interleaved(EACH))
        await eventually(ground.reports.complete, "every symbol has a report")
        talking = asyncio.create_task(_talk(deployment))
        await eventually(partial(_only_btc, ground), "only the one that is heard of has a report")
        await eventually(partial(_table_has, deployment, {"BTCUSDT"}), "and snapshots")
        assert (await worker.health())["symbols"].keys() == {"BTCUSDT"}
        await deployment.send([trade(5_000_000, symbol="DOGEUSDT")])
        await eventually(partial(_epoch_is, ground, "DOGEUSDT", 2), "it is back, under a new epoch")
        talking.cancel()
        await asyncio.wait([talking])
        worker.kill()
    with deployment.worker("w2", FORGET_AFTER_SEC="60") as worker:
        await eventually(partial(_has_symbols, worker, {"BTCUSDT"}), "the next one knows it")
        assert "begins empty" not in worker.log.read_text(), "nobody misses what was forgotten"
        assert worker.stop() == 0
    assert (await reports.of("BTCUSDT")) is not None


async def _talk(deployment: Deployment) -> None:
    async with AIOKafkaProducer(bootstrap_servers=deployment.settings.kafka_brokers) as producer:
        for number in range(10_000):
            value = event_bytes(trade(2_000_000 + number, symbol="BTCUSDT"))
            await producer.send_and_wait(deployment.settings.events_topic, value, key=b"BTCUSDT")
            await asyncio.sleep(0.1)


async def _counts(worker: Worker, refused: float) -> bool:
    return await worker.metric('context8_refused_events_total{reason="too_many_symbols"}') == refused


def _refused(names: int) -> float:
    """How many of the invented names find no room."""
    homes = Counter(home_partition(f"FAKE{number}", PARTITIONS) for number in range(names))
    taken = Counter(home_partition(symbol, PARTITIONS) for symbol in SYMBOLS)
    return float(sum(count - (ROOM - taken[home]) for home, count in homes.items()))


async def _only_btc(ground: Ground) -> bool:
    return (await ground.reports.all()).keys() == {"BTCUSDT"}


async def _epoch_is(ground: Ground, symbol: str, epoch: int) -> bool:
    writers = await ground.reports.writers()
    _, known = writers.get(symbol, ("", 0))
    return known == epoch


async def _table_has(deployment: Deployment, symbols: set[str]) -> bool:
    records = await deployment.read_topic(changelog_name(deployment.settings), PARTITIONS)
    newest: dict[bytes, Any] = {record.key: record.value for record in records}
    held = {symbol_of(key) for key, value in newest.items() if value is not None}
    return held - {None} == symbols


async def _has_symbols(worker: Worker, symbols: set[str]) -> bool:
    return bool(symbols <= (await worker.health()).get("symbols", {}).keys())


async def _is_full(worker: Worker) -> bool:
    return bool((await worker.health()).get("symbols_total") == ROOM * PARTITIONS)
