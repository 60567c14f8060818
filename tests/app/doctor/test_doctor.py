"""Each failing case on the real thing: a broker, a Redis, a folder, an HTTP server, none of them as it should be."""

import http.server
import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.asyncio import Redis

from app import cli, topics
from app.doctor.findings import Finding
from app.doctor.kafka_checks import kafka_findings
from app.doctor.machine_checks import disk_finding, exchange_finding, java_finding
from app.doctor.redis_checks import redis_findings
from app.settings import Settings
from app.stack.ports import free_ports


@pytest.fixture
def config(kafka: str, redis_url: str, topic_prefix: str) -> Settings:
    return Settings(
        kafka_brokers=kafka,
        redis_url=redis_url,
        events_topic=f"{topic_prefix}.events",
        worker_group=topic_prefix,
        events_partitions=2,
    )


async def kafka_by_check(config: Settings) -> dict[str, Finding]:
    return {each.check: each async for each in kafka_findings(config)}


async def redis_by_check(config: Settings, **how: Any) -> dict[str, Finding]:
    return {each.check: each async for each in redis_findings(config, writes=True, reads=False, **how)}


async def test_a_broker_as_it_should_be_gets_only_good_marks(config: Settings) -> None:
    await topics.ensure(config)
    found = await kafka_by_check(config)
    assert len(found) == 6
    assert found["copies"].found == "1 broker: each topic has 1 copy, all in sync"
    assert {each.status for each in found.values()} == {"ok"}


async def test_a_broker_that_is_away_is_one_finding() -> None:
    (port,) = free_ports(1)
    found = await kafka_by_check(Settings(kafka_brokers=f"127.0.0.1:{port}"))
    assert [(each.status, each.found) for each in found.values()] == [("error", "does not answer")]


async def test_missing_topics_and_other_partition_counts_are_errors_with_a_remedy(config: Settings) -> None:
    missing = await kafka_by_check(config)
    assert missing[f"topic {config.events_topic}"].advice == "run `context8 topics`"
    await topics.ensure(config)
    other = await kafka_by_check(msgspec.structs.replace(config, events_partitions=3))
    finding = other[f"topic {config.events_topic}"]
    assert (finding.status, finding.found) == ("error", "has 2 partitions, 3 are wanted")
    assert "set EVENTS_PARTITIONS=2" in finding.advice


async def test_settings_of_topics_that_differ_are_named_with_the_command_that_mends_them(config: Settings) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=config.kafka_brokers)
    await admin.start()
    try:
        changelog = topics.changelog_name(config)
        await admin.create_topics(
            [NewTopic(changelog, 2, 1), NewTopic(config.events_topic, 2, 1, topic_configs={"retention.ms": "3600000"})]
        )
    finally:
        await admin.close()
    found = await kafka_by_check(config)
    assert found[f"topic {changelog}"].status == "error", "a changelog that is not compacted loses snapshots"
    assert "--set cleanup.policy=compact" in found[f"topic {changelog}"].advice
    assert found[f"topic {config.events_topic}"].status == "warning", "how long events are kept is a matter of taste"
    assert found[f"topic {config.events_topic}"].found == "has retention.ms=3600000"


async def test_topics_that_refuse_the_largest_of_our_records_are_named(config: Settings) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=config.kafka_brokers)
    await admin.start()
    try:
        for name, partitions, days in ((config.events_topic, 2, 1), (config.dlq_topic, 1, 7)):
            small = {"max.message.bytes": "50000", "retention.ms": str(days * 86_400_000)}
            await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=small)])
    finally:
        await admin.close()
    found = await kafka_by_check(config)
    for name, least in ((config.events_topic, 1_048_588), (config.dlq_topic, 73_728)):
        finding = found[f"topic {name}"]
        assert (finding.status, finding.found) == ("warning", "has max.message.bytes=50000"), name
        assert f"--set max.message.bytes={least}" in finding.advice


