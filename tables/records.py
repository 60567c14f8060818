"""Snapshot records: what the changelog holds of each symbol.

A snapshot is one record under `SYMBOL/EPOCH/OWNER`: the whole state of a symbol's engine, compressed, with what a
restore must know of it: the log of events that it comes from, the offset it stands for, and how far it *covers* that
log. Only a state that would not fit into the broker's limit is split: its pieces go under `SYMBOL/EPOCH/OWNER/NUMBER`,
and the record that names them is written last.

Epoch and owner are in every key. A paused worker that wakes up after its successor took over may still write to the
changelog, which Kafka does not fence. It then only writes under its own keys, and can neither change nor delete what
another needs; not even after Redis was emptied, when it may be given an epoch that its successor has already.

Of several snapshots the one of the highest offset is taken, whoever wrote it. An engine is a function of the log: any
snapshot is a true state, and an older one costs a longer replay. A record without a state says that an epoch was
taken.

Beside the snapshots each partition has one record under `coverage`, written when the snapshots that it speaks of are
acknowledged: every event up to an offset is in the snapshots of these symbols, of these offsets. A restore sees from it
that a snapshot is missing, and that one of a quiet symbol is not as old as its offset looks. Whoever wrote it, it is
true; an older one that came late costs a replay.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import cramjam
import msgspec

from app.undecodable import UNDECODABLE

FORMAT: Final = 2
"""Of a record. Format 1 had a head and parts that were whole only together."""
COVERAGE_KEY: Final = b"coverage"
PIECE_BYTES: Final = 900_000
"""A record beyond this is split; brokers take a megabyte as they come (`message.max.bytes`)."""


class Key(NamedTuple):
    """Key of a snapshot, or of a piece of one if it has a number; `owner` is a word for the process that writes it."""

    symbol: str
    epoch: int
    owner: str
    number: int | None = None

    def encode(self) -> bytes:
        """Return the key as the changelog has it."""
        return "/".join(str(each) for each in self if each not in (None, "")).encode()

    @classmethod
    def decode(cls, key: bytes) -> "Key":
        """Return what a key of the changelog stands for.

        Raises:
            ValueError: it is no key of ours.
        """
        symbol, epoch, *rest = key.decode().split("/")
        owner, *number = rest or [""]  # format 1 had no owners
        return cls(symbol, int(epoch), owner, int(*number) if number else None)


def symbol_of(key: bytes) -> str | None:
    """Return whose record is under `key`, `None` if that is no symbol's."""
    try:
        return Key.decode(key).symbol
    except ValueError:
        return None


class Snapshot(NamedTuple):
    """A state on its way to the changelog.

    `state` is an engine's snapshot, of form `version`, at `offset` of `log` (`None` where the brokers give no ids).
    Every event of the symbol at or below offset `covers` is in it.
    """

    state: bytes
    version: int
    log: str | None
    offset: int
    covers: int


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    """Value of a snapshot's record; without a state for an epoch that was taken."""

    format: int
    version: int
    log: str | None
    offset: int
    covers: int
    pieces: list[int]
    checksum: int
    body: bytes

    @property
    def has_state(self) -> bool:
        return bool(self.body or self.pieces)


class _Coverage(msgspec.Struct, frozen=True, array_like=True):
    format: int
    log: str | None
    upto: int
    saved: dict[str, int]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Stored).decode
_decode_coverage = msgspec.msgpack.Decoder(_Coverage).decode
_NO_COVERAGE: Final = _Coverage(FORMAT, None, -1, {})


