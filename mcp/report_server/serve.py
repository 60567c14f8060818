"""Runs the reader: settings and store in, a served transport out. The only module here that owns a process.

It starts whether or not Redis is there. Over HTTP, SIGTERM and SIGINT stop it cleanly with exit code 0.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import uvicorn

from app import logs, traces
from app.settings import Settings
from app.stores.redis_reader import RedisReportReader
from report_server.changes import Changes
from report_server.guard import RateLimit
from report_server.metrics import ReaderMetrics
from report_server.protocol import MAX_CONNECTIONS, Connections, bounded_by, most_connections
from report_server.security import transport_security
from report_server.server import build_app, build_server
from report_server.service import ReportService
from report_server.tokens import Tokens

_log = logging.getLogger(__name__)

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_GRACE_SEC = 1  # for open streams; an answer takes far less
# libuv takes one new connection from a listening socket in each turn of its loop. Under load a turn takes 10 ms and
# more, and the last of 500 callers waited seconds to be let in. The same socket several times is let in as often.
_ACCEPTS_A_TURN = 32


class ListenError(OSError):
    """One line that names the address and why it cannot be listened on."""


def serve_http(settings: Settings, host: str, port: int, allowed_hosts: Sequence[str]) -> None:
    """Serve MCP and HTTP on `host`:`port` (0: any free port) until a signal.

    Raises:
        HostError: the host needs allowed names.
        TokenFileError: the file of tokens cannot be used.
        ListenError: the address cannot be listened on.
    """
    tokens = Tokens(Path(settings.reader_tokens_file)) if settings.reader_tokens_file else None
    rate = RateLimit(settings.reader_rate_limit) if settings.reader_rate_limit else None
    parts, metrics, connections = _wire(settings), ReaderMetrics(), Connections(most_connections())
    connections.on_closed = lambda why: metrics.refused.labels(why).inc()
    security = transport_security(host, allowed_hosts)
    app = build_app(parts.service, metrics, security, parts.changes, tokens=tokens, rate=rate)
    # log_config=None leaves logging to the process; a line for each request would cost more than the request.
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=bounded_by(connections),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        proxy_headers=False,  # whoever connects could name any address, and so escape the rate limit
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SEC,
    )
    server = uvicorn.Server(config)
    # uvicorn stops on a signal and then raises it again, which would end the process with an error code.
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    listener = _listen(host, port)
    _log.info("listening on %s, MCP at /mcp", _url(listener))

    async def serve() -> None:
        # What start-up made lives as long as the process; leaving it out makes collections short.
        gc.collect()
        gc.freeze()
        parts.start()
        try:
            await server.serve(sockets=[listener, *(listener.dup() for _ in range(_ACCEPTS_A_TURN - 1))])
        finally:
            await parts.close()

    asyncio.run(serve(), loop_factory=config.get_loop_factory())


def serve_stdio(settings: Settings) -> None:
    """Serve MCP on stdin and stdout until stdin closes; logs go to stderr."""
    parts = _wire(settings)
    # A thread waits on stdin and nothing can interrupt it, so a signal ends the process at once: there is
    # nothing to flush and nothing to give back.
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)

    async def serve() -> None:
        parts.start()
        try:
            server = build_server(parts.service, ReaderMetrics(), parts.changes, one_client=True)
            await server.run_stdio_async()
        finally:
            await parts.close()

    asyncio.run(serve())


def configure_logging(settings: Settings) -> None:
    """Log as every part of the system does; libraries only what needs attention, as they log each request."""
    logs.configure("reader", settings.node_id, settings.log_level, settings.secret_values)
    for library in ("mcp", "uvicorn"):
        logging.getLogger(library).setLevel(max(logging.WARNING, logging.getLogger().level))
    # It writes each foreign Host and Origin down as it came, which is for whoever sent it to fill the log with.
    logging.getLogger("mcp.server.transport_security").setLevel(logging.ERROR)


class _Parts(NamedTuple):
    store: RedisReportReader
    service: ReportService
    changes: Changes

    def start(self) -> None:
        """Begin what runs beside the answers; to be called on the event loop."""
        if self.service.traces is not None:
            self.service.traces.start()

    async def close(self) -> None:
        await self.changes.close()
        if self.service.traces is not None:
            await self.service.traces.close()
        await self.service.close()
        await self.store.close()


def _wire(settings: Settings) -> _Parts:
    timeout_sec = settings.timeout_ms / 1000
    store = RedisReportReader(
        settings.redis_url,
        password=settings.redis_password,
        ca_file=settings.redis_ca_file,
        sentinel_password=settings.redis_sentinel_password,
        prefix=settings.redis_prefix,
        timeout_sec=timeout_sec,
    )
    service = ReportService(store, timeout_sec, settings.stale_after_ms, forget_sec=settings.cache_ttl_sec)
    service.traces = traces.for_reader(settings, store.traces)
    return _Parts(store, service, Changes(store.changes))


def _listen(host: str, port: int) -> socket.socket:
    # Bound here rather than by uvicorn, which reports a taken port with a log record and exit code 1.
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=MAX_CONNECTIONS)
    except OSError as error:
        # create_server adds the address to the system's words; an unknown name has a negative number.
        number = error.errno or 0
        why = os.strerror(number) if number > 0 else error.strerror
        raise ListenError(f"cannot listen on {host}:{port}: {why}") from None


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
