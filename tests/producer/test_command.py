"""The command line of `context8 producer`, up to the point where it would run."""

import argparse
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from app.stack.ports import free_ports
from app.stack.process import Child
from producer import command
from producer.exchange.server import ExchangeServer
from producer.exchange.sim import SimMarket

Until = Callable[..., Awaitable[None]]


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="context8 producer")
    command.add_arguments(parser)
    return parser.parse_args(arguments)


def test_symbols_are_a_list_separated_by_commas() -> None:
    assert parse("--symbols", "BTCUSDT, ETHUSDT").symbols == ("BTCUSDT", "ETHUSDT")
    assert parse().symbols is None


@pytest.mark.parametrize("text", ["", "btcusdt", "BTCUSDT,BTCUSDT", "BTC/USDT", "BTCUSDT,"])
def test_symbols_that_are_none_are_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--symbols", text)
    assert f"{text!r}: allowed is a comma-separated list, each 2 to 20 of A-Z and 0-9" in capsys.readouterr().err


def test_a_bad_setting_ends_it_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PRODUCER_QUEUE_LIMIT", "many")
    assert command.run(parse()) == 2
    assert "PRODUCER_QUEUE_LIMIT='many' is not allowed" in capsys.readouterr().err


async def run_to_its_end(folder: Path, until: Until, **env: str) -> Child:
    async with ExchangeServer(SimMarket(["BTCUSDT"], seed=1, rate=1, start_ns=time.time_ns())) as server:
        env |= {"BINANCE_HTTP_URL": server.http_url, "BINANCE_WS_URL": server.ws_url}
        child = Child("producer", [sys.executable, "-m", "app.cli", "producer"], log=folder / "log", env=env)
        child.start()
        await until(lambda: not child.running, 60)
    return child


async def test_it_ends_if_no_symbol_is_known(tmp_path: Path, until: Until) -> None:
    child = await run_to_its_end(tmp_path, until, SYMBOLS="NOSUCH,NEITHER")
    assert child.exit_code == 1
    for text in ("symbol NOSUCH is not known", "symbol NEITHER is not known", "no symbol is left"):
        assert text in child.log_tail()


async def test_it_ends_if_its_port_is_taken(tmp_path: Path, until: Until) -> None:
    (port,) = free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        child = await run_to_its_end(tmp_path, until, SYMBOLS="BTCUSDT", PRODUCER_HTTP_PORT=str(port))
    assert child.exit_code == 1
    assert f"port {port}: " in child.log_tail()
    assert "Traceback" not in child.log_tail(100)
