"""RFC 3339 UTC timestamps to and from integer nanoseconds since the Unix epoch.

Times are nanoseconds inside the system and text at its edges. Events of one moment share their second, so that part is
computed once and remembered, and there are only a thousand fractions of whole milliseconds: of nearly all texts, two
look-ups are left.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache

NANOS_PER_SECOND = 1_000_000_000
_NANOS_PER_MINUTE = 60 * NANOS_PER_SECOND
_SECOND_LENGTH = len("2024-08-08T23:54:15")
_MILLIS = {f".{millis:03d}Z": millis * 1_000_000 for millis in range(1000)}
_ALLOWED = "RFC 3339 in UTC such as 2024-08-08T23:54:15.342Z"

_is_second = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}").fullmatch
_split_fraction = re.compile(r"(?:\.([0-9]{1,9}))?Z").fullmatch


def parse(text: str) -> int:
    """Return the nanoseconds since the epoch for `text`; at most nine fractional digits.

    Raises:
        ValueError: `text` is not RFC 3339 with the zone `Z`.

    >>> parse("1970-01-01T00:00:01.5Z")
    1500000000
    """
    tail = text[_SECOND_LENGTH:]
    fraction = _MILLIS.get(tail)
    try:
        return _second(text[:_SECOND_LENGTH]) + (_fraction(tail) if fraction is None else fraction)
    except ValueError:
        raise ValueError(f"time {text[:40]!r} is not {_ALLOWED}") from None


def format_nanos(nanos: int) -> str:
    """Return `nanos` as text with 3, 6 or 9 fractional digits: the fewest that lose nothing.

    >>> format_nanos(1_500_000_000)
    '1970-01-01T00:00:01.500Z'
    """
    minute, rest = divmod(nanos, _NANOS_PER_MINUTE)
    seconds, fraction = divmod(rest, NANOS_PER_SECOND)
    if fraction % 1_000_000 == 0:
        tail = f"{fraction // 1_000_000:03d}"
    elif fraction % 1_000 == 0:
        tail = f"{fraction // 1_000:06d}"
    else:
        tail = f"{fraction:09d}"
    return f"{_minute_text(minute)}{seconds:02d}.{tail}Z"


@lru_cache(maxsize=256)
def _second(text: str) -> int:
    if not _is_second(text):
        raise ValueError(text)
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NANOS_PER_SECOND


def _fraction(tail: str) -> int:
    found = _split_fraction(tail)
    if not found:
        raise ValueError(tail)
    return int((found[1] or "").ljust(9, "0"))


@lru_cache(maxsize=256)
def _minute_text(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%dT%H:%M:")
