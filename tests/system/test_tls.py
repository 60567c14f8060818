"""TLS and users everywhere: every process does its work, whoever is refused says why and ends, and nothing leaks."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from aiokafka.errors import KafkaConnectionError

from app.security.errors import AccessError
from app.security.kafka import kafka_security, require_kafka
from app.security.redis import require_redis
from app.settings import load
from app.stack.ports import free_ports
from app.stack.process import Child
from app.stack.redis import RedisServer
from support.contracts import validate_report
from support.markets import trade
from support.pair import names_problem
from support.processes import command_of, descendants
from support.secured import (
    BINANCE_KEY,
    BINANCE_SECRET,
    KAFKA_PASSWORD,
    MECHANISMS,
    READER_PASSWORD,
    SECRETS,
    TOKEN,
    WORKER_PASSWORD,
    Secured,
    command,
    leaks,
    secured_kafka,
    secured_redis,
    secured_worker,
)
from support.servers import started
from support.workers import Deployment, Worker, eventually

pytestmark = pytest.mark.stack

GUESS = "a-guess-1b9e"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    made = started(lambda: secured_kafka(tmp_path_factory.mktemp("secured")))
    yield made
    made.kafka.stop()


@pytest.fixture
def redis(secured: Secured, tmp_path: Path) -> Iterator[RedisServer]:
    server = started(lambda: secured_redis(tmp_path / "redis", secured.authority.issue("redis")))
    yield server
    server.stop()


@pytest.fixture
async def deployment(
    secured: Secured, redis: RedisServer, topic_prefix: str, tmp_path: Path
) -> AsyncIterator[Deployment]:
    """Give topics, made through the plain listener, and what a worker is told."""
    made = Deployment(secured.kafka.bootstrap, redis.url, topic_prefix, tmp_path)
    await made.create_topics()
    yield made
    assert leaks(tmp_path, GUESS) == set(), "secrets are in these logs"


async def get(port: int, path: str) -> str | None:
    url, shown = f"http://127.0.0.1:{port}{path}", {"authorization": f"Bearer {TOKEN}"}
    try:
        async with aiohttp.ClientSession() as session, session.get(url, headers=shown) as answer:
            text = await answer.text()
            return text if answer.status == 200 and text != "null" else None
    except aiohttp.ClientError:
        return None


async def test_events_become_reports_with_tls_and_users_the_whole_way(
    deployment: Deployment, secured: Secured, redis: RedisServer
) -> None:
    exchange_port, producer_port, reader_port = free_ports(3)
    file = deployment.folder / "password"
    file.write_text(f"{WORKER_PASSWORD}\n")
    loud = {"LOG_LEVEL": "DEBUG"}
    by_file = {"REDIS_PASSWORD": "", "REDIS_PASSWORD_FILE": str(file)}
    tokens = deployment.folder / "tokens"
    tokens.write_text(f"tester:{TOKEN}\n")
    market = {
        "SYMBOLS": "BTCUSDT",
        "BINANCE_HTTP_URL": f"http://127.0.0.1:{exchange_port}",
        "BINANCE_WS_URL": f"ws://127.0.0.1:{exchange_port}",
        "BINANCE_API_KEY": BINANCE_KEY,
        "BINANCE_API_SECRET": BINANCE_SECRET,
        "PRODUCER_HTTP_PORT": str(producer_port),
        # The one mechanism that sends the password as it is; at DEBUG clients write down what they send.
        "KAFKA_SASL_MECHANISM": "PLAIN",
    }
    address = redis.url.replace("//", f"//reader:{READER_PASSWORD}@")
    reading = {
        "REDIS_URL": address,
        "REDIS_CA_FILE": str(secured.authority.file),
        "READER_PORT": str(reader_port),
        "READER_TOKENS_FILE": str(tokens),
        "TIMEOUT_MS": "1000",
    }
    exchange = command(
        deployment, "exchange", "exchange", "--market", "sim", "--symbols", "BTCUSDT", "--port", str(exchange_port)
    )
    producer = command(deployment, "producer", "producer", **secured.kafka_env(), **market, **loud)
    reader = command(deployment, "reader", "reader", **reading, **loud)
    with (
        exchange,
        secured_worker(deployment, secured, redis, "w1", **by_file, **loud) as worker,
        reader,
        producer,
    ):
        report = await eventually(partial(get, reader_port, "/get_report?symbol=BTCUSDT"), "a report")
        validate_report(report)
        commands = [command_of(pid) for child in (worker, reader, producer) for pid in descendants(child.pid)]
        assert not any(password.encode() in each for each in commands for password in SECRETS)
        worker.crash()
        await eventually(partial(_left_the_group, worker), "somebody leaves the group for the dead worker")


async def _left_the_group(worker: Worker) -> bool:
    return "was made to leave the group" in worker.log.read_text()


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_kafka_lets_a_user_in_by_every_mechanism(secured: Secured, mechanism: str) -> None:
    config = load(secured.kafka_env() | {"KAFKA_SASL_MECHANISM": mechanism}, None)
    await require_kafka(config.kafka_brokers, kafka_security(config))


async def test_a_client_at_debug_does_not_write_down_the_password_that_it_sends(
    secured: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    config = load(secured.kafka_env() | {"KAFKA_SASL_MECHANISM": "PLAIN"}, None)
    with caplog.at_level(logging.DEBUG):
        await require_kafka(config.kafka_brokers, kafka_security(config))
    assert "Authenticated" in caplog.text
    assert KAFKA_PASSWORD not in caplog.text


async def test_kafka_lets_a_client_in_by_its_certificate(secured: Secured) -> None:
    shown = {"KAFKA_CERT_FILE": str(secured.client.certificate), "KAFKA_KEY_FILE": str(secured.client.key)}
    config = load(secured.by_certificate("CLIENTS") | shown, None)
    await require_kafka(config.kafka_brokers, kafka_security(config))


@pytest.mark.parametrize(
    ("listener", "changes", "said"),
    [
        ("USERS", {"KAFKA_PASSWORD": GUESS}, "check KAFKA_USERNAME, KAFKA_PASSWORD"),
        ("USERS", {"KAFKA_USERNAME": "nobody"}, "the user 'nobody' or its password is refused"),
        ("USERS", {"KAFKA_PASSWORD": GUESS, "KAFKA_SASL_MECHANISM": "PLAIN"}, "check KAFKA_USERNAME, KAFKA_PASSWORD"),
        ("SCRAM", {"KAFKA_SASL_MECHANISM": "PLAIN"}, "KAFKA_SASL_MECHANISM=PLAIN is not one that it takes"),
        ("PLAIN", {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_CA_FILE": ""}, "it wants no user at that port"),
    ],
)
async def test_a_user_whom_kafka_refuses_learns_what_to_check(
    secured: Secured, listener: str, changes: dict[str, str], said: str
) -> None:
    config = load(secured.kafka_env(listener) | changes, None)
    with pytest.raises(AccessError, match=said) as refused:
        await require_kafka(config.kafka_brokers, kafka_security(config))
    assert "\n" not in str(refused.value)
    assert not any(each in repr(refused.value) for each in (*SECRETS, GUESS))


@pytest.mark.parametrize(("listener", "protocol"), [("PLAIN", "SSL"), ("USERS", "PLAINTEXT"), ("USERS", "SSL")])
async def test_a_broker_that_hangs_up_may_be_starting_so_the_protocol_is_only_hinted_at(
    secured: Secured, listener: str, protocol: str
) -> None:
    file = secured.by_certificate(listener)["KAFKA_CA_FILE"] if protocol == "SSL" else ""
    where = {"KAFKA_BROKERS": secured.brokers(listener), "KAFKA_SECURITY_PROTOCOL": protocol, "KAFKA_CA_FILE": file}
    config = load(where, None)
    with pytest.raises(KafkaConnectionError, match=f"KAFKA_SECURITY_PROTOCOL={protocol} does not fit that port"):
        await require_kafka(config.kafka_brokers, kafka_security(config))


@pytest.mark.parametrize(
    ("listener", "said"),
    [
        ("FOREIGN", "of an authority that KAFKA_CA_FILE does not hold"),
        ("EXPIRED", "its certificate has expired"),
        ("ELSEWHERE", "its certificate is for another address"),
        ("CLIENTS", "does it want a certificate"),
    ],
)
async def test_a_handshake_that_fails_says_why(secured: Secured, listener: str, said: str) -> None:
    config = load(secured.by_certificate(listener), None)
    with pytest.raises(AccessError, match=said):
        await require_kafka(config.kafka_brokers, kafka_security(config))


@pytest.mark.parametrize(
    ("named", "believed"), [("authority", True), ("stranger", False), (None, True)], ids=["named", "another", "none"]
)
async def test_a_named_authority_is_believed_in_place_of_those_of_the_machine(
    secured: Secured, redis: RedisServer, monkeypatch: pytest.MonkeyPatch, named: str | None, believed: bool
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(secured.authority.file))  # now the machine trusts it
    file = str(getattr(secured, named).file) if named else ""
    of_redis = secured.redis_env(redis, "reader", READER_PASSWORD) | {"REDIS_CA_FILE": file}
    config = load(secured.kafka_env() | {"KAFKA_CA_FILE": file} | of_redis, None)
    for look_in in (
        partial(require_redis, config, writes=False),
        partial(require_kafka, config.kafka_brokers, kafka_security(config)),
    ):
        if believed:
            await look_in()
        else:
            with pytest.raises(AccessError, match="CA_FILE does not hold"):
                await look_in()


async def test_whoever_is_refused_ends_with_code_3_and_one_line_that_says_what_to_check(
    deployment: Deployment, secured: Secured, redis: RedisServer
) -> None:
    worker = partial(secured_worker, deployment, secured, redis)
    foreign = {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_USERNAME": "", "KAFKA_PASSWORD": ""}
    guess = {"KAFKA_PASSWORD": GUESS}
    wrong_reader = secured.redis_env(redis, "reader", GUESS)
    refused: list[tuple[Child, str]] = [
        (worker("password", **guess), "check KAFKA_USERNAME, KAFKA_PASSWORD"),
        (worker("expired", KAFKA_BROKERS=secured.brokers("EXPIRED"), **foreign), "has expired"),
        (worker("authority", REDIS_CA_FILE=str(secured.stranger.file)), "REDIS_CA_FILE does not hold"),
        (worker("redis", REDIS_PASSWORD=GUESS), "check the user in REDIS_URL, REDIS_PASSWORD"),
        (worker("rights", **secured.redis_env(redis, "reader", READER_PASSWORD)), "lacks SCRIPT LOAD"),
        (command(deployment, "producer", "producer", **secured.kafka_env() | guess), "check KAFKA_USERNAME"),
        (command(deployment, "topics", "topics", **secured.kafka_env() | guess), "check KAFKA_USERNAME"),
        (command(deployment, "reader", "reader", "--port", "0", **wrong_reader), "check the user in REDIS_URL"),
    ]
    for child, _ in refused:
        child.start()
    for child, said in refused:
        await eventually(partial(_ended, child), f"{child.name} ends")
        last = child.log.read_text().splitlines()[-1]
        assert (child.name, child.exit_code) == (child.name, 3), last
        assert said in last


async def _ended(child: Child) -> bool:
    return not child.running


async def test_a_password_that_changes_while_a_worker_runs_is_retried_and_said_seldom(
    deployment: Deployment, secured: Secured, redis: RedisServer
) -> None:
    shown = secured.authority.issue("again")
    folder = deployment.folder / "again"
    with secured_worker(deployment, secured, redis, "w1") as worker:

        async def ready() -> bool:
            return bool(await worker.partitions())

        await eventually(ready, "partitions are assigned")
        await deployment.send([trade(0)])
        await eventually(partial(_reports, worker), "a report is written")
        redis.kill()
        changed = secured_redis(folder, shown, port=redis.port, worker="changed-pass-5566")
        await asyncio.to_thread(changed.start)
        try:
            await eventually(partial(names_problem, worker, "Redis"), "the worker names Redis")
        finally:
            changed.stop()
        lines = worker.log.read_text().splitlines()
        assert worker.running
        assert sum("Redis" in line for line in lines) < 20
        same = secured_redis(folder, shown, port=redis.port)
        await asyncio.to_thread(same.start)
        try:
            await eventually(partial(_mended, worker), "the worker goes on")
        finally:
            same.stop()


async def _reports(worker: Worker) -> bool:
    return await worker.metric("context8_cache_writes") > 0


async def _mended(worker: Worker) -> bool:
    return (await worker.health()).get("problems") == []
