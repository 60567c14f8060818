"""Where the terminal's reports come from: Redis itself, or a reader over HTTP.

Both give what the reader answers: from Redis through the reader's own service, so that ages and staleness are those of
the moment here too. Each failure is one line that names the address, never its password.
"""

import argparse
import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

import msgspec

from app.security.redis_address import redis_address
from app.settings import Settings, load
from app.stores.redis_reader import RedisReportReader
from app.undecodable import UNDECODABLE
from report_server.arguments import MOST_SYMBOLS
from report_server.service import Answer, Outcome, ReportService

_TIMEOUT_SEC: Final = 2.0


class SourceError(Exception):
    """One line that says why there are no reports."""


class Source(Protocol):
    """Reports by symbol; every method may raise `SourceError`."""

    async def symbols(self) -> list[str]:
        """Return the symbols that have a report, sorted."""

    async def report(self, symbol: str) -> dict[str, Any] | None:
        """Return the newest report of one symbol, `None` if there is none."""

    async def reports(self, symbols: Sequence[str]) -> dict[str, dict[str, Any] | None]:
        """Return the newest report of each symbol."""

    async def close(self) -> None:
        """Give connections back."""


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare where to read from."""
    parser.add_argument("--reader", type=_address, metavar="URL", help="ask a reader, such as http://127.0.0.1:8080")
    parser.add_argument("--token-file", type=_token, metavar="FILE", help="holds the token that the reader wants")
    parser.add_argument("--redis", metavar="URL", help="read this Redis (REDIS_URL)")


def open_source(args: argparse.Namespace) -> Source:
    """Return the source that the arguments name, Redis by the settings if they name none.

    Raises:
        SettingsError: a setting is not allowed.
    """
    if args.reader:
        return ReaderSource(args.reader, args.token_file)
    settings = load()
    return RedisSource(settings, args.redis or settings.redis_url)


class RedisSource:
    """Reads Redis as a reader would."""

    def __init__(self, settings: Settings, url: str) -> None:
        # Why Redis is away is said once, by the command.
        logging.getLogger("report_server").setLevel(logging.CRITICAL)
        try:
            self._address = f"Redis at {redis_address(url)}"
            self._store = RedisReportReader(
                url,
                password=settings.redis_password,
                ca_file=settings.redis_ca_file,
                sentinel_password=settings.redis_sentinel_password,
                prefix=settings.redis_prefix,
                timeout_sec=_TIMEOUT_SEC,
            )
        except ValueError as error:
            raise SourceError(f"{'--redis' if url != settings.redis_url else 'REDIS_URL'}: {error}") from None
        self._service = ReportService(
            self._store, _TIMEOUT_SEC, settings.stale_after_ms, forget_sec=settings.cache_ttl_sec
        )

    async def symbols(self) -> list[str]:
        """Return the symbols that have a report, sorted."""
        return [each["symbol"] for each in self._content(await self._service.list_symbols())["symbols"]]

    async def report(self, symbol: str) -> dict[str, Any] | None:
        """Return the newest report of one symbol, `None` if there is none."""
        return self._content(await self._service.get_report(symbol)) or None

    async def reports(self, symbols: Sequence[str]) -> dict[str, dict[str, Any] | None]:
        """Return the newest report of each symbol."""
        found: dict[str, dict[str, Any] | None] = {}
        for part in _parts(symbols):
            found |= self._content(await self._service.get_reports(list(part), "full"))["reports"]
        return found

    async def close(self) -> None:
        """Close the connections."""
        await self._service.close()
        await self._store.close()

    def _content(self, answer: Answer) -> dict[str, Any]:
        if answer.outcome is Outcome.UNAVAILABLE:
            raise SourceError(f"{self._address}: {self._service.trouble}")
        if answer.error is not None:
            raise SourceError(answer.error)
        return answer.content


class ReaderSource:
    """Asks a reader over HTTP."""

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    async def symbols(self) -> list[str]:
        """Return the symbols that have a report, sorted."""
        return [each["symbol"] for each in (await self._get("/symbols"))["symbols"]]

    async def report(self, symbol: str) -> dict[str, Any] | None:
        """Return the newest report of one symbol, `None` if there is none."""
        found: dict[str, Any] | None = await self._get("/get_report", symbol=symbol)
        return found

    async def reports(self, symbols: Sequence[str]) -> dict[str, dict[str, Any] | None]:
        """Return the newest report of each symbol."""
        found: dict[str, dict[str, Any] | None] = {}
        for part in _parts(symbols):
            found |= (await self._get("/reports", symbols=",".join(part), detail="full"))["reports"]
        return found

    async def close(self) -> None:
        """Do nothing: each question has a connection of its own."""

    async def _get(self, path: str, **query: str) -> Any:
        return await asyncio.to_thread(self._ask, f"{self._url}{path}?{urlencode(query)}")

    def _ask(self, url: str) -> Any:
        where = f"the reader at {self._url}"
        try:
            with urlopen(Request(url, headers=self._headers), timeout=_TIMEOUT_SEC) as answer:  # noqa: S310 - http only, see _address
                return msgspec.json.decode(answer.read())
        except HTTPError as error:
            raise SourceError(f"{where}: {_said(error)}") from None
        except (OSError, URLError) as error:
            raise SourceError(f"{where} does not answer: {getattr(error, 'reason', error)}") from None
        except UNDECODABLE:
            raise SourceError(f"{where} does not answer with JSON: is it a reader?") from None


def _said(error: HTTPError) -> str:
    with error:
        try:
            return str(msgspec.json.decode(error.read())["error"])
        except (*UNDECODABLE, KeyError, TypeError):
            return f"status {error.code}"


def _parts(symbols: Sequence[str]) -> list[Sequence[str]]:
    return [symbols[at : at + MOST_SYMBOLS] for at in range(0, len(symbols), MOST_SYMBOLS)]


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: an address such as http://127.0.0.1:8080")
    return text.rstrip("/")


def _token(text: str) -> str:
    try:
        token = Path(text).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(f"cannot read {text!r}: {error}") from None
    if not token.isascii() or not token.isprintable() or not token:
        raise argparse.ArgumentTypeError(f"{text!r} holds no token: one line of ASCII is allowed")
    return token
