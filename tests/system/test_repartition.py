"""Partitions are added while workers run: they refuse at once, and the procedure of the runbook loses nothing."""

from functools import partial
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete

from agents.intake import home_partition
from app import exit_codes, topics
from app.microstructure.engine import STATE_VERSION, EngineParams, SymbolEngine
from app.microstructure.events import decode
from app.repartition import RepartitionError, repartition
from support.changelog import newest_states
from support.worker_markets import market
from support.workers import PARTITIONS, Deployment, Worker, eventually
from tables.records import Snapshot, Writer

pytestmark = pytest.mark.stack

MARKETS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "ADAUSDT", "XRPUSDT", "DOGEUSDT")
MORE = 6


async def _has_processed(worker: Worker, symbols: int) -> bool:
    return len((await worker.health()).get("symbols", {})) == symbols


@pytest.fixture
async def deployment(kafka: str, redis_url: str, topic_prefix: str, tmp_path: Path) -> Deployment:
    made = Deployment(kafka, redis_url, topic_prefix, tmp_path)
    await made.create_topics()
    return made


async def test_a_symbol_that_moves_takes_its_state_along(deployment: Deployment) -> None:
    moving = [name for name in MARKETS if home_partition(name, PARTITIONS) != home_partition(name, MORE)]
    assert moving, "else nothing is tested"
    config = deployment.settings
    events = {name: market(name, 90) for name in MARKETS}
    with deployment.worker("w1") as worker:
        for name in MARKETS:
            await deployment.send(events[name][:40])
        await eventually(partial(_has_processed, worker, len(MARKETS)), "all symbols are there")
        admin = AIOKafkaAdminClient(bootstrap_servers=config.kafka_brokers)
        await admin.start()
        await admin.create_partitions({config.events_topic: NewPartitions(MORE)})
        await admin.close()
        for name in MARKETS:
            await deployment.send(events[name][40:70])
        await eventually(worker.ended, "the worker refuses to go on", limit_sec=20)
        assert worker.exit_code == exit_codes.CANNOT_START
        assert (
            f"has {MORE} partitions, EVENTS_PARTITIONS={PARTITIONS}: set {MORE}; but if partitions were added"
            in worker.log.read_text()
        )

    said: list[str] = []
    moved = await repartition(config, MORE, said.append)
    assert {move.symbol for move in moved} == set(moving)
    assert not await repartition(config, MORE, said.append), "a second time there is nothing to do"

    for name in MARKETS:
        await deployment.send(events[name][70:])
    with deployment.worker("w2", EVENTS_PARTITIONS=str(MORE)) as worker:
        changelog = topics.changelog_name(config)

        async def all_right() -> bool:
            states = newest_states(await deployment.read_topic(changelog, MORE))
            wanted = await undisturbed(deployment, config.events_topic)
            return states.keys() == wanted.keys() and all(
                states[name] == engine.snapshot() for name, engine in wanted.items()
            )

        await eventually(all_right, "every symbol has seen every event once", limit_sec=40)
        health = await worker.health()
        assert all(symbol["incomplete"] is None for symbol in health["symbols"].values())


async def undisturbed(deployment: Deployment, topic: str) -> dict[str, SymbolEngine]:
    """Engines that see each symbol's events in the order in which they were sent."""
    engines: dict[str, SymbolEngine] = {}
    records = await deployment.read_topic(topic, MORE)
    for record in sorted(records, key=lambda each: (each.timestamp, each.offset)):
        event = decode(record.value, record.key)
        engine = engines.setdefault(event.symbol, SymbolEngine(event.symbol, EngineParams()))
        if record.partition == home_partition(event.symbol, MORE) != home_partition(event.symbol, PARTITIONS):
            engine.renumber(min(engine.offset, record.offset - 1))
        engine.apply(event, record.offset)
    return engines


async def test_events_that_are_gone_before_the_move_are_said_after_it(deployment: Deployment) -> None:
    name = next(each for each in MARKETS if home_partition(each, PARTITIONS) != home_partition(each, MORE))
    events, config = market(name, 90), deployment.settings
    with deployment.worker("w1") as worker:
        await deployment.send(events[:40])
        await eventually(partial(_has_processed, worker, 1), "the symbol is there")
        assert worker.stop() == 0
    await deployment.send(events[40:60])
    admin = AIOKafkaAdminClient(bootstrap_servers=config.kafka_brokers)
    await admin.start()
    old = TopicPartition(config.events_topic, home_partition(name, PARTITIONS))
    await admin.delete_records({old: RecordsToDelete(50)})
    await admin.close()
    await repartition(config, MORE, lambda _: None)
    with deployment.worker("w2", EVENTS_PARTITIONS=str(MORE)) as worker:
        await eventually(partial(_has_processed, worker, 1), "the symbol is there")
        (symbol,) = (await worker.health())["symbols"].values()
        assert symbol["incomplete"]["reason"] == "events_expired"


async def test_snapshots_that_only_another_version_can_read_are_not_lost(deployment: Deployment) -> None:
    name = next(each for each in MARKETS if home_partition(each, PARTITIONS) != home_partition(each, MORE))
    config, old = deployment.settings, home_partition(name, PARTITIONS)
    records = Writer("w").records(name, 1, Snapshot(b"state", STATE_VERSION + 1, None, 7, 7)).writes
    async with AIOKafkaProducer(bootstrap_servers=config.kafka_brokers) as producer:
        for key, value in records.items():
            await producer.send_and_wait(topics.changelog_name(config), value, key=key, partition=old)
    with pytest.raises(RepartitionError, match=f"there are snapshots of {name} of another version"):
        await repartition(config, MORE, lambda _: None)
    kept = await deployment.read_topic(topics.changelog_name(config), MORE)
    assert {record.key: record.value for record in kept} == records


async def test_while_a_worker_runs_nothing_is_moved(deployment: Deployment) -> None:
    with deployment.worker("w1") as worker:
        await deployment.send(market("BTCUSDT", 10))
        await eventually(partial(_has_processed, worker, 1), "it works")
        with pytest.raises(RepartitionError, match=r"1 workers of group .* are running: stop them first"):
            await repartition(deployment.settings, MORE, lambda _: None)
