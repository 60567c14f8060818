"""The live board at `/`: a page for people, fed by `/symbols`, `/reports` and `/stream` like any other client.

Its files lie in `web/`. The charts' library comes out of Plotly's wheel, whose Python is never imported: no copy of it
is kept here, and nothing is fetched from another host. The page's policy lets it run scripts and styles of this
reader only, so nothing that a report holds could become code. The files hold no market data, so they need no token: a
person types it into the page, which sends it with each request.
"""

import asyncio
import gzip
import hashlib
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

PREFIX: Final = "/board/"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_LIBRARY: Final = "plotly.js"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    # A browser asks each time whether it has the newest: after an upgrade no old script meets a new page.
    "cache-control": "no-cache",
    "vary": "accept-encoding",
}


class _File(NamedTuple):
    plain: bytes
    packed: bytes
    etag: str


class Board:
    """Serves the page and what it consists of; each file is read when it is first asked for, and then kept."""

    def __init__(self) -> None:
        web = files("report_server") / "web"
        self._names = frozenset(each.name for each in web.iterdir() if Path(each.name).suffix in _TYPES) | {_LIBRARY}
        self._files: dict[str, _File] = {}
        self._reading = asyncio.Lock()

    async def page(self, request: Request) -> Response:
        """Answer `GET /`."""
        return await self._send(request, "index.html")

    async def part(self, request: Request) -> Response:
        """Answer `GET /board/{name}`."""
        name = request.path_params["name"]
        return await self._send(request, name) if name in self._names else Response(status_code=404)

    async def _send(self, request: Request, name: str) -> Response:
        async with self._reading:
            if name not in self._files:
                # Plotly takes a tenth of a second to pack, in which reports must go on being answered.
                self._files[name] = await asyncio.to_thread(_read, name)
        file = self._files[name]
        headers = {**_HEADERS, "etag": file.etag}
        if request.headers.get("if-none-match") == file.etag:
            return Response(status_code=304, headers=headers)
        body = file.plain
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["content-encoding"], body = "gzip", file.packed
        return Response(body, headers=headers, media_type=_TYPES[Path(name).suffix])


def _read(name: str) -> _File:
    if name == _LIBRARY:
        plain = Path(str(distribution("plotly").locate_file("plotly/package_data/plotly.min.js"))).read_bytes()
    else:
        plain = (files("report_server") / "web" / name).read_bytes()
    # Weak, because plain and packed share it.
    return _File(plain, gzip.compress(plain, 6, mtime=0), f'W/"{hashlib.sha256(plain).hexdigest()[:16]}"')
