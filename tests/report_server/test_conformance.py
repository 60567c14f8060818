"""The SDK's own client against the reader as a process: both transports, every protocol version, every part."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.subscriptions import ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp_types import TextContent, TextResourceContents
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from app.stores.base import Publication
from app.stores.redis import RedisReportStore
from support.ages import without_ages
from support.mcp_requests import call

pytestmark = pytest.mark.stack


@pytest.fixture(params=["http", "stdio"])
def connect(
    request: pytest.FixtureRequest,
    reader_command: list[str],
    reader_env: dict[str, str],
    tmp_path: Path,
) -> Callable[[str], Client]:
    """Give a client of the reader, for a mode of the SDK."""
    if request.param == "http":
        url = request.getfixturevalue("reader_url")
        return lambda mode: Client(f"{url}/mcp", mode=mode)
    arguments = [*reader_command[1:], "--transport", "stdio"]
    server = StdioServerParameters(command=reader_command[0], args=arguments, env=reader_env, cwd=tmp_path)
    return lambda mode: Client(server, mode=mode)


@pytest.fixture
async def published(store: RedisReportStore, make_report: Callable[[str], bytes]) -> RedisReportStore:
    await store.publish([Publication(name, 1, make_report(name)) for name in ("BTCUSDT", "ETHUSDT")])
    return store


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.usefixtures("published")
async def test_every_part_of_the_protocol_answers(
    connect: Callable[[str], Client],
    mode: str,
    make_report: Callable[[str], bytes],
    check_report: Callable[[Any], None],
) -> None:
    async with asyncio.timeout(60), connect(mode) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        one = await client.call_tool("get_report", {"symbol": "BTCUSDT"})
        several = await client.call_tool("get_reports", {"symbols": ["ETHUSDT", "NOSUCH"], "fields": ["mid_price"]})
        symbols = await client.call_tool("list_symbols", {})
        metric = await client.call_tool("explain_metric", {"name": "micro_price"})
        unknown = await client.call_tool("explain_metric", {"name": "nosuch"})
        templates = (await client.list_resource_templates()).resource_templates
        resources = (await client.list_resources()).resources
        (report,) = (await client.read_resource("report://BTCUSDT")).contents
        (schema,) = (await client.read_resource("schema://report")).contents
        prompts = {prompt.name for prompt in (await client.list_prompts()).prompts}
        prompt = await client.get_prompt("market_check", {"symbol": "BTCUSDT"})
        other = await client.get_prompt("compare_markets", {"symbols": "BTCUSDT, ETHUSDT"})

    assert tools == {"get_report", "get_reports", "list_symbols", "explain_metric"}
    check_report(one.structured_content)
    assert several.structured_content is not None
    assert several.structured_content["reports"]["NOSUCH"] is None
    assert several.structured_content["reports"]["ETHUSDT"]["mid_price"] == 61234.565
    assert symbols.structured_content is not None
    assert {"BTCUSDT", "ETHUSDT"} <= {each["symbol"] for each in symbols.structured_content["symbols"]}
    assert "bid_qty" in str(metric.structured_content)
    assert unknown.is_error
    assert [template.uri_template for template in templates] == ["report://{symbol}"]
    assert [resource.uri for resource in resources] == ["schema://report"]
    assert isinstance(report, TextResourceContents)
    assert without_ages(report.text) == without_ages(make_report("BTCUSDT"))
    assert report.mime_type == "application/json"
    assert isinstance(schema, TextResourceContents)
    assert json.loads(schema.text)["properties"]["schemaVersion"]
    assert prompts == {"market_check", "compare_markets"}
    (message,) = prompt.messages
    assert isinstance(message.content, TextContent)
    assert "BTCUSDT" in message.content.text
    assert "BTCUSDT, ETHUSDT" in str(other.messages)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize(
    "uri", ["report://NOSUCH", "report://btc", "report://", "report://A%2FB", "report://BTCUSDT/x"]
)
async def test_a_resource_that_is_not_there_is_an_error_of_the_protocol(reader_url: str, mode: str, uri: str) -> None:
    async with asyncio.timeout(20), Client(f"{reader_url}/mcp", mode=mode) as client:
        with pytest.raises(MCPError):
            await client.read_resource(uri)


async def test_a_change_in_another_process_reaches_a_client_that_listens(
    connect: Callable[[str], Client], published: RedisReportStore, make_report: Callable[[str], bytes]
) -> None:
    async with (
        asyncio.timeout(60),
        connect("auto") as client,
        client.listen(resource_subscriptions=["report://BTCUSDT"]) as subscription,
    ):
        written = asyncio.create_task(_write_again_and_again(published, make_report))
        event = await anext(aiter(subscription))
        written.cancel()
        await asyncio.wait([written])

    assert event == ResourceUpdated("report://BTCUSDT")


async def _write_again_and_again(store: RedisReportStore, make_report: Callable[[str], bytes]) -> None:
    while True:
        await store.publish([Publication(name, 1, make_report(name)) for name in ("ETHUSDT", "BTCUSDT")])
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("version", HANDSHAKE_PROTOCOL_VERSIONS)
@pytest.mark.usefixtures("published")
async def test_every_version_with_a_handshake_is_spoken(reader_url: str, version: str) -> None:
    def message(method: str, **params: Any) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}

    accept = {"accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(base_url=reader_url, headers=accept, timeout=10, trust_env=False) as http:
        client = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        hello = (await http.post("/mcp", json=message("initialize", **client))).json()["result"]
        spoken = {"mcp-protocol-version": version}
        notified = await http.post(
            "/mcp", json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=spoken
        )
        called = (await http.post("/mcp", json=call(version), headers=spoken)).json()["result"]
        batch = await http.post("/mcp", json=[call(version)] * 2, headers=spoken)

    assert hello["protocolVersion"] == version
    assert hello["serverInfo"]["name"] == "context8"
    assert {"tools", "resources", "prompts"} <= hello["capabilities"].keys()
    assert hello["capabilities"]["resources"]["subscribe"] is False, "there is no connection to be told over"
    assert notified.status_code == 202
    assert called["structuredContent"]["symbol"] == "BTCUSDT"
    assert batch.status_code == 400


@pytest.mark.usefixtures("published")
async def test_every_version_with_a_handshake_is_spoken_over_stdio_too(
    reader_command: list[str], reader_env: dict[str, str], tmp_path: Path
) -> None:
    async def spoken(version: str) -> tuple[dict[str, Any], dict[str, Any]]:
        client = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        messages: list[dict[str, Any]] = [
            {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client},
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            call(version),
        ]
        process = await asyncio.create_subprocess_exec(
            *(*reader_command, "--transport", "stdio"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**20,
            env=reader_env,
            cwd=tmp_path,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"".join(json.dumps(message).encode() + b"\n" for message in messages))
        hello, answer = [json.loads(await process.stdout.readline()) for _ in range(2)]
        process.stdin.close()
        assert await process.wait() == 0
        return hello["result"], answer["result"]

    async with asyncio.timeout(60):
        answers = await asyncio.gather(*map(spoken, HANDSHAKE_PROTOCOL_VERSIONS))

    for version, (hello, answer) in zip(HANDSHAKE_PROTOCOL_VERSIONS, answers, strict=True):
        assert hello["protocolVersion"] == version
        assert hello["capabilities"]["resources"]["subscribe"] is True
        assert answer["structuredContent"]["symbol"] == "BTCUSDT"
