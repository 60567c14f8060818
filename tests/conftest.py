"""The real servers and the recorded tape, for every test that asks for them.

Kafka and Redis are started once per test session, on free ports. A test keeps apart from the others through
`topic_prefix`, and through `redis_url`, which hands out an empty Redis. Where a service cannot be started the
test is skipped and says why; with CI=true in the environment it fails, so that nothing is left out unseen.
"""

import gc
import re
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, settings

from app.stack.kafka import KafkaBroker
from app.stack.redis import RedisServer
from support.contracts import every_report_checked
from support.examples import TIMES, examples
from support.servers import started
from support.telling import Tell

# How long an example takes says something about the machine; speed is for the benchmarks. CI=true has a profile of its
# own, by Hypothesis itself, that says the same.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("untimed"), max_examples=examples(100), print_blob=True)
if TIMES > 1:
    settings.load_profile("thorough")
elif settings.get_current_profile_name() == "default":
    settings.load_profile("untimed")

_TAPE = Path(__file__).parents[2] / "shared" / "data" / "btcusdt_spot.tape.gz"


def pytest_configure() -> None:
    """Undo what a background shell and `nohup` leave to their children: tests interrupt theirs, and hang up."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.fixture(scope="session", autouse=True)
def _contract() -> Iterator[None]:
    """Hold every report that any test's engine makes to the schema."""
    with every_report_checked():
        yield


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_left_open() -> Iterator[None]:
    """Let what a file's tests have left open be its own failure, not that of a later test that needs memory."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """Give the session's broker. Never stop it: a test that needs that starts a broker of its own."""
    broker = started(lambda: KafkaBroker(tmp_path_factory.mktemp("kafka")))
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def kafka(kafka_broker: KafkaBroker) -> str:
    """Give the address of the session's broker, `host:port`."""
    return kafka_broker.bootstrap


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Give the session's Redis. Never stop it: a test that needs that starts a server of its own."""
    server = started(lambda: RedisServer(tmp_path_factory.mktemp("redis")))
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Give the address of the session's Redis, emptied for this test."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def topic_prefix(request: pytest.FixtureRequest) -> str:
    """Give a start for names of topics and groups that no other test uses."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)[:40].strip("-")
    return f"{readable}-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def tape_path() -> Path:
    """Give the recorded BTCUSDT tape; it lies beside the project and is not part of it."""
    if not _TAPE.exists():
        pytest.skip(f"the recorded tape is not there: {_TAPE}")
    return _TAPE


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Give a way to tell what was measured: it is shown at the end of the run, and with `-s` at once."""

    def say(figure: str) -> None:
        request.node.user_properties.append(("told", figure))
        print(figure, flush=True)

    return say


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests have told, by file."""
    told = [
        (report.nodeid.partition("::")[0], figure)
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, figure in report.user_properties
        if name == "told"
    ]
    if told:
        terminalreporter.section("measured on the way")
    for path, figure in sorted(told):
        terminalreporter.write_line(f"{path}: {figure}")
