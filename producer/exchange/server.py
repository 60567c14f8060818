"""A market on a port: REST and WebSocket side by side, and the task that moves the market on.

`/stream?streams=a/b` sends wrapped messages, `/ws/a/b` raw ones; both take SUBSCRIBE and its like. One task
tells the market the time every few milliseconds and hands what it yields to the hub. What goes wrong on the
way, on request, is in `faults` (`POST /faults`). Listens on loopback only: it speaks for an exchange that it
is not.

Where the machine is too slow for the market, market time falls behind, and requests are still answered: the market
moves on in slices that take some milliseconds each. `GET /status` says by how much it is behind.
"""

import asyncio
import ipaddress
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Self

from aiohttp import WSMsgType, web

from producer.exchange.control import RequestError, Subscriptions
from producer.exchange.faults import Faults
from producer.exchange.hub import MAX_PENDING_BYTES, Hub, Session
from producer.exchange.market import Market
from producer.exchange.rest import RestApi

TICK_SECONDS: Final = 0.005
_SLICE_SECONDS: Final = 0.005  # what a slice of the market may take before others get their turn
_FIRST_SLICE_NS: Final = 10_000_000
_LEAST_SLICE_NS: Final = 1_000_000
# Binance pings every 20 s and gives a client a minute to answer; aiohttp gives it half of this.
_HEARTBEAT_SECONDS: Final = 60.0
_MAX_REQUEST_BYTES: Final = 64 * 1024
_SHUTDOWN_SECONDS: Final = 1.0


def check_loopback(host: str) -> None:
    """Refuse a host that others could reach.

    Raises:
        ValueError: `host` is no loopback address.
    """
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ValueError(f"host {host!r} is not allowed: 127.0.0.1, ::1 or localhost")


class ExchangeServer:
    """Serves a market while it is entered (`async with`), or between `start` and `stop`.

    Port 0 takes a free one; `port`, `http_url` and `ws_url` are known once it has started. `clock` gives
    nanoseconds since the Unix epoch. `start_ns` is where the market stands, where that is not now. `faults` is what
    goes wrong.
    """

    def __init__(
        self,
        market: Market,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], int] = time.time_ns,
        max_pending_bytes: int = MAX_PENDING_BYTES,
        start_ns: int | None = None,
    ) -> None:
        check_loopback(host)
        self.host = host
        self.port = port
        self._market = market
        self._clock = clock
        self._max_pending_bytes = max_pending_bytes
        self._hub = Hub()
        self.faults = Faults(self._hub)
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
        self._pump_task: asyncio.Task[None] | None = None
        self._told_ns = clock() - 1 if start_ns is None else start_ns

    @property
    def http_url(self) -> str:
        """Base of REST requests; what `BINANCE_HTTP_URL` is to be set to."""
        return f"http://{self._address}"

    @property
    def ws_url(self) -> str:
        """Base of WebSocket connections; what `BINANCE_WS_URL` is to be set to."""
        return f"ws://{self._address}"

    @property
    def _address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def start(self) -> None:
        """Listen, and let the market run.

        Raises:
            OSError: the port is taken.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.host, self.port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        self.port = self._runner.addresses[0][1]
        self._pump_task = asyncio.create_task(self._pump())

    async def stop(self) -> None:
        """Stop the market, end every connection and give the port back.

        Raises:
            TapeError: the tape could not be read any further, which ended the market before.
        """
        if self._pump_task is not None:
            self._pump_task.cancel()
            await asyncio.wait([self._pump_task])
        await self._hub.close()
        await self._runner.cleanup()
        self._market.close()
        if self._pump_task is not None and not self._pump_task.cancelled():
            self._pump_task.result()

    async def ended(self) -> None:
        """Wait until the market ends by itself, which it only does when it fails; `stop` then tells why."""
        if self._pump_task is not None:
            await asyncio.wait([self._pump_task])

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self.faults.middleware])
        app.add_routes(RestApi(self._market, self._clock).routes())
        app.add_routes(self.faults.routes())
        app.add_routes([web.get("/status", self._status)])
        app.add_routes(
            [
                web.get("/stream", self._combined),
                web.get("/ws", self._raw),
                web.get("/ws/{streams:.*}", self._raw),
            ]
        )
        return app

    async def _combined(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, request.query.get("streams", ""), combined=True)

    async def _raw(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, request.match_info.get("streams", ""), combined=False)

    async def _serve(self, request: web.Request, streams: str, *, combined: bool) -> web.StreamResponse:
        try:
            subscriptions = Subscriptions(_split(streams), combined=combined)
        except RequestError as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        socket = web.WebSocketResponse(heartbeat=_HEARTBEAT_SECONDS, compress=False, max_msg_size=_MAX_REQUEST_BYTES)
        await socket.prepare(request)
        assert request.transport is not None, "prepared, so connected"  # noqa: S101  (for the type checker)
        session = Session(socket, request.transport, subscriptions, self._max_pending_bytes)
        writer = asyncio.create_task(session.write())
        try:
            self._update(session)
            async for frame in socket:
                if frame.type is WSMsgType.TEXT:
                    session.push(subscriptions.answer(frame.data))
                    self._update(session)
        finally:
            self._hub.remove(session)
            writer.cancel()
            await asyncio.wait([writer])
        return socket

    def _update(self, session: Session) -> None:
        if self._hub.update(session):
            self._market.subscribed(self._clock())

    async def _status(self, _: web.Request) -> web.Response:
        return web.json_response({"behind_ms": max(0, self._clock() - self._told_ns) / 1e6})

    async def _pump(self) -> None:
        slice_ns = _FIRST_SLICE_NS
        while True:
            now_ns = self._clock()
            if self._told_ns >= now_ns:
                await asyncio.sleep(TICK_SECONDS)
                continue
            began = time.perf_counter()
            self._told_ns = min(now_ns, self._told_ns + slice_ns)
            for message in self.faults.pass_on(self._market.advance(self._told_ns, self._hub)):
                self._hub.publish(message)
            if time.perf_counter() - began > _SLICE_SECONDS:
                slice_ns = max(slice_ns // 2, _LEAST_SLICE_NS)
            elif self._told_ns < now_ns:
                slice_ns *= 2
            await asyncio.sleep(TICK_SECONDS if self._told_ns == now_ns else 0)


def _split(streams: str) -> Iterable[str]:
    return [name for name in streams.split("/") if name]
