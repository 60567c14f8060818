"""Which parts of a symbol's state the table holds, and what must be written so that it holds the newest.

A snapshot in the table is a head under `SYMBOL/EPOCH` and parts under `SYMBOL/EPOCH/NUMBER`. The head names its
parts by number. Parts never change and are written before the head that asks for them, in one partition of the
changelog, so that whoever restores finds either the old snapshot whole or the new one.

The epoch is in every key: a paused worker that wakes up after its successor took over may still write to the
changelog, which Kafka does not fence. It then only ever writes under its own, older epoch, and can neither
change nor delete what a newer one needs. So a new owner writes every part again under its epoch, once.

Of several snapshots the one that stands for the highest offset is taken, whoever wrote it. An engine is a function of
the log: any whole snapshot is a true state, and what was committed is covered by one that is still there. A head
without content under a new epoch says only that the epoch was taken.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

_FAST = 1  # level 6 saves another tenth of the bytes and takes three times as long


class Key(NamedTuple):
    """Key of a head, or of a part if it has a number."""

    symbol: str
    epoch: int
    number: int | None = None

    def encode(self) -> bytes:
        """Return the key as the table has it."""
        return "/".join(str(each) for each in self if each is not None).encode()

    @classmethod
    def decode(cls, key: bytes) -> "Key":
        """Return what a key of the table stands for."""
        symbol, epoch, *number = key.decode().split("/")
        return cls(symbol, int(epoch), int(number[0]) if number else None)


class Changes(NamedTuple):
    """What to write, in this order, and what to delete once that is safe."""

    writes: dict[bytes, bytes]
    deletes: list[bytes]


class Found(NamedTuple):
    """The newest whole snapshot of a symbol, of `offset`; `epoch` is the newest that anybody took.

    `offset` is -1 and `head` empty if there is none. `stale` are all keys of the symbol: its next owner deletes them
    when its own first snapshot is safe. `beyond` says that there is a snapshot of another log.
    """

    symbol: str
    epoch: int
    offset: int
    head: bytes
    parts: list[bytes]
    stale: list[bytes]
    beyond: bool = False


class _StoredHead(msgspec.Struct, frozen=True, array_like=True):
    offset: int
    numbers: list[int]
    head: bytes


_encode_head = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(_StoredHead).decode


class Ledger:
    """The parts of one symbol that are in the table under one epoch."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._next = 0

    def changes(self, symbol: str, epoch: int, offset: int, head: bytes, parts: Sequence[bytes]) -> Changes:
        """Return what brings the table from the snapshot before to this one, which stands for `offset`."""
        writes: dict[bytes, bytes] = {}
        numbers: dict[bytes, int] = {}
        for part in parts:
            number = self._numbers.get(part)
            if number is None:
                number = numbers.get(part, self._next)
            if number == self._next:
                self._next += 1
                writes[Key(symbol, epoch, number).encode()] = zlib.compress(part, _FAST)
            numbers[part] = number
        stored = _encode_head(_StoredHead(offset, [numbers[part] for part in parts], zlib.compress(head, _FAST)))
        writes[Key(symbol, epoch).encode()] = stored
        gone = [Key(symbol, epoch, number).encode() for part, number in self._numbers.items() if part not in numbers]
        self._numbers = numbers
        return Changes(writes, gone)

    def distrust(self) -> None:
        """Forget what is in the table, after a write that failed: the next snapshot writes every part again.

        Numbers go on: one that was used may already be what an older head asks for.
        """
        self._numbers = {}


def taken(symbol: str, epoch: int) -> dict[bytes, bytes]:
    """Return what to write so that an epoch counts as taken before there is a snapshot under it."""
    return {Key(symbol, epoch).encode(): b""}


def newest(items: Iterable[tuple[bytes, bytes]], end: int | None = None) -> dict[str, Found]:
    """Return each symbol's newest whole snapshot; `items` are a partition's keys and values.

    A snapshot is whole if every part that its head names is there. It is not while a standby has only some of it.
    Those of `end` and beyond are of another log than the one that ends there: the topic was made anew.
    """
    heads: defaultdict[str, dict[int, bytes]] = defaultdict(dict)
    parts: defaultdict[str, defaultdict[int, dict[int, bytes]]] = defaultdict(lambda: defaultdict(dict))
    keys: defaultdict[str, list[bytes]] = defaultdict(list)
    for raw, value in items:
        key = Key.decode(raw)
        keys[key.symbol].append(raw)
        if key.number is None:
            heads[key.symbol][key.epoch] = value
        else:
            parts[key.symbol][key.epoch][key.number] = value
    return {symbol: _found(symbol, by_epoch, parts[symbol], keys[symbol], end) for symbol, by_epoch in heads.items()}


def _found(
    symbol: str,
    values: Mapping[int, bytes],
    parts: Mapping[int, Mapping[int, bytes]],
    keys: list[bytes],
    end: int | None,
) -> Found:
    stored = [(head.offset, epoch, head) for epoch, value in values.items() if (head := _read_head(value)) is not None]
    beyond = end is not None and any(offset >= end for offset, _, _ in stored)
    for offset, epoch, head in sorted(stored, key=lambda each: each[:2], reverse=True):
        if end is not None and offset >= end:
            continue
        with suppress(KeyError, zlib.error):
            held = parts.get(epoch, {})
            whole = [zlib.decompress(held[number]) for number in head.numbers]
            return Found(symbol, max(values), offset, zlib.decompress(head.head), whole, keys, beyond)
    return Found(symbol, max(values), -1, b"", [], keys, beyond)


def _read_head(value: bytes) -> _StoredHead | None:
    try:
        return _decode_head(value)
    except msgspec.DecodeError:
        return None
