"""Records into engines: decode, apply, and note what is to be saved; unusable records go aside.

`Intake.take` is synchronous, so a batch is never half processed when a rebalance or a snapshot looks at the
engines. No record may stop an agent: what cannot be used is sent to the dead-letter topic with the reason
and where it came from.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from aiokafka.partitioner import murmur2

from agents.log_fields import record_fields
from agents.observed import RATES
from agents.owned import Owned, OwnedSymbol, PartitionProgress
from app import telemetry
from app.batches import Record
from app.microstructure.engine import EngineParams, SymbolEngine
from app.microstructure.events import BadEventError, Event, decode

if TYPE_CHECKING:
    from app.traces_worker import WorkerTraces

logger = logging.getLogger(__name__)

DeadLetter = Callable[[Record, BadEventError, Callable[[], None]], None]
MAX_AHEAD_MS: Final = 60_000
_NANOS_PER_MS: Final = 1_000_000
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
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        traces: "WorkerTraces | None" = None,
    ) -> None:
        self._owned = owned
        self._params = params
        self._partitions = partitions
        self._dead_letter = dead_letter
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
        now_ns = self._monotonic_ns()
        counts: Counter[tuple[str, str]] = Counter()
        traced = self._traces.found(records) if self._traces is not None else None
        for record in records:
            try:
                self._apply(record, now_ns, counts)
            except BadEventError as error:
                self._set_aside(progress, record, error)
            except Exception as error:  # a fault in a metric must not stop the stream, nor lose the record
                logger.exception("event cannot be applied", extra=record_fields(record))
                self._set_aside(progress, record, BadEventError("engine_error", repr(error)))
        progress.position = max(progress.position, records[-1].offset)
        for (symbol, kind), count in counts.items():
            RATES.count(symbol, kind, count)
        if self._traces is not None and traced is not None:
            self._traces.applied(traced)

    def _apply(self, record: Record, now_ns: int, counts: Counter[tuple[str, str]]) -> None:
        event = decode(record.value, record.key)
        if event.ts_event > (record.timestamp + MAX_AHEAD_MS) * _NANOS_PER_MS and record.timestamp > 0:
            raise _time_ahead(event, record)
        symbol = self._owned.symbols.get(event.symbol)
        if symbol is None:
            symbol = self._new_symbol(event, record.partition)
        elif symbol.partition != record.partition:
            raise BadEventError("wrong_partition", f"{event.symbol} belongs to partition {symbol.partition}")
        if symbol.engine.apply(event, record.offset):
            counted = (event.symbol, event.kind)
            if counted not in counts:
                symbol.applied(record.offset, now_ns)
            counts[counted] += 1
        else:
            telemetry.DUPLICATES.inc()

    def _new_symbol(self, event: Event, partition: int) -> OwnedSymbol:
        home = home_partition(event.symbol, self._partitions)
        if home != partition:
            raise BadEventError("wrong_partition", f"{event.symbol} belongs to partition {home}")
        symbol = OwnedSymbol(SymbolEngine(event.symbol, self._params), partition)
        self._owned.symbols[event.symbol] = symbol
        return symbol

    def _set_aside(self, progress: PartitionProgress, record: Record, error: BadEventError) -> None:
        if record.offset <= progress.position:
            return  # read again after a rebalance, already set aside
        telemetry.DEAD_LETTERS.labels(error.reason).inc()
        progress.dead_letters.add(record.offset)
        self._dead_letter(record, error, lambda: progress.dead_letters.discard(record.offset))


def _time_ahead(event: Event, record: Record) -> BadEventError:
    """Return why an event from the future is refused: event time would stand still until the future is there.

    The record's own time is the producer's clock, which may be wrong by seconds, not by minutes.
    """
    ahead_sec = (event.ts_event - record.timestamp * _NANOS_PER_MS) // 1_000_000_000
    return BadEventError("time_ahead", f"ts_event is {ahead_sec} s ahead of the record's own time")
