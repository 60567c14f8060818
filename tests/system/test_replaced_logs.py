"""Logs that are not the log that a worker knew: topics made again, another cluster, events that are gone.

Each test lets a worker know one log, puts another in its place, and looks at what the worker makes of it: the states
are those of the log that is there now, and what is missing is said in report, metric and log.
"""

import re
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from agents.intake import home_partition
from app import topics
from app.microstructure.engine import EngineParams, SymbolEngine
from app.microstructure.events import Event, decode
from app.stack.kafka import KafkaBroker
from app.stack.redis import RedisServer
from support.faults import FaultProxy
from support.reports import Reports
from support.worker_markets import market
from support.workers import PARTITIONS, Deployment, Worker, eventually

pytestmark = pytest.mark.stack

NAMES = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "ADAUSDT")


async def test_topics_made_again_while_nobody_worked(deployment: Deployment) -> None:
    await _known(deployment, "w1", 60)
    await _make_again(deployment, *_both(deployment))
    with deployment.worker("w1") as worker:
        await deployment.send(_events(40))
        await _as_undisturbed(deployment)
        assert await worker.metric("context8_errors_total") >= PARTITIONS, "the changelog is another: counted"
    assert _lines(deployment, "w1", "WARNING", "is another log than the one that the data folder knows")


async def test_topics_made_again_under_a_working_worker(deployment: Deployment) -> None:
    with deployment.worker("w1") as worker:
        await deployment.send(_events(60))
        await _as_undisturbed(deployment)
        await _make_again(deployment, *_both(deployment))
        await deployment.send(_events(40))
        await _as_undisturbed(deployment)
        health = await worker.health()
    assert {each["incomplete"]["reason"] for each in health["symbols"].values()} == {"other_log"}
    assert len(_lines(deployment, "w1", "ERROR", "other log, begins empty")) == len(NAMES)


async def test_topics_that_are_gone_are_named_while_they_are(deployment: Deployment) -> None:
    """The group takes all partitions back, and a worker without any would look well."""
    with deployment.worker("w1") as worker:
        await deployment.send(_events(60))
        await _as_undisturbed(deployment)
        await _delete(deployment, *_both(deployment))

        async def named() -> bool:
            problems = (await worker.health()).get("problems", ())
            return any("Kafka does not have what we need" in each and "topic " in each for each in problems)

        await eventually(named, "/health names a topic that is missing", limit_sec=20)
        await deployment.create_topics()

        async def well() -> bool:
            return (await worker.health()).get("problems") == []

        await eventually(well, "it is well again", limit_sec=30)


async def test_events_made_again_and_grown_past_what_was_known(deployment: Deployment, redis_url: str) -> None:
    await _known(deployment, "w1", 60)
    await _make_again(deployment, deployment.settings.events_topic)
    await deployment.send(_events(150))
    with deployment.worker("w1") as worker:
        await _as_undisturbed(deployment)
        health = await worker.health()
        assert await _errors(worker, "ownership", "other_log") == len(NAMES)
        reports = Reports(redis_url, NAMES)
        report = await reports.of(NAMES[0])
        await reports.close()
    assert {each["incomplete"]["reason"] for each in health["symbols"].values()} == {"other_log"}
    assert report is not None
    assert report["provenance"]["incomplete"]["reason"] == "other_log"


async def test_a_changelog_that_others_filled_again_past_what_was_known(deployment: Deployment) -> None:
    await _known(deployment, "w1", 60)
    await _make_again(deployment, *_both(deployment))
    with deployment.worker("w2", SNAPSHOT_INTERVAL_MS="100") as other:
        await deployment.send(_events(200), delay=0.004)
        await _as_undisturbed(deployment)
        assert other.stop() == 0
    with deployment.worker("w1"):
        await deployment.send([event for name in NAMES for event in market(name, 240)[200:]])
        await _as_undisturbed(deployment)


async def test_another_cluster_with_the_folder_and_the_group_of_this_one(
    deployment: Deployment, breakable_kafka: tuple[KafkaBroker, FaultProxy], redis_url: str, tmp_path: Path
) -> None:
    await _known(deployment, "w1", 60)
    broker, _ = breakable_kafka
    other = Deployment(broker.bootstrap, redis_url, deployment.settings.worker_group, tmp_path)
    await other.create_topics()
    await other.send(_events(150))
    with other.worker("w1"):
        await _as_undisturbed(other)
    assert _lines(other, "w1", "WARNING", "is another log than the one that the data folder knows")


