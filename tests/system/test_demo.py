"""The demo as people run it: every process real, ports of its own, nothing left behind."""

import asyncio
import os
import signal
from pathlib import Path

import aiohttp
import pytest
from mcp.client import Client

from app.microstructure.events import EVENT_TYPES, decode
from app.stack.process import Child
from support.contracts import validate_event, validate_report
from support.demos import demo
from support.processes import descendants
from support.workers import eventually, read_partitions

pytestmark = pytest.mark.stack


def alive(pids: set[int]) -> set[int]:
    """Those of the processes that still exist and are no zombies."""
    states = {}
    for pid in pids:
        try:
            states[pid] = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
    return {pid for pid, state in states.items() if state != "Z"}


def process_of(root: int, role: bytes) -> int:
    """The one process under `root` that runs the command `role`."""
    (pid,) = [pid for pid in descendants(root) if role in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
    return pid


async def get(port: int, path: str) -> bytes | None:
    """The body of a good answer, `None` while there is none."""
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
            return await answer.read() if answer.status == 200 else None
    except aiohttp.ClientError:
        return None


async def ended(child: Child) -> bool:
    return not child.running


async def test_a_demo_shows_valid_reports_over_http_and_mcp_and_leaves_nothing_behind(tmp_path: Path) -> None:
    child, base = demo(tmp_path, "--symbols", "BTCUSDT,ETHUSDT", "--workers", "2")

    async def answered() -> bytes | None:
        body = await get(base, "/get_report?symbol=ETHUSDT")
        return body if body != b"null" else None

    async def board_named() -> bool:
        return f"board    http://127.0.0.1:{base}/\n" in child.log.read_text()

    with child:
        report = validate_report(await eventually(answered, "the reader answers with a report"))
        assert report["symbol"] == "ETHUSDT"
        await eventually(board_named, "the board's address is shown")
        assert b"<title>" in (await get(base, "/") or b"")
        async with Client(f"http://127.0.0.1:{base}/mcp") as client:
            result = await client.call_tool("get_report", {"symbol": "BTCUSDT"})
        assert result.structured_content is not None
        assert validate_report(result.content[0].text)["symbol"] == "BTCUSDT"  # type: ignore[union-attr]

        async def of_every_type() -> bool:
            events = await read_partitions(f"127.0.0.1:{base + 3}", "nt.binance", 8)
            for event in events:
                validate_event(event.value)
                assert event.key in (b"BTCUSDT", b"ETHUSDT")
            return {decode(event.value, event.key).kind for event in events} == set(EVENT_TYPES)

        await eventually(of_every_type, "valid events of all four types are in the topic")

        processes = descendants(child.pid)
        assert len(processes) >= 8, "demo, kafka, redis, exchange, producer, two workers, reader"
        os.kill(child.pid, signal.SIGINT)
        await eventually(lambda: ended(child), "Ctrl-C ends the demo")

    async def gone() -> bool:
        return not alive(processes)

    await eventually(gone, "every process is gone", limit_sec=20)
    assert child.exit_code == 0
    assert "time to first report" in child.log.read_text()


async def test_a_symbol_without_fresh_reports_fails_the_demo_with_the_reason(tmp_path: Path) -> None:
    child, base = demo(tmp_path, "--seconds", "15", "--symbols", "BTCUSDT")
    with child:
        await eventually(lambda: get(base + 2, "/metrics"), "the producer is up")
        os.kill(process_of(child.pid, b"producer"), signal.SIGKILL)
        await eventually(lambda: ended(child), "the demo ends")
    assert child.exit_code == 1
    assert "producer ended with exit code -9" in child.log.read_text()


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--seconds", "0"], "seconds from 1"),
        (["--symbols", "btc"], "2 to 20 of A-Z"),
        (["--workers", "0"], "a whole number from 1"),
        (["--tape", "missing.tape.gz"], "no such file"),
        (["--port-base", "80"], "a whole number from 1024"),
    ],
)
async def test_a_bad_argument_is_refused_with_what_is_allowed(
    tmp_path: Path, arguments: list[str], allowed: str
) -> None:
    child, _ = demo(tmp_path, *arguments)
    with child:
        await eventually(lambda: ended(child), "the demo ends", limit_sec=20)
    assert child.exit_code in (1, 2)
    assert allowed in child.log.read_text()


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    child, base = demo(tmp_path)
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", base + 3)
    async with server:
        with child:
            await eventually(lambda: ended(child), "the demo ends", limit_sec=20)
    assert child.exit_code == 1
    assert f"port {base + 3} (kafka) is taken" in child.log.read_text()
    assert "PORT_BASE" in child.log.read_text()
