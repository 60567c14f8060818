"""Records into engines: decode, apply, and note what is to be saved; unusable records go aside.

`Intake.take` is synchronous, so a batch is never half processed when a rebalance or a snapshot looks at the
engines. No record may stop an agent: what cannot be used is sent to the dead-letter topic with the reason
and where it came from.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from aiokafka.partitioner import murmur2

from agents.admission import Admission, NotAdmittedError
from agents.log_fields import record_fields
from agents.observed import RATES
from agents.owned import Owned, OwnedSymbol, PartitionProgress
from app import telemetry
from app.batches import Record, Unreadable, begin_of
from app.microstructure.engine import EngineParams, SymbolEngine
from app.microstructure.events import BadEventError, Event, decode
from tables.records import Writer

if TYPE_CHECKING:
    from app.traces_worker import WorkerTraces

logger = logging.getLogger(__name__)


class OutOfStep(Protocol):
    """What to do about records that are not the next of their partition."""

    def read_again(self, partition: int, offset: int) -> None:
        """Fetch from `offset`, the next that is wanted."""

    def skipped(self, partition: int, offset: int) -> None:
        """The log goes on behind `offset` and some that follow: find out whether events are lost."""

    def went_back(self, partition: int) -> None:
        """The log has only older offsets: it is another, or has lost its end."""


DeadLetter = Callable[[Record, BadEventError, Callable[[], None]], None]
MAX_AHEAD_MS: Final = 60_000
MAX_AHEAD_OF_US_SEC: Final = 24 * 3600
"""Clocks may be wrong by hours, and event time (`event_clock`) can get over as much."""
_NANOS_PER_MS: Final = 1_000_000
_NANOS_PER_SEC: Final = 1_000_000_000
_POSITIVE: Final = 0x7FFFFFFF


def home_partition(symbol: str, partitions: int) -> int:
    """Return the partition in which every Kafka client puts `symbol`: murmur2 of the key."""
    hashed: int = murmur2(symbol.encode()) & _POSITIVE
    return hashed % partitions


class Intake:
    """Applies fetched records to the engines in `owned`.

    `dead_letter(record, error, done)` sends a record aside and calls `done` once it is safe there.
    """

    def __init__(
        self,
        owned: Owned,
        params: EngineParams,
        partitions: int,
        dead_letter: DeadLetter,
        out_of_step: OutOfStep,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = time.time_ns,
        traces: "WorkerTraces | None" = None,
        admission: Admission | None = None,
    ) -> None:
        self._owned = owned
        self._admission = admission or Admission(owned)
        self._wall_ns = wall_ns
        self._latest_ns = 0
        self._params = params
        self._partitions = partitions
        self._dead_letter = dead_letter
        self._out_of_step = out_of_step
        self._monotonic_ns = monotonic_ns
        self._traces = traces

    def take(self, records: Sequence[Record]) -> None:
        """Apply one partition's records, offsets rising.

        Those of a partition not owned, and all while a rebalance is under way, are left alone: they are read again,
        from the committed offset, when it is known what is ours and from where its state goes on.
        """
        if self._owned.handed_over:
            return
        progress = self._owned.partitions.get(records[0].partition)
        if progress is None:
            logger.warning("records of partition %d arrived before it was assigned", records[0].partition)
            return
        if not self._joins_on(progress, records):
            return
        now_ns = self._monotonic_ns()
        self._latest_ns = self._wall_ns() + MAX_AHEAD_OF_US_SEC * _NANOS_PER_SEC
        counts: Counter[tuple[str, str]] = Counter()
        traced = self._traces.found(records) if self._traces is not None else None
        for record in records:
            try:
                self._apply(record, counts, now_ns)
            except BadEventError as error:
                self._set_aside(progress, record, error)
            except Exception as error:  # a fault in a metric must not stop the stream, nor lose the record
                logger.exception("event cannot be applied", extra=record_fields(record))
                self._set_aside(progress, record, BadEventError("engine_error", repr(error)))
        progress.position = max(progress.position, records[-1].offset)
        for (symbol, kind), count in counts.items():
            RATES.count(symbol, kind, count)
            self._owned.symbols[symbol].arrived(now_ns)
        if self._traces is not None and traced is not None:
            self._traces.applied(traced)

    def _joins_on(self, progress: PartitionProgress, records: Sequence[Record]) -> bool:
        """Whether these are the next records of their partition; if not, ask for those that are.

        What a client had fetched before it was sought elsewhere, and delivers behind that, would leave a hole that no
        check of a symbol can see. Records that come in the same way again are what the log has: the end of a retention
        or a transaction, whose marks take a number each, leaves a hole in it.
        """
        partition, first, wanted = records[0].partition, begin_of(records[0]), progress.position + 1
        if first <= wanted <= records[-1].offset:
            progress.refused = None
            return True
        if first > wanted and (progress.refused == first or progress.sparse):
            if not progress.sparse:
                telemetry.ERRORS.labels("intake", "offsets_missing").inc()
                logger.warning("partition %d has no offsets %d to %d", partition, wanted, first - 1)
            progress.refused, progress.sparse = None, True
            self._out_of_step.skipped(partition, wanted)
            return True
        telemetry.ERRORS.labels("intake", "not_next").inc()
        logger.warning("partition %d: offset %d came where %d is next, reading again", partition, first, wanted)
        if first < wanted and progress.refused == first:
            self._out_of_step.went_back(partition)
        else:
            self._out_of_step.read_again(partition, wanted)
        progress.refused = first
        return False

    def _apply(self, record: Record, counts: Counter[tuple[str, str]], now_ns: int) -> None:
        event = decode(record.value, record.key)
        if event.ts_event > (record.timestamp + MAX_AHEAD_MS) * _NANOS_PER_MS or event.ts_event > self._latest_ns:
            self._require_time(event, record)
        symbol = self._owned.symbols.get(event.symbol)
        if symbol is None:
            symbol = self._new_symbol(event, record.partition, now_ns)
        elif symbol.partition != record.partition:
            raise BadEventError("wrong_partition", f"{event.symbol} belongs to partition {symbol.partition}")
        if symbol.engine.apply(event, record.offset):
            counted = (event.symbol, event.kind)
            if counted not in counts:
                symbol.applied(record.offset)
            counts[counted] += 1
        else:
            telemetry.DUPLICATES.inc()

    def _require_time(self, event: Event, record: Record) -> None:
        """Refuse an event from the future: event time would stand still until the future is there.

        The record's own time is the broker's clock (LogAppendTime) or that of the sender, who may leave it out
        or lie.
        """
        if event.ts_event > self._latest_ns:
            ahead_sec = MAX_AHEAD_OF_US_SEC
            raise BadEventError("time_ahead", f"ts_event is more than {ahead_sec} s ahead of the store's clock")
        ahead_ms = int(event.ts_event) // _NANOS_PER_MS - record.timestamp
        if record.timestamp > 0 and ahead_ms > MAX_AHEAD_MS:
            raise BadEventError("time_ahead", f"ts_event is {ahead_ms // 1000} s ahead of the record's own time")

    def _new_symbol(self, event: Event, partition: int, now_ns: int) -> OwnedSymbol:
        home = home_partition(event.symbol, self._partitions)
        if home != partition:
            raise BadEventError("wrong_partition", f"{event.symbol} belongs to partition {home}")
        self._admission.require(event.symbol, partition)
        # What came before this event was for others.
        covered = self._owned.partitions[partition].position
        engine, writer = SymbolEngine(event.symbol, self._params), Writer(self._owned.owner)
        symbol = OwnedSymbol(engine, partition, writer=writer, covered=covered, admitted_ns=now_ns)
        self._owned.symbols[event.symbol] = symbol
        return symbol

    def _set_aside(self, progress: PartitionProgress, record: Record, error: BadEventError) -> None:
        if record.offset <= progress.position:
            return  # read again after a rebalance, already set aside
        if isinstance(error, NotAdmittedError):
            telemetry.REFUSED.labels(error.reason).inc()
            if error.known:
                return
        if isinstance(record, Unreadable):
            error = BadEventError(record.reason, record.detail)
        telemetry.DEAD_LETTERS.labels(error.reason).inc()
        first = begin_of(record)
        progress.dead_letters.add(first)
        self._dead_letter(record, error, lambda: progress.dead_letters.discard(first))
