"""What a reader reads, without its times."""

from collections.abc import Sequence

from app.stores.redis_reader import RedisReportReader


async def bodies(reader: RedisReportReader, symbols: Sequence[str]) -> dict[str, bytes | None]:
    """Read the newest report of each symbol, and return its JSON."""
    found = await reader.readings(symbols)
    return {symbol: reading.body if reading is not None else None for symbol, reading in found.items()}
