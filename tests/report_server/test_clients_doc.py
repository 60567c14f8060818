"""docs/clients.md is copied by people, so what it says is run here."""

import argparse
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from mcp import Client, StdioServerParameters

from app.stores.base import Publication
from app.stores.redis import RedisReportStore
from report_server.command import add_arguments

pytestmark = pytest.mark.stack

TEXT: Final = (Path(__file__).parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")
SERVERS: Final[list[dict[str, Any]]] = [
    server
    for block in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    for servers in json.loads(block).values()
    for server in servers.values()
]
STDIO: Final = [server for server in SERVERS if "command" in server]
COMMANDS: Final = [line.rpartition("context8 reader ")[2] for line in TEXT.splitlines() if " reader --" in line]


def test_every_address_is_the_one_that_the_reader_has_by_default() -> None:
    addresses = [server["url"] for server in SERVERS if "url" in server]

    assert len(addresses) == 3
    assert set(addresses) == {"http://127.0.0.1:8080/mcp"}


@pytest.mark.parametrize("server", STDIO)
async def test_every_stdio_entry_starts_a_reader_that_answers(
    server: dict[str, Any],
    reader_command: list[str],
    reader_env: dict[str, str],
    store: RedisReportStore,
    make_report: Callable[[str], bytes],
    tmp_path: Path,
) -> None:
    assert server["command"].endswith("/.venv/bin/context8")
    assert server["args"][0] == "reader"
    assert server["env"].keys() == {"REDIS_URL"}
    await store.publish([Publication("BTCUSDT", 1, make_report("BTCUSDT"))])
    parameters = StdioServerParameters(
        command=reader_command[0],
        args=[*reader_command[1:], *server["args"][1:]],
        env=reader_env,
        cwd=tmp_path,
    )

    async with Client(parameters) as client:
        result = await client.call_tool("get_report", {"symbol": "BTCUSDT"})

    assert result.structured_content == json.loads(make_report("BTCUSDT"))


@pytest.mark.parametrize("options", COMMANDS)
def test_every_command_line_is_one_that_the_reader_takes(options: str) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)

    parser.parse_args(shlex.split(options.strip("`").partition("`")[0]))


async def test_the_program_prints_the_report(
    reader_url: str,
    store: RedisReportStore,
    make_report: Callable[[str], bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    await store.publish([Publication("BTCUSDT", 1, make_report("BTCUSDT"))])
    (program,) = re.findall(r"```python\n(.*?)asyncio\.run\(main\(\)\)\n```", TEXT, re.DOTALL)
    names: dict[str, Any] = {}
    exec(program.replace("http://127.0.0.1:8080", reader_url), names)

    await names["main"]()

    assert capsys.readouterr().out.startswith("{'schemaVersion': '1.1'")
