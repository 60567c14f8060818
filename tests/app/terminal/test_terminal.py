"""`context8 report` and `context8 watch` as people start them, before a real Valkey and a real reader."""

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from app import cli
from app.stack.board import Seen, live_table
from app.stack.ports import free_ports
from app.stack.process import Child
from app.stores.base import Publication
from app.stores.redis import RedisReportStore
from app.terminal.page import page
from app.terminal.watch_command import Watch
from support.live_market import reports

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[3]
TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def bodies() -> dict[str, bytes]:
    return {name: list(reports(name, seconds=10))[-1] for name in ("BTCUSDT", "ETHUSDT")}


@pytest.fixture
def published(redis_url: str, bodies: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    async def publish() -> None:
        store = RedisReportStore(redis_url, password=None, ttl_sec=300, timeout_sec=5.0)
        await store.publish([Publication(name, 1, body) for name, body in bodies.items()])
        await store.close()

    asyncio.run(publish())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("STALE_AFTER_MS", "600000")
    monkeypatch.setenv("COLUMNS", "100")
    return redis_url


@pytest.fixture
def reader(published: str, tmp_path: Path) -> Iterator[str]:
    """Give the address of a reader that wants a token."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice:{TOKEN}\n")
    tokens.chmod(0o600)
    env = {
        "REDIS_URL": published,
        "READER_TOKENS_FILE": str(tokens),
        "STALE_AFTER_MS": "600000",
        "TIMEOUT_MS": "20000",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'mcp'}",
    }
    command = [sys.executable, "-m", "report_server", "--port", "0"]
    with Child("reader", command, log=tmp_path / "log", env=env, cwd=tmp_path) as child:
        child.wait_ready(lambda: "listening on" in child.log_tail(), 30)
        found = re.search(r"listening on (http://\S+?),", child.log_tail())
        assert found is not None
        yield found.group(1)


@pytest.mark.usefixtures("published")
def test_report_prints_the_report_for_people(capsys: pytest.CaptureFixture[str], bodies: dict[str, bytes]) -> None:
    report = json.loads(bodies["BTCUSDT"])

    assert cli.main(["report", "BTCUSDT"]) == 0

    shown = capsys.readouterr().out
    for price in (report["best_bid"]["price"], report["best_ask"]["price"], report["micro_price"]):
        assert f"{price:.10g}" in shown
    assert f"offset {report['provenance']['offset']}" in shown


@pytest.mark.usefixtures("published")
def test_report_prints_json_as_it_is_but_for_its_ages(
    capsys: pytest.CaptureFixture[str], bodies: dict[str, bytes]
) -> None:
    assert cli.main(["report", "ETHUSDT", "--json"]) == 0

    shown, stored = json.loads(capsys.readouterr().out), json.loads(bodies["ETHUSDT"])
    assert shown["data_age_ms"] >= stored["data_age_ms"]
    assert {**shown, "data_age_ms": 0, "ingestion": 0} == {**stored, "data_age_ms": 0, "ingestion": 0}


def test_both_read_from_a_reader_with_its_token(
    reader: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    asked = ["--reader", reader, "--token-file", str(token)]

    assert cli.main(["report", "BTCUSDT", "--json", *asked]) == 0
    assert json.loads(capsys.readouterr().out)["symbol"] == "BTCUSDT"
    assert cli.main(["watch", "--seconds", "0.1", *asked]) == 0
    assert "ETHUSDT" in capsys.readouterr().out
    assert cli.main(["report", "NOSUCH", *asked]) == 1
    assert "there are reports of BTCUSDT, ETHUSDT" in capsys.readouterr().err
    assert cli.main(["report", "BTCUSDT", "--reader", reader]) == 1
    assert "a valid token is needed" in capsys.readouterr().err


@pytest.mark.usefixtures("published")
def test_an_unknown_symbol_is_told_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "NOSUCH"]) == 1
    assert cli.main(["watch", "NOSUCH", "--seconds", "0.1"]) == 1

    errors = capsys.readouterr().err.splitlines()
    assert errors[0] == "context8 report: there is no report of NOSUCH; there are reports of BTCUSDT, ETHUSDT"
    assert errors[1] == "context8 watch: there is no report of NOSUCH"


@pytest.mark.parametrize("command", [["report", "BTCUSDT"], ["watch", "--seconds", "0.1"]])
def test_a_redis_that_is_away_is_named_without_its_password(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDIS_URL", f"redis://user:secret@127.0.0.1:{port}/0")

    assert cli.main(command) == 1

    error = capsys.readouterr().err
    assert f"Redis at 127.0.0.1:{port}: Redis is away or refuses" in error
    assert "secret" not in error
    assert "Traceback" not in error


def test_a_reader_that_is_away_or_none_is_named(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    (port,) = free_ports(1)

    assert cli.main(["report", "BTCUSDT", "--reader", f"http://127.0.0.1:{port}"]) == 1
    assert f"the reader at http://127.0.0.1:{port} does not answer" in capsys.readouterr().err
    assert cli.main(["report", "BTCUSDT", "--reader", redis_url.replace("redis", "http").removesuffix("/0")]) == 1
    assert "does not answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        (["report", "btc"], "2 to 20"),
        (["report", "BTCUSDT", "--reader", "ftp://x"], "http://127.0.0.1:8080"),
        (["report", "BTCUSDT", "--reader", "http://x", "--token-file", "nowhere"], "cannot read"),
        (["watch", "--seconds", "0"], "from 0.1"),
    ],
)
def test_a_bad_argument_is_refused_with_what_is_allowed(
    command: list[str], allowed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(command)

    assert allowed in capsys.readouterr().err


def test_watch_tells_what_went_away_and_goes_on_when_it_is_back(bodies: dict[str, bytes]) -> None:
    from app.terminal.source import SourceError

    class Switched:
        away = False

        async def symbols(self) -> list[str]:
            return list(bodies)

        async def report(self, symbol: str) -> dict[str, Any] | None:
            raise AssertionError(symbol)

        async def reports(self, symbols: Any) -> dict[str, dict[str, Any] | None]:
            if self.away:
                raise SourceError("Redis is away")
            return {name: json.loads(bodies[name]) for name in symbols}

        async def close(self) -> None:
            pass

    source = Switched()
    watch = Watch(source, (), Console())

    def looked() -> str:
        asyncio.run(watch.look())
        return written(watch.table())

    fresh = looked()
    source.away = True
    lost = looked()
    source.away = False

    assert "BTCUSDT" in fresh
    assert "Redis is away; trying again" in lost
    assert "BTCUSDT" in lost
    assert "trying again" not in looked()


def test_texts_of_a_report_are_shown_as_they_are(bodies: dict[str, bytes]) -> None:
    report = json.loads(bodies["BTCUSDT"])
    report["anomalies"] = [{"type": "spoofing", "severity": "low", "note": "[red]bid[/] pulled"}]
    report["writer"]["nodeId"] = "[bold]w[/bold]"

    shown = written(page(report))

    assert "[red]bid[/] pulled" in shown
    assert "[bold]w[/bold]" in shown


def test_a_stale_report_is_called_so_and_an_unknown_one_has_no_numbers(bodies: dict[str, bytes]) -> None:
    report = json.loads(bodies["BTCUSDT"])
    report["ingestion"] |= {"stale": True, "status": "down"}

    shown = written(live_table({"BTCUSDT": Seen(report), "ETHUSDT": Seen(None)}))

    assert "stale" in shown
    assert re.search(r"ETHUSDT +…", shown)


def written(what: Any) -> str:
    console = Console(width=160, color_system=None)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


def test_every_option_has_help() -> None:
    from app.terminal import report_command, watch_command

    for command in (report_command, watch_command):
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        assert all(action.help for action in parser._actions)
