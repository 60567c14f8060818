"""The events that wait for Kafka: at most so many, in order for each symbol, one lane for each partition.

What happens when places run out is said in `admission`: whole books go, single diffs never, and trades wait
for as long as there is anything else to give up. A book that goes leaves one event in its place, "not known",
at the time at which it broke off; so a reader who comes to it later, when Kafka is back, is never left with a
book that stands still while trades go on.

It knows neither Kafka nor a clock: the publisher takes from the front of a lane what it sends, and says what
was acknowledged.
"""

import asyncio
import logging
from collections import Counter, deque
from itertools import islice
from typing import Final, NamedTuple

from aiokafka.partitioner import DefaultPartitioner

from producer import wire
from producer.admission import BOOK_KINDS, Admission
from producer.metrics import Metrics
from producer.wire import Kind

log = logging.getLogger(__name__)

_partition: Final = DefaultPartitioner()  # murmur2 of the key, like every Kafka client's default


class Record(NamedTuple):
    """An event that waits; `put_at` by the monotonic clock."""

    key: bytes
    event: bytes
    kind: Kind
    put_at: float


class Lane:
    """Events of one partition, oldest first; the first `sending` of them are on their way."""

    def __init__(self) -> None:
        self.records: deque[Record] = deque()
        self.sending = 0
        self.filled = asyncio.Event()

    def add(self, record: Record) -> None:
        """Append a record."""
        self.records.append(record)
        self.filled.set()

    def drop_oldest(self, count: int) -> None:
        """Remove what was acknowledged."""
        for _ in range(count):
            self.records.popleft()
        self._settle()

    def drop_book(self, key: bytes) -> tuple[list[Record], bool]:
        """Remove a symbol's book events that are not on their way, leaving "not known" in place of the first.

        Return what was removed, and whether anything that says so was left. It is where only top 20s wait, too: the
        diffs behind them are turned away from now on.
        """
        kept: deque[Record] = deque(islice(self.records, self.sending))
        removed: list[Record] = []
        told = False
        for record in islice(self.records, self.sending, None):
            if record.key != key or record.kind not in BOOK_KINDS:
                kept.append(record)
                continue
            removed.append(record)
            if not told:
                told = True
                kept.append(record._replace(event=wire.not_known(record.event), kind=Kind.SNAPSHOT))
        self.records = kept
        self._settle()
        return removed, told

    def _settle(self) -> None:
        if not self.records:
            self.filled.clear()


class EventQueue:
    """All lanes, of which `used` have symbols. One lane until it is known how many partitions there are."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        """Let at most `limit` events wait, and "not known" once for each symbol beyond it."""
        self.lanes = [Lane()]
        self.empty = asyncio.Event()
        self.empty.set()
        self.waiting = 0
        self.used = 1
        self._limit = limit
        self._metrics = metrics
        self._admission = Admission(limit)
        self._routes: dict[bytes, Lane] = {}
        self._dropped = 0
        self._only_trades = False

    def put(self, symbol: str, kind: Kind, event: bytes, now: float) -> None:
        """Queue an event, or turn it away where there is no room."""
        if kind is Kind.TRADE and self.waiting >= self._limit and not self._only_trades:
            self._make_room()
        record = Record(symbol.encode(), event, kind, now)
        was_lost = symbol in self._admission.lost
        if self._admission.admits(symbol, kind, self.waiting):
            self._add(record)
            return
        self._drop(symbol, [record])
        if symbol in self._admission.lost and not was_lost:
            self._drop_book(symbol, record)

    def spread(self, count: int) -> None:
        """Spread what waits over `count` partitions; a symbol's events share a lane before and after."""
        for lane in self.lanes:
            lane.sending = 0
        if count == len(self.lanes):
            return
        waiting = [record for lane in self.lanes for record in lane.records]
        self.lanes = [Lane() for _ in range(count)]
        self._routes.clear()
        for record in waiting:
            self._lane(record.key).add(record)

    def acknowledged(self, lane: Lane, count: int) -> set[str]:
        """Forget the first `count` of a lane; return the symbols whose books may be fetched anew now."""
        lane.sending = 0
        lane.drop_oldest(count)
        self._count(-count)
        if self._dropped and self.waiting <= self._limit // 2:
            log.error("queue to Kafka has room again, %d events were dropped", self._dropped)
            self._dropped = 0
        self._only_trades = False
        return self._admission.recovered(self.waiting)

    def oldest(self) -> float | None:
        """Return when the oldest event that waits was put, `None` where none waits."""
        return min((lane.records[0].put_at for lane in self.lanes if lane.records), default=None)

    def _make_room(self) -> None:
        books: Counter[bytes] = Counter()
        for lane in self.lanes:
            books.update(record.key for record in islice(lane.records, lane.sending, None) if record.kind in BOOK_KINDS)
        lost = {symbol.encode() for symbol in self._admission.lost}
        largest = next((key for key, count in books.most_common() if key not in lost and count > 1), None)
        if largest is None:
            self._only_trades = True  # and looking again for each trade would cost more than it is worth
            return
        symbol = largest.decode()
        self._admission.lose(symbol)
        self._drop_book(symbol, None)

    def _drop_book(self, symbol: str, refused: Record | None) -> None:
        lane = self._lane(symbol.encode())
        removed, told = lane.drop_book(symbol.encode())
        self._count(told - len(removed))
        self._drop(symbol, removed)
        if not told and refused is not None:
            self._add(refused._replace(event=wire.not_known(refused.event), kind=Kind.SNAPSHOT))

    def _drop(self, symbol: str, records: list[Record]) -> None:
        if records and not self._dropped:
            log.error("queue to Kafka is full: %d events wait, dropping books, first %s", self.waiting, symbol)
        self._dropped += len(records)
        for record in records:
            self._metrics.dropped(symbol, record.kind)

    def _add(self, record: Record) -> None:
        self._lane(record.key).add(record)
        self._count(1)
        if record.kind in BOOK_KINDS:
            self._only_trades = False

    def _count(self, change: int) -> None:
        self.waiting += change
        if self.waiting:
            self.empty.clear()
        else:
            self.empty.set()

    def _lane(self, key: bytes) -> Lane:
        lane = self._routes.get(key)
        if lane is None:
            partitions = range(len(self.lanes))
            lane = self._routes[key] = self.lanes[_partition(key, partitions, partitions)]
            self.used = len(set(map(id, self._routes.values())))
        return lane
