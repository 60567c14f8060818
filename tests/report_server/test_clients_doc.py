"""docs/clients.md is copied by people, so what it says is run here."""

import argparse
import json
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from mcp import Client, StdioServerParameters

from app.stores.base import Publication
from app.stores.redis import RedisReportStore
from report_server.command import add_arguments
from support.ages import without_ages

pytestmark = pytest.mark.stack

TEXT: Final = (Path(__file__).parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")
SERVERS: Final[list[dict[str, Any]]] = [
    server
    for language, block in re.findall(r"```(json|toml)\n(.*?)```", TEXT, re.DOTALL)
    for servers in (json.loads(block) if language == "json" else tomllib.loads(block)).values()
    for server in servers.values()
]
# Clients disagree about what the address is called.
ADDRESS: Final = ("url", "httpUrl", "serverUrl")
STDIO: Final = [server for server in SERVERS if "command" in server]
COMMANDS: Final = [line.rpartition("context8 reader ")[2] for line in TEXT.splitlines() if " reader --" in line]


def test_every_address_is_the_one_that_the_reader_has_by_default() -> None:
    addresses = [server[name] for server in SERVERS for name in ADDRESS if name in server]

    assert len(addresses) == len(SERVERS) - len(STDIO) == 10
    assert set(addresses) == {"http://127.0.0.1:8080/mcp"}


def test_a_token_is_never_written_down_but_named() -> None:
    headers = [server["headers"] for server in SERVERS if "headers" in server]

    assert headers == [{"Authorization": "Bearer ${CONTEXT8_TOKEN}"}]
    assert [server["bearer_token_env_var"] for server in SERVERS if "bearer_token_env_var" in server] == [
        "CONTEXT8_TOKEN"
    ]


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

    assert without_ages(result.structured_content) == without_ages(make_report("BTCUSDT"))


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

    assert capsys.readouterr().out.startswith("{'schemaVersion': '1.2'")
