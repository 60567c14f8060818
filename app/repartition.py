"""Gives the topics more partitions, and moves each symbol's state to where its events are from then on.

Kafka's clients choose a partition by the hash of the key and the number of partitions. With another number most symbols
have another home: what was sent before stays in the old partition, what comes goes to the new one. So while no worker
runs, each symbol that moves is brought to the end of what its old partition has of it, and its state is written to the
changelog of the new one, from where its next owner goes on. Nothing is lost and nothing is counted twice, as long as
one producer sends a symbol's events in their order, before and after.

It may be run again after it was interrupted: a symbol leaves its old partition only when its state is safe in the new.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewPartitions
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code

from agents.intake import home_partition
from app.kafka_admin import ask
from app.microstructure.engine import STATE_VERSION, EngineParams, SymbolEngine
from app.microstructure.events import BadEventError, decode
from app.microstructure.report import HoleReason
from app.params import engine_params
from app.security.kafka import kafka_client
from app.settings import Settings
from app.topic_ids import describe
from app.topics import changelog_name
from tables.records import COVERAGE_KEY, Key, Snapshot, SymbolRecords, Writer, coverage, covered_by, read, taken

OWNER: Final = "repartition"
_READ_MS: Final = 500


class RepartitionError(Exception):
    """One line that says why nothing was changed, and what to do."""


class Move(NamedTuple):
    """A symbol whose home is another partition now."""

    symbol: str
    old: int
    new: int


def moves(symbols: Mapping[int, Iterable[str]], partitions: int) -> list[Move]:
    """Return which of `symbols`, by the partition that has their state, move when there are `partitions`."""
    return [
        Move(name, old, home)
        for old, names in sorted(symbols.items())
        for name in sorted(names)
        if (home := home_partition(name, partitions)) != old
    ]


async def repartition(config: Settings, partitions: int, said: Callable[[str], None]) -> list[Move]:
    """Give the topics `partitions` and move what must move; return that. `said` is told each step in a line.

    Raises:
        RepartitionError: it cannot be done now.
        KafkaError, OSError: a broker does not answer.
    """
    await _require_no_member(config)
    changelog = changelog_name(config)
    for topic in (config.events_topic, changelog):
        said(await _grow(config, topic, partitions))
    log = await _log_of(config)
    tables = await _read_changelog(config, changelog, partitions)
    found = {old: read(table.items(), STATE_VERSION, log) for old, table in tables.items()}
    wanted = moves(found, partitions)
    _require_readable(wanted, found)
    async with AIOKafkaProducer(**kafka_client(config), enable_idempotence=True) as producer:
        for number, move in enumerate(wanted, 1):
            said(f"{number} of {len(wanted)}: {move.symbol} from partition {move.old} to {move.new}")
            mover = _Mover(config, changelog, log, tables, producer)
            await mover.move(move, found[move.old][move.symbol])
    return wanted


async def _require_no_member(config: Settings) -> None:
    (answer,) = await ask(config, lambda admin: admin.describe_consumer_groups([config.worker_group]))
    ((_, _, _, _, _, members, *_),) = answer.groups
    if members:
        raise RepartitionError(f"{len(members)} workers of group {config.worker_group} are running: stop them first")


def _require_readable(wanted: Iterable[Move], found: Mapping[int, Mapping[str, SymbolRecords]]) -> None:
    foreign = [move.symbol for move in wanted if _is_foreign(found[move.old][move.symbol])]
    if foreign:
        raise RepartitionError(
            f"there are snapshots of {', '.join(foreign)} of another version, which would be lost:"
            " run this command of that version, or start and stop a worker of this one first"
        )


def _is_foreign(records: SymbolRecords) -> bool:
    """Whether the newest that there is of a symbol is of another version."""
    ours = records.candidates[0].covers if records.candidates else None
    return any(ours is None or covers > ours for covers in records.foreign.values())


async def _grow(config: Settings, topic: str, partitions: int) -> str:
    (described,) = await ask(config, lambda admin: admin.describe_topics([topic]))
    has = len(described["partitions"])
    if not has:
        raise RepartitionError(f"topic {topic} is missing: run `context8 topics`")
    if has > partitions:
        raise RepartitionError(f"topic {topic} has {has} partitions, and Kafka can only add some: take at least {has}")
    if has == partitions:
        return f"topic {topic} has {has} partitions"
    answer = await ask(config, lambda admin: admin.create_partitions({topic: NewPartitions(partitions)}))
    ((_, code, message),) = answer.topic_errors
    if code:
        raise for_code(code)(f"topic {topic}: {message}")
    return f"topic {topic}: {has} partitions before, {partitions} now"


async def _log_of(config: Settings) -> str | None:
    client = AIOKafkaClient(**kafka_client(config))
    try:
        await client.bootstrap()
        return (await describe(client, config.events_topic))[config.events_topic].log
    finally:
        await client.close()


async def _read_changelog(config: Settings, topic: str, partitions: int) -> dict[int, dict[bytes, bytes]]:
    """Return the newest value of each key of each partition."""
    tables: defaultdict[int, dict[bytes, bytes]] = defaultdict(dict)
    async for record in _records(config, [TopicPartition(topic, each) for each in range(partitions)], {}):
        if record.value is None:
            tables[record.partition].pop(record.key, None)
        else:
            tables[record.partition][record.key] = record.value
    return tables


async def _records(config: Settings, tps: list[TopicPartition], starts: Mapping[TopicPartition, int]) -> Any:
    """Yield what `tps` hold now, from `starts` or their beginnings."""
    async with AIOKafkaConsumer(**kafka_client(config), enable_auto_commit=False) as consumer:
        begins, left = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        consumer.assign(tps)
        for tp in tps:
            consumer.seek(tp, max(begins[tp], starts.get(tp, 0)))
        while left := {tp: end for tp, end in left.items() if await consumer.position(tp) < end}:
            for records in (await consumer.getmany(*left, timeout_ms=_READ_MS)).values():
                for record in records:
                    yield record


class _Mover:
    """Moves one symbol after the other; `tables` is what the changelog has."""

    def __init__(
        self,
        config: Settings,
        changelog: str,
        log: str | None,
        tables: dict[int, dict[bytes, bytes]],
        producer: AIOKafkaProducer,
    ) -> None:
        self._config = config
        self._changelog = changelog
        self._log = log
        self._tables = tables
        self._producer = producer
        self._params: EngineParams = engine_params(config)

    async def move(self, move: Move, records: SymbolRecords) -> None:
        """Write the state to the new partition, and when it is safe there, take it from the old one."""
        engine, ended_ms = await self._at_the_end(move, records)
        if engine is not None:
            begin = await self._begin_of(move, ended_ms)
            engine.renumber(begin - 1)
            await self._limit_coverage(move.new, begin - 1)
            snapshot = Snapshot(engine.snapshot(), STATE_VERSION, self._log, begin - 1, begin - 1)
            changes = Writer(OWNER).records(move.symbol, records.epoch, snapshot)
            for key, value in changes.writes.items():
                await self._write(move.new, key, value)
        else:  # nothing of it is left to be moved but the epochs that were taken
            for key, value in taken(Key(move.symbol, records.epoch, OWNER), STATE_VERSION, self._log, -1).items():
                await self._write(move.new, key, value)
        upto, saved = covered_by(self._tables[move.old].get(COVERAGE_KEY), self._log)
        if saved.pop(move.symbol, None) is not None:
            await self._cover(move.old, upto, saved)
        for key in [key for key in self._tables[move.old] if key.startswith(f"{move.symbol}/".encode())]:
            await self._write(move.old, key, None)

    async def _at_the_end(self, move: Move, records: SymbolRecords) -> tuple[SymbolEngine | None, int]:
        """Return the symbol's engine behind its last event in the old partition, and when Kafka got that (ms)."""
        engine: SymbolEngine | None = None
        start = (records.taken_at if records.taken_at is not None else -1) + 1
        if records.candidates:
            newest = records.candidates[0]
            engine, start = SymbolEngine.restore(newest.state, self._params), newest.offset
        tp, ended_ms = TopicPartition(self._config.events_topic, move.old), 0
        hole = await self._hole(tp, records)
        if hole is not None:
            engine = engine or SymbolEngine(move.symbol, self._params)
            engine.missed(hole)
        async for record in _records(self._config, [tp], {tp: start}):
            if record.key != move.symbol.encode():
                continue
            try:
                event = decode(record.value, record.key)
            except BadEventError:
                continue  # in the dead-letter topic
            engine = engine or SymbolEngine(move.symbol, self._params)
            engine.apply(event, record.offset)
            ended_ms = record.timestamp
        return engine, ended_ms

    async def _hole(self, tp: TopicPartition, records: SymbolRecords) -> HoleReason | None:
        """Return why events of `tp` are missing from a symbol, `None` if none are."""
        if records.missing and not records.candidates:
            return "state_lost"
        covered = records.candidates[0].covers if records.candidates else records.taken_at
        if covered is None:
            return None
        async with AIOKafkaConsumer(**kafka_client(self._config), enable_auto_commit=False) as consumer:
            return "events_expired" if covered + 1 < (await consumer.beginning_offsets([tp]))[tp] else None

    async def _begin_of(self, move: Move, ended_ms: int) -> int:
        """Return an offset of the new partition before which it has nothing of the symbol."""
        tp = TopicPartition(self._config.events_topic, move.new)
        async with AIOKafkaConsumer(**kafka_client(self._config), enable_auto_commit=False) as consumer:
            found = (await consumer.offsets_for_times({tp: ended_ms}))[tp]
            return int(found.offset if found is not None else (await consumer.end_offsets([tp]))[tp])

    async def _limit_coverage(self, partition: int, upto: int) -> None:
        """Let the new partition's coverage say nothing of events that may be the symbol's."""
        covered, saved = covered_by(self._tables[partition].get(COVERAGE_KEY), self._log)
        if covered > upto:
            await self._cover(partition, upto, saved)

    async def _cover(self, partition: int, upto: int, saved: Mapping[str, int]) -> None:
        for key, value in coverage(self._log, upto, saved).items():
            await self._write(partition, key, value)

    async def _write(self, partition: int, key: bytes, value: bytes | None) -> None:
        await self._producer.send_and_wait(self._changelog, value, key=key, partition=partition)
        if value is None:
            self._tables[partition].pop(key, None)
        else:
            self._tables[partition][key] = value


def run(config: Settings, partitions: int, said: Callable[[str], None]) -> list[Move]:
    """Do it; see `repartition`."""
    return asyncio.run(repartition(config, partitions, said))