async def test_a_session_timeout_below_the_brokers_minimum_is_an_error(
    config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await topics.ensure(config)
    # The session's broker takes 500 ms and more, and so do the settings.
    found = await kafka_by_check(msgspec.structs.replace(config, session_timeout_ms=400))
    assert found["session timeout"].status == "error"
    assert "group_min_session_timeout_ms" in found["session timeout"].advice


@pytest.fixture
async def admin(redis_url: str) -> AsyncIterator[Any]:
    """Give a client that may change the server's settings, which are put back."""
    client: Any = Redis.from_url(redis_url)
    async with client:
        yield client
        await client.config_set("maxmemory", 0)
        await client.config_set("maxmemory-policy", "noeviction")
        await client.execute_command("ACL", "DELUSER", "doctor")


async def test_a_redis_as_it_should_be_gets_only_good_marks(config: Settings) -> None:
    found = await redis_by_check(config)
    assert set(found) == {"redis", "redis version", "redis memory", "clock"}
    assert {each.status for each in found.values()} == {"ok"}


async def test_a_redis_that_is_away_is_one_finding() -> None:
    (port,) = free_ports(1)
    (finding,) = (await redis_by_check(Settings(redis_url=f"redis://127.0.0.1:{port}/0"))).values()
    assert finding.status == "error"
    assert finding.found.startswith("does not answer")
    assert "with TLS if REDIS_URL is rediss://" in finding.advice


async def test_a_redis_that_may_throw_epochs_away_is_an_error(config: Settings, admin: Any) -> None:
    await admin.config_set("maxmemory", 100 << 20)
    await admin.config_set("maxmemory-policy", "allkeys-lru")
    finding = (await redis_by_check(config))["redis memory"]
    assert (finding.status, finding.found) == ("error", "maxmemory-policy allkeys-lru, limit 100 MB")
    assert "CONFIG SET maxmemory-policy noeviction" in finding.advice


async def test_a_user_without_rights_is_an_error_and_what_it_cannot_see_a_warning(config: Settings, admin: Any) -> None:
    await admin.execute_command("ACL", "SETUSER", "doctor", "on", "nopass", "~report:*", "-@all", "+select", "+client")
    url = config.redis_url.replace("//", "//doctor@")
    found = await redis_by_check(msgspec.structs.replace(config, redis_url=url))
    assert found["redis"].status == "error"
    assert "lacks SCRIPT LOAD" in found["redis"].advice
    assert {found[each].status for each in ("redis version", "redis memory", "clock")} == {"warning"}


async def test_a_user_that_does_not_exist_is_refused(config: Settings) -> None:
    url = config.redis_url.replace("//", "//nobody@")
    found = await redis_by_check(msgspec.structs.replace(config, redis_url=url))
    assert [(each.status, each.found) for each in found.values()] == [("error", "refuses us")]


async def test_a_clock_that_differs_from_redis_is_an_error(config: Settings, admin: Any) -> None:
    seconds, _ = await admin.time()
    found = await redis_by_check(config, wall=lambda: seconds - 60.0)
    assert found["clock"].status == "error"
    assert "behind Redis' clock" in found["clock"].found


def test_room_for_tables_is_looked_at_where_the_folder_will_be(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    assert disk_finding(folder, enough=1, least=1).status == "ok"
    assert disk_finding(folder, enough=1 << 60, least=1).status == "warning"
    assert disk_finding(folder, enough=1 << 60, least=1 << 60).status == "error"
    assert not folder.exists()


def test_a_data_folder_below_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert disk_finding(tmp_path / "file" / "data", enough=1).status == "error"


class _Exchange(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/v3/ping" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def exchange() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Exchange) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_exchange_that_answers_is_well_and_one_that_does_not_an_error_where_it_is_needed(exchange: str) -> None:
    assert exchange_finding(Settings(binance_http_url=exchange), needed=True).status == "ok"
    assert exchange_finding(Settings(binance_http_url=f"{exchange}/else"), needed=True).status == "error"
    (port,) = free_ports(1)
    away = Settings(binance_http_url=f"http://127.0.0.1:{port}")
    assert exchange_finding(away, needed=True).status == "error"
    assert exchange_finding(away, needed=False).status == "warning"


def test_java_is_found_where_it_is() -> None:
    assert java_finding().status == "ok"


@pytest.fixture
def environment(config: Settings, exchange: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "KAFKA_BROKERS": config.kafka_brokers,
        "REDIS_URL": config.redis_url,
        "EVENTS_TOPIC": config.events_topic,
        "WORKER_GROUP": config.worker_group,
        "EVENTS_PARTITIONS": "2",
        "BINANCE_HTTP_URL": exchange,
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("environment")
def test_the_command_ends_with_1_while_anything_is_wrong_and_with_0_when_it_is_mended(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["doctor"]) == 1
    assert "✗ topic" in capsys.readouterr().out
    assert cli.main(["topics"]) == 0
    capsys.readouterr()
    assert cli.main(["doctor", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["healthy"] is True
    assert {"kafka", "session timeout", "redis", "clock", "disk", "exchange", "java"} <= {
        each["check"] for each in content["findings"]
    }


@pytest.mark.parametrize(
    ("role", "checked"), [("reader", {"redis", "redis version", "redis memory", "clock"}), ("producer", {"kafka"})]
)
@pytest.mark.usefixtures("environment")
def test_a_role_is_asked_only_for_what_it_needs(
    role: str, checked: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["doctor", "--role", role, "--json"])
    names = {each["check"] for each in json.loads(capsys.readouterr().out)["findings"]}
    assert checked <= names
    assert ("kafka" in names, "redis" in names) == (role != "reader", role != "producer")


def test_a_setting_that_is_not_allowed_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TIMEOUT_MS", "soon")
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().out.startswith("✗ settings  one is not allowed: TIMEOUT_MS='soon'")
