"""RFC 3339 UTC timestamps to and from integer nanoseconds since the Unix epoch.

Times are nanoseconds inside the system and text at its edges. Events of one stream share their minute, so
the calendar part is computed once a minute and remembered; what remains is two integer conversions.
"""

from datetime import UTC, datetime
from functools import lru_cache

NANOS_PER_SECOND = 1_000_000_000
_NANOS_PER_MINUTE = 60 * NANOS_PER_SECOND
_MINUTE_LENGTH = len("2024-08-08T23:54:")
_ALLOWED = "RFC 3339 in UTC such as 2024-08-08T23:54:15.342Z"


def parse(text: str) -> int:
    """Return the nanoseconds since the epoch for `text`; at most nine fractional digits.

    Raises:
        ValueError: `text` is not RFC 3339 with the zone `Z`.

    >>> parse("1970-01-01T00:00:01.5Z")
    1500000000
    """
    seconds, dot, fraction = text[_MINUTE_LENGTH:-1].partition(".")
    digits = seconds + fraction
    if (
        text[-1:] != "Z"
        or len(seconds) != 2
        or bool(dot) != bool(fraction)
        or len(fraction) > 9
        or not (digits.isascii() and digits.isdigit())
        or seconds > "59"
    ):
        raise ValueError(f"time {text[:40]!r} is not {_ALLOWED}")
    return _minute(text[:_MINUTE_LENGTH]) + int(digits + "0" * (9 - len(fraction)))


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
def _minute(text: str) -> int:
    try:
        moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"time {text[:40]!r} is not {_ALLOWED}") from None
    if len(text) != _MINUTE_LENGTH or not text.isascii():
        raise ValueError(f"time {text[:40]!r} is not {_ALLOWED}")
    return int(moment.timestamp()) * NANOS_PER_SECOND


@lru_cache(maxsize=256)
def _minute_text(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%dT%H:%M:")
