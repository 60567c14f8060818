"""Whatever a process writes is a line of the contract: in good times, under faults, and at every LOG_LEVEL."""

import re
from functools import partial
from pathlib import Path

import pytest

from app.stack.process import Child
from app.stack.redis import RedisServer
from support.faults import FaultProxy
from support.log_lines import log_lines
from support.processes import command_of, descendants
from support.roles import SYMBOLS, get, running
from support.workers import Deployment, Worker, eventually

pytestmark = pytest.mark.stack

KEY, SECRET = "key-for-the-exchange", "opensesame-opensesame"


async def wrote(child: Child, text: str) -> bool:
    return text in child.log.read_text()


async def all_gone(pids: set[int]) -> bool:
    return not any(map(command_of, pids))


async def leads(worker: Worker, path: str, status: int) -> bool:
    return (await get(f"http://127.0.0.1:{worker.web_port}{path}"))[0] == status


async def test_every_line_of_every_process_is_of_the_contract_and_says_what_it_is_about(
    kafka: str, breakable_redis: tuple[RedisServer, FaultProxy], topic_prefix: str, tmp_path: Path
) -> None:
    server, _ = breakable_redis
    deployment = Deployment(kafka, server.url, topic_prefix, tmp_path)
    async with running(deployment, {"SLOW_CYCLE_MODE": "process"}) as roles:
        worker = roles.worker
        assert (await get(f"{roles.producer_url}/health/live"))[0] == 200
        assert (await get(f"{roles.producer_url}/health/ready"))[0] == 200
        await eventually(partial(leads, worker, "/health/ready", 200), "the worker is ready")
        await deployment.send_raw([(b"BTCUSDT", b"{not json"), (b"ETHUSDT", b'{"type":"trade_tick"}')])
        await eventually(partial(wrote, worker, '"event_type":"trade_tick"'), "the second goes aside")
        server.kill()
        await eventually(partial(wrote, worker, "reports not written"), "the worker misses Redis")
        await eventually(partial(leads, worker, "/health/ready", 503), "and is not ready")
        assert (await get(f"http://127.0.0.1:{worker.web_port}/health/live"))[0] == 200
        assert await roles.report("BTCUSDT") is None
        assert (await get(f"{roles.reader_url}/health/live"))[0] == 200
        below = descendants(worker.pid) - {worker.pid}
        assert any(b"multiprocessing" in command_of(pid) for pid in below), "its slow cycles run in a process"
        worker.crash()
        await eventually(partial(wrote, worker, "was made to leave the group"), "its watcher")
        await eventually(partial(all_gone, below), "nothing that it started is left")
        codes = roles.end()
        assert (codes["topics"], codes["producer"], codes["reader"]) == (0, 0, 0)
    lines = {name: log_lines(log) for name, log in roles.logs.items()}
    for name in ("topics", "producer", "reader"):
        assert {line["component"] for line in lines[name]} == {name}
    assert {line["component"] for line in lines["worker"]} == {"worker", "leave_on_death"}
    assert {line["node_id"] for line in lines["producer"]} == {"producer"}
    assert any("does not answer" in line["message"] for line in lines["reader"])
    aside = [line for line in lines["worker"] if line["message"].startswith("unusable message")]
    assert {(line["symbol"], line["event_type"]) for line in aside} == {("BTCUSDT", None), ("ETHUSDT", "trade_tick")}
    for line in aside:
        assert re.fullmatch(rf"{re.escape(deployment.settings.events_topic)}-\d+-\d+", line["stream_id"])
        assert line["lag_ms"] is not None
    assert {line["symbol"] for line in lines["producer"] if "known at update" in line["message"]} == set(SYMBOLS)
    assert {line["symbol"] for line in lines["worker"] if "writer epoch" in line["message"]} == set(SYMBOLS)


@pytest.mark.parametrize(("level", "seen"), [("DEBUG", {"DEBUG", "INFO"}), ("ERROR", set())])
async def test_log_level_says_how_much_is_written_and_secrets_never_are(
    kafka: str, redis_url: str, topic_prefix: str, tmp_path: Path, level: str, seen: set[str]
) -> None:
    deployment = Deployment(kafka, redis_url, topic_prefix, tmp_path)
    env = {
        "LOG_LEVEL": level,
        "BINANCE_API_KEY": KEY,
        "BINANCE_API_SECRET": SECRET,
        # Nobody is there: a collector that is away disturbs nothing, and what is said of it is of the contract, too.
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
    }
    async with running(deployment, env) as roles:
        codes = roles.end()
    assert codes == dict.fromkeys(codes, 0)
    for name, log in roles.logs.items():
        text, levels = log.read_text(), {line["level"] for line in log_lines(log)}
        assert KEY not in text
        assert SECRET not in text
        if level == "ERROR":
            assert levels <= {"ERROR", "CRITICAL"}, text
        elif name in ("worker", "producer"):
            assert levels >= seen, name
        else:  # what these libraries say at DEBUG, they say of each request
            assert "INFO" in levels, name
