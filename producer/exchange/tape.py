"""Recorded market data: the format of a tape and how it is read.

A line is `RECEIVE_TIME_NS JSON`. The JSON is a message of a combined stream, `{"stream": …, "data": …}`, or a
bare REST depth snapshot, which does not say its symbol and so belongs to the only symbol of its file. Files
may be gzipped; several of them are one recording, merged by receive time. Within a file the order of lines
is what the recorder saw and is kept, also where its clock went back.
"""

import gzip
import heapq
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from producer.exchange.book import Depth, Level
from producer.exchange.messages import BookTicker, DepthSnapshot, DepthUpdate, TextLevel, Ticker24h, Trade
from producer.exchange.units import to_units

Recorded = Trade | DepthUpdate | BookTicker | Ticker24h
"""The stream messages that are replayed."""

Payload = Recorded | DepthSnapshot

_GZIP_MAGIC: Final = b"\x1f\x8b"


class TapeError(ValueError):
    """One line that names the file, the line where there is one, and what is wrong."""


class Record(msgspec.Struct, frozen=True):
    """One line of a file: when it was received (ns) and what it says.

    `payload` is `None` for a message of another stream than the four that are replayed.
    """

    path: Path
    line: int
    receive_ns: int
    payload: Payload | None

    def error(self, problem: object) -> TapeError:
        """Return a problem with this line, as an error."""
        return TapeError(f"{self.path}:{self.line}: {problem}")


class _Wrapped(msgspec.Struct):
    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw()


_decode_wrapped: Final = msgspec.json.Decoder(_Wrapped).decode
_decode_snapshot: Final = msgspec.json.Decoder(DepthSnapshot).decode
_decode_trade: Final = msgspec.json.Decoder(Trade).decode
_decode_update: Final = msgspec.json.Decoder(DepthUpdate).decode
_decode_book_ticker: Final = msgspec.json.Decoder(BookTicker).decode
_decode_ticker: Final = msgspec.json.Decoder(Ticker24h).decode


def parse_line(line: bytes) -> tuple[int, Payload | None]:
    """Return receive time (ns) and payload of one line.

    Raises:
        ValueError: it is no line of a tape.
    """
    time_text, space, body = line.partition(b" ")
    if not space or not time_text.isdigit():
        raise ValueError("a line must be RECEIVE_TIME_NS, a space and JSON")
    return int(time_text), _payload(body)


def _payload(body: bytes) -> Payload | None:
    wrapped = _decode_wrapped(body)
    if wrapped.stream is None:
        return _decode_snapshot(body)
    if not bytes(wrapped.data):
        raise ValueError(f"stream {wrapped.stream} without data")
    match wrapped.stream.partition("@")[2]:
        case "trade":
            return _decode_trade(wrapped.data)
        case "depth@100ms":
            return _update(wrapped.data)
        case "bookTicker":
            return _decode_book_ticker(wrapped.data)
        case "ticker":
            return _decode_ticker(wrapped.data)
        case _:
            return None


def _update(data: msgspec.Raw) -> DepthUpdate:
    update = _decode_update(data)
    if update.final_update_id < update.first_update_id:
        raise ValueError(f"update ids run from {update.first_update_id} back to {update.final_update_id}")
    return update


def depth_of(snapshot: DepthSnapshot) -> Depth:
    """Return a snapshot in units.

    Raises:
        ValueError: a level is no pair of decimal numbers.
    """
    return Depth(snapshot.last_update_id, levels_of(snapshot.bids), levels_of(snapshot.asks))


def levels_of(levels: list[TextLevel]) -> list[Level]:
    """Return levels in units; see `depth_of`."""
    return [(to_units(price), to_units(quantity)) for price, quantity in levels]


def read_tape(paths: Sequence[Path]) -> Iterator[Record]:
    """Yield the records of a tape in order of receive time.

    Raises:
        TapeError: a file cannot be read or a line is damaged.
    """
    return heapq.merge(*(_in_time(path) for path in paths), key=lambda record: record.receive_ns)


def _in_time(path: Path) -> Iterator[Record]:
    latest = 0
    for number, line in _lines(path):
        try:
            receive_ns, payload = parse_line(line)
        except ValueError as error:
            raise TapeError(f"{path}:{number}: {error}") from None
        latest = max(latest, receive_ns)
        yield Record(path, number, latest, payload)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        with path.open("rb") as head:
            packed = head.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        with gzip.open(path) if packed else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield number, line.rstrip(b"\r\n")
        if not number:
            raise TapeError(f"{path}: the file is empty")
    except EOFError:
        raise TapeError(f"{path}: the file is cut off after line {number}") from None
    except zlib.error as error:
        raise TapeError(f"{path}: damaged after line {number}: {error}") from None
    except OSError as error:
        raise TapeError(f"{path}: {error.strerror or error}") from None
