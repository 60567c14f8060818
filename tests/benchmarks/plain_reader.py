"""The reader as the SDK alone would have it, to measure against: one tool that returns what Redis holds.

`python plain_reader.py REDIS_URL PORT`
"""

import json
import sys
from typing import Any

import uvicorn
from mcp.server import MCPServer
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response


def app(redis: Redis) -> Starlette:
    """Return the server, as the SDK's documentation has it."""
    server: MCPServer = MCPServer("plain", log_level="CRITICAL")  # its tracebacks would be most of its work

    @server.tool()
    async def get_report(symbol: str) -> dict[str, Any]:
        """Return the report of a symbol."""
        body = await redis.get(f"report:{symbol}")
        report: dict[str, Any] = json.loads(body) if body else {}
        return report

    async def over_http(request: Request) -> Response:
        """Return the report of a symbol over plain HTTP."""
        body = await redis.get(f"report:{request.query_params['symbol']}")
        return Response(body or b"null", media_type="application/json")

    server.custom_route("/get_report", methods=["GET"])(over_http)
    return server.streamable_http_app(stateless_http=True, json_response=True)


if __name__ == "__main__":
    redis_url, port = sys.argv[1:]
    uvicorn.run(
        app(Redis.from_url(redis_url)),
        host="127.0.0.1",
        port=int(port),
        loop="uvloop",
        http="httptools",
        log_level="error",
        access_log=False,
    )
