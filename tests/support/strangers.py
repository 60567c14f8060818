"""Connections that somebody opens to a reader and may leave alone."""

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Strangers:
    """Connections to `url` that are opened and left alone."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._host, self._port = str(address.hostname), int(address.port or 80)
        self.pairs: list[Pair] = []

    async def open(self, count: int, first: bytes, source: str = "127.0.0.1") -> None:
        """Open so many and send some bytes on each."""
        for _ in range(count):
            pair = await asyncio.open_connection(self._host, self._port, local_addr=(source, 0))
            pair[1].write(first)
            self.pairs.append(pair)

    async def closed(self) -> int:
        """Return how many the reader has closed."""
        return sum(pair[0].at_eof() or pair[0].exception() is not None for pair in self.pairs)

    async def trickle(self, piece: bytes) -> None:
        """Send a piece on each that is open."""
        for reader, writer in self.pairs:
            if not reader.at_eof():
                with suppress(OSError):
                    writer.write(piece)

    async def close(self) -> None:
        for _, writer in self.pairs:
            writer.close()