class Writer:
    """Writes one symbol's snapshots under one epoch as `owner`; knows the pieces of the last that was split."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self._next = 0
        self._pieces: list[bytes] = []

    def records(self, symbol: str, epoch: int, snapshot: Snapshot) -> "Changes":
        """Return what to write, in this order, and what to delete once that is safe."""
        body = bytes(cramjam.lz4.compress_block(snapshot.state))
        writes: dict[bytes, bytes] = {}
        numbers: list[int] = []
        if len(body) > PIECE_BYTES:
            for begin in range(0, len(body), PIECE_BYTES):
                writes[Key(symbol, epoch, self.owner, self._next).encode()] = body[begin : begin + PIECE_BYTES]
                numbers.append(self._next)
                self._next += 1
        gone, self._pieces = self._pieces, list(writes)
        writes[Key(symbol, epoch, self.owner).encode()] = _encode(
            _Stored(
                FORMAT,
                snapshot.version,
                snapshot.log,
                snapshot.offset,
                snapshot.covers,
                numbers,
                zlib.crc32(body),
                b"" if numbers else body,
            )
        )
        return Changes(writes, gone)

    def keys(self, symbol: str, epoch: int) -> set[bytes]:
        """Return the keys of what was written last, and of the epoch."""
        return {*self._pieces, Key(symbol, epoch, self.owner).encode()}


class Changes(NamedTuple):
    """What to write, in this order, and what to delete once that is safe."""

    writes: dict[bytes, bytes]
    deletes: list[bytes]


def taken(key: Key, version: int, log: str | None, covers: int) -> dict[bytes, bytes]:
    """Return what to write so that an epoch counts as taken before there is a snapshot under it.

    Every event of the symbol up to offset `covers` is in some snapshot, or there was none.
    """
    return {key.encode(): _encode(_Stored(FORMAT, version, log, -1, covers, [], 0, b""))}


def coverage(log: str | None, upto: int, saved: Mapping[str, int]) -> dict[bytes, bytes]:
    """Return what to write when every event up to offset `upto` is in snapshots of the offsets `saved`, by symbol."""
    return {COVERAGE_KEY: _encode(_Coverage(FORMAT, log, upto, dict(saved)))}


class Candidate(NamedTuple):
    """A snapshot that can be restored."""

    offset: int
    covers: int
    state: bytes


class SymbolRecords(NamedTuple):
    """What the changelog has of one symbol, as a worker of one state version that reads one log sees it.

    Attributes:
        symbol: its name.
        epoch: the newest that anybody took, 0 if there is no record.
        keys: of its records, without those that only a worker of another version can read.
        foreign: the offset up to which each record of another version covers this log (-1: not known), by key.
        candidates: the snapshots that can be restored, the highest offset first.
        missing: a snapshot was written that is not here, or it is damaged.
        other_log: there are snapshots of another log.
        taken_at: what the first epoch that was taken of it covers, `None` if that is not known.
        told: the offset up to which every event of the partition is in snapshots, -1 if the table does not say.
    """

    symbol: str
    epoch: int
    keys: list[bytes]
    foreign: dict[bytes, int]
    candidates: list[Candidate]
    missing: bool
    other_log: bool
    taken_at: int | None
    told: int


def read(items: Iterable[tuple[bytes, bytes]], version: int, log: str | None) -> dict[str, SymbolRecords]:
    """Return what `items`, a partition's keys and values, hold of each symbol, for a state version and a log."""
    values: defaultdict[str, dict[Key, bytes]] = defaultdict(dict)
    covered = _NO_COVERAGE
    for raw, value in items:
        if raw == COVERAGE_KEY:
            covered = _read_coverage(value, log)
            continue
        try:
            key = Key.decode(raw)
        except ValueError:
            continue  # not ours
        values[key.symbol][key] = value
    names = values.keys() | {name for name, offset in covered.saved.items() if offset >= 0}
    return {symbol: _read_symbol(symbol, values.get(symbol, {}), version, log, covered) for symbol in names}


def _read_symbol(
    symbol: str, values: Mapping[Key, bytes], version: int, log: str | None, covered: _Coverage
) -> SymbolRecords:
    pieces = {key: value for key, value in values.items() if key.number is not None}
    keys, foreign, candidates = list[bytes](), dict[bytes, int](), list[Candidate]()
    expected, newest, damaged, other_log = covered.saved.get(symbol, -1), -1, False, False
    taken_at: list[int] = []
    for key, value in values.items():
        if key.number is not None:
            continue
        raw, stored = key.encode(), _read_value(value)
        if stored is None:
            foreign[raw] = -1
            continue
        here = same_log(stored.log, log)
        if here and not stored.has_state:
            taken_at.append(stored.covers)
        if stored.has_state and stored.version != version:
            foreign[raw] = stored.covers if here else -1
            newest = max(newest, stored.offset if here else -1)
            continue
        keys.append(raw)
        if not here:
            other_log = other_log or stored.has_state
        elif stored.has_state:
            state = _state(key, stored, pieces)
            if state is None:
                damaged = True
                continue
            newest = max(newest, stored.offset)
            covers = max(stored.covers, covered.upto) if stored.offset >= expected else stored.covers
            candidates.append(Candidate(stored.offset, covers, state))
    theirs = {Key.decode(raw)[:3] for raw in foreign}
    keys += [key.encode() for key in pieces if key[:3] not in theirs]
    candidates.sort(reverse=True)
    return SymbolRecords(
        symbol,
        max((key.epoch for key in values), default=0),
        keys,
        foreign,
        candidates,
        damaged or newest < expected,
        other_log,
        min(taken_at, default=None),
        covered.upto,
    )


def same_log(one: str | None, other: str | None) -> bool:
    """Whether two logs may be the same: they are, or a broker gave no id."""
    return one is None or other is None or one == other


def _read_value(value: bytes) -> _Stored | None:
    try:
        stored = _decode(value)
    except UNDECODABLE:
        return None
    return stored if stored.format == FORMAT else None


def covered_by(value: bytes | None, log: str | None) -> tuple[int, dict[str, int]]:
    """Return what a record under `coverage` says for `log`: up to where, in snapshots of which offsets."""
    known = _read_coverage(value, log) if value is not None else _NO_COVERAGE
    return known.upto, dict(known.saved)


def _read_coverage(value: bytes, log: str | None) -> _Coverage:
    try:
        stored = _decode_coverage(value)
    except UNDECODABLE:
        return _NO_COVERAGE
    return stored if stored.format == FORMAT and same_log(stored.log, log) else _NO_COVERAGE


def _state(key: Key, stored: _Stored, pieces: Mapping[Key, bytes]) -> bytes | None:
    try:
        found = [pieces[key._replace(number=number)] for number in stored.pieces]
    except KeyError:
        return None
    body = b"".join(found) if found else stored.body
    if zlib.crc32(body) != stored.checksum:
        return None
    try:
        return bytes(cramjam.lz4.decompress_block(body))
    except cramjam.DecompressionError:
        return None