async def test_events_that_retention_took_before_anybody_read_them(deployment: Deployment) -> None:
    await _known(deployment, "w1", 60)
    await deployment.send([event for name in NAMES for event in market(name, 120)[60:]])
    homes = Counter(home_partition(name, PARTITIONS) for name in NAMES)
    await _delete_events(deployment, {home: 80 * symbols for home, symbols in homes.items()})
    with deployment.worker("w1") as worker:

        async def all_said() -> bool:
            symbols = (await worker.health()).get("symbols", {})
            said = {name: each["incomplete"] and each["incomplete"]["reason"] for name, each in symbols.items()}
            return said == dict.fromkeys(NAMES, "events_expired")

        await eventually(all_said, "every symbol says that events of it are gone")
        assert await _errors(worker, "ownership", "events_expired") == len(NAMES)
    assert _lines(deployment, "w1", "ERROR", "events expired, goes on at offset")


async def test_a_redis_that_was_emptied_too_gets_the_reports_of_the_new_log(
    deployment: Deployment, breakable_redis: tuple[RedisServer, FaultProxy]
) -> None:
    server, _ = breakable_redis
    reports = Reports(server.url, NAMES)
    with deployment.worker("w1", REDIS_URL=server.url) as worker:
        await deployment.send(_events(100))
        await _as_undisturbed(deployment)
        await eventually(partial(_reports_at, reports, deployment), "reports stand where the log ends")
        await _make_again(deployment, *_both(deployment))
        await deployment.send(_events(20))
        await eventually(partial(_reports_at, reports, deployment), "reports follow to lower offsets")
        assert worker.running
    await reports.close()


async def _known(deployment: Deployment, name: str, count: int) -> None:
    """Let worker `name` know `count` events of each market, and stop."""
    with deployment.worker(name) as worker:
        await deployment.send(_events(count))
        await _as_undisturbed(deployment)
        assert worker.stop() == 0


def _events(count: int) -> list[Event]:
    return [event for group in zip(*(market(name, count) for name in NAMES), strict=True) for event in group]


async def _as_undisturbed(deployment: Deployment) -> None:
    """Wait until the changelog has the states of engines that saw today's log and nothing else."""

    async def same() -> bool:
        wanted = await _undisturbed(deployment)
        found = {
            name: SymbolEngine.restore(state, EngineParams())
            for name, state in (await deployment.newest_states()).items()
        }
        return found.keys() == wanted.keys() and all(_without_hole(found[name]) == wanted[name] for name in wanted)

    await eventually(same, "the states are those of the log that is there")


async def _undisturbed(deployment: Deployment) -> dict[str, bytes]:
    engines: dict[str, SymbolEngine] = {}
    for record in await deployment.read_topic(deployment.settings.events_topic, PARTITIONS):
        event = decode(record.value, record.key)
        engines.setdefault(event.symbol, SymbolEngine(event.symbol, EngineParams())).apply(event, record.offset)
    return {name: engine.snapshot() for name, engine in engines.items()}


def _without_hole(engine: SymbolEngine) -> bytes:
    engine._hole = None
    return engine.snapshot()


async def _reports_at(reports: Reports, deployment: Deployment) -> bool:
    last: dict[str, int] = {}
    for record in await deployment.read_topic(deployment.settings.events_topic, PARTITIONS):
        last[record.key.decode()] = record.offset
    return {name: seen.offset for name, seen in (await reports.all()).items()} == last


def _both(deployment: Deployment) -> tuple[str, str]:
    return deployment.settings.events_topic, topics.changelog_name(deployment.settings)


async def _make_again(deployment: Deployment, *names: str) -> None:
    await _delete(deployment, *names)
    await deployment.create_topics()


async def _delete(deployment: Deployment, *names: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=deployment.settings.kafka_brokers)
    await admin.start()
    await admin.delete_topics(list(names))

    async def gone() -> bool:
        return not set(names) & set(await admin.list_topics())

    await eventually(gone, "the topics are deleted")
    await admin.close()


async def _delete_events(deployment: Deployment, before: dict[int, int]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=deployment.settings.kafka_brokers)
    await admin.start()
    topic = deployment.settings.events_topic
    await admin.delete_records({TopicPartition(topic, each): RecordsToDelete(end) for each, end in before.items()})
    await admin.close()


async def _errors(worker: Worker, component: str, kind: str) -> float:
    pattern = rf'context8_errors_total{{component="{component}",type="{kind}"}} (.*)'
    return sum(float(value) for value in re.findall(pattern, await worker.metrics()))


def _lines(deployment: Deployment, name: str, level: str, text: str) -> list[str]:
    log = (deployment.folder / f"{name}.log").read_text()
    return [line for line in log.splitlines() if text in line and f'"{level}"' in line]
