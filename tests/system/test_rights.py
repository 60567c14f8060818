"""Rights in Kafka that are taken from a worker while it runs: it says so, does what it still may, and goes on later."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from app.stack.kafka import KafkaBroker, Listener
from app.stack.ports import LOOPBACK, free_ports
from app.topics import changelog_name
from support.certificates import Authority
from support.kafka_acls import denied, grant
from support.reports import Reports, Watch
from support.secured import KAFKA_PASSWORD, KAFKA_USER
from support.servers import started
from support.streams import SYMBOLS, Feed, interleaved, undisturbed
from support.telling import Tell
from support.workers import PARTITIONS, Deployment, Worker, eventually

pytestmark = pytest.mark.stack

EACH = 160
PER_SEC = 160.0
AWAY_SEC = 6.0
MOST_GAP_SEC = 5.0  # on a machine that is busy with tests


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KafkaBroker, dict[str, str]]]:
    """Give a broker that asks for rights, and the settings of a user that has none yet."""
    folder = tmp_path_factory.mktemp("rights")
    authority, (port,) = Authority.in_folder(folder), free_ports(1)
    listener = Listener("USERS", port, authority.issue("server").both, mechanisms=("SCRAM-SHA-512",))
    made = started(
        lambda: KafkaBroker(folder / "kafka", listeners=[listener], users={KAFKA_USER: KAFKA_PASSWORD}, rights=True)
    )
    yield (
        made,
        {
            "KAFKA_BROKERS": f"{LOOPBACK}:{port}",
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_USERNAME": KAFKA_USER,
            "KAFKA_PASSWORD": KAFKA_PASSWORD,
            "KAFKA_CA_FILE": str(authority.file),
        },
    )
    made.stop()


@pytest.fixture
async def reports(redis_url: str) -> AsyncIterator[Reports]:
    made = Reports(redis_url, SYMBOLS)
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("kind", "what", "operation"),
    [
        ("topic", "changelog", "Write"),
        ("topic", "changelog", "Read"),
        ("topic", "events", "Read"),
        ("group", "group", "Read"),
    ],
)
async def test_a_right_that_is_taken_and_given_back_loses_nothing(
    secured: tuple[KafkaBroker, dict[str, str]],
    redis_url: str,
    reports: Reports,
    topic_prefix: str,
    tmp_path: Path,
    kind: str,
    what: str,
    operation: str,
    tell: Tell,
) -> None:
    kafka, env = secured
    deployment = Deployment(kafka.bootstrap, redis_url, topic_prefix, tmp_path)
    await deployment.create_topics()
    rights = f"--operation All --topic {topic_prefix} --group {topic_prefix} --resource-pattern-type prefixed"
    user = f"--allow-principal User:{KAFKA_USER}"
    await grant(f"kafka-acls.sh --bootstrap-server x --add {user} {rights}", kafka.bootstrap)
    names = {
        "changelog": changelog_name(deployment.settings),
        "events": deployment.settings.events_topic,
        "group": deployment.settings.worker_group,
    }
    events = interleaved(EACH)
    with deployment.worker("w1", **env) as worker:
        feed = Feed(kafka.bootstrap, deployment.settings.events_topic, events, PER_SEC)
        await eventually(reports.complete, "every symbol has a report")
        async with Watch(reports) as watch:
            async with denied(kafka.bootstrap, KAFKA_USER, kind, names[what], operation):
                said = await eventually(partial(_problems, worker), "health says so")
                await asyncio.sleep(AWAY_SEC)
            await feed
            await eventually(partial(_is_well, worker), "all is well again")
        tell(f"{operation} of the {what}: {'; '.join(said)}; longest gap {max(watch.gaps.values()):.2f} s")
        assert watch.faults == []
        assert max(watch.gaps.values()) < MOST_GAP_SEC
        await eventually(partial(deployment.has_states, undisturbed(events, PARTITIONS)), "nothing is lost")
        await eventually(deployment.all_is_committed, "all is committed")


async def _problems(worker: Worker) -> list[str]:
    return list((await worker.health()).get("problems", ()))


async def _is_well(worker: Worker) -> bool:
    return (await worker.health()).get("status") == "ok"
