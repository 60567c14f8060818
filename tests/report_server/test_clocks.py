"""Ages by the store's clock, whatever the wall clocks of worker and reader say or do."""

import json
import logging
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from app.microstructure import rfc3339
from app.stores.base import Publication, Reading
from app.stores.memory import MemoryReportStore
from report_server.clocks import _FORGET_MS, _MOST_NAMED, WRONG_CLOCK_MS, Clocks, Whose
from report_server.freshness import Stored
from report_server.service import ReportService

STALE_AFTER_MS = 2000
HOUR_MS = 3_600_000
EPOCH = 7


class World:
    """A store, a reader and a worker, each on a host of its own; all clocks are moved by hand.

    Attributes:
        seconds: how much time has truly passed.
        worker_ms: by how much the worker's wall clock is ahead.
        reader_ms: the same of the reader.
        suspended_sec: for how long the reader's monotonic clock stood still.
        wrong: whose clock each report showed to be wrong.
    """

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.worker_ms = self.reader_ms = 0
        self.suspended_sec = 0.0
        self.store = MemoryReportStore(7200, lambda: self.seconds)
        self._began_ms = self.store._clock_ms
        self.service = self.reader()
        self.wrong: list[Whose] = []
        self.service.clocks.on_wrong = self.wrong.append

    def reader(self) -> ReportService:
        return ReportService(
            self, 1.0, STALE_AFTER_MS, lambda: self.now_ms() + self.reader_ms, monotonic=self._monotonic
        )

    async def readings(self, symbols: Sequence[str]) -> dict[str, Reading | None]:
        """What the store says, with the reader's own monotonic time."""
        found = await self.store.readings(symbols)
        return {name: each and msgspec.structs.replace(each, at=self._monotonic()) for name, each in found.items()}

    async def symbols(self, limit: int) -> list[str]:
        return await self.store.symbols(limit)

    def _monotonic(self) -> float:
        return self.seconds - self.suspended_sec

    def now_ms(self) -> int:
        return self._began_ms + round(self.seconds * 1000)

    async def write(self, node: str = "w1", *, symbol: str = "BTCUSDT", updated: Any = None) -> None:
        """Let a worker write a report of data that are 42 ms old."""
        own_ms, event_ms = self.now_ms() + self.worker_ms, self.now_ms() - 42
        report = {
            "symbol": symbol,
            "updatedAt": own_ms if updated is None else updated,
            "writer": {"nodeId": node, "writerToken": EPOCH},
            "data_age_ms": max(0, own_ms - event_ms),
            "ingestion": {"status": "ok", "last_event_age_ms": 12},
            "provenance": {"offset": round(self.seconds * 1000), "ts_event": rfc3339.format_nanos(event_ms * 10**6)},
        }
        await self.store.publish([Publication(symbol, EPOCH, json.dumps(report).encode())])

    async def answer(self) -> tuple[int, int, bool]:
        """Return both ages of the reader's answer, and whether it is stale."""
        report = (await self.service.get_report("BTCUSDT")).content
        return report["data_age_ms"], report["ingestion"]["last_event_age_ms"], report["ingestion"].get("stale", False)


@pytest.fixture
def world() -> World:
    return World()


OFF = pytest.mark.parametrize("off_ms", [-HOUR_MS, -5000, 0, 5000, HOUR_MS])


@OFF
@pytest.mark.parametrize("whose", ["worker_ms", "reader_ms"])
async def test_ages_and_staleness_rest_on_no_wall_clock(world: World, whose: str, off_ms: int) -> None:
    setattr(world, whose, off_ms)
    await world.write()

    assert await world.answer() == (42, 12, False)
    world.seconds += 2.0
    assert await world.answer() == (2042, 2012, False)
    world.seconds += 0.001
    assert await world.answer() == (2043, 2013, True)


@OFF
async def test_a_dead_workers_report_is_stale_to_a_reader_that_sees_it_first(world: World, off_ms: int) -> None:
    world.worker_ms = off_ms
    await world.write()
    world.seconds += 60

    assert await world.answer() == (60_042, 60_012, True)


@OFF
@pytest.mark.parametrize("whose", ["worker_ms", "reader_ms"])
async def test_a_clock_that_jumps_while_running_moves_no_age(world: World, whose: str, off_ms: int) -> None:
    for _ in range(4):
        await world.write()
        assert await world.answer() == (42, 12, False)
        world.seconds += 0.25
    setattr(world, whose, off_ms)
    assert await world.answer() == (292, 262, False)
    for _ in range(4):
        await world.write()
        assert await world.answer() == (42, 12, False)
        world.seconds += 0.25
    world.seconds += 2.0
    assert await world.answer() == (2292, 2262, True)


async def test_the_same_bytes_written_again_are_as_fresh_as_any_other_report(world: World) -> None:
    # A worker whose clock was set back goes on with the time that it had, and may have nothing new to say.
    body = json.dumps({"writer": {"nodeId": "w1", "writerToken": EPOCH}, "updatedAt": world.now_ms() + HOUR_MS})
    for _ in range(12):
        await world.store.publish([Publication("BTCUSDT", EPOCH, body.encode())])
        assert "ingestion" not in (await world.service.get_report("BTCUSDT")).content, "it is marked as stale"
        world.seconds += 0.25
    world.seconds += 2.0
    assert (await world.service.get_report("BTCUSDT")).content["ingestion"]["stale"]


@pytest.mark.parametrize(("off_ms", "data_age_ms"), [(HOUR_MS, HOUR_MS + 42), (-HOUR_MS, 0)])
async def test_data_are_as_old_as_the_worker_says_where_no_two_other_clocks_agree(
    world: World, off_ms: int, data_age_ms: int
) -> None:
    world.worker_ms, world.reader_ms = off_ms, off_ms  # or the store's clock is wrong by as much: who knows
    await world.write()
    assert await world.answer() == (data_age_ms, 12, False)


@pytest.mark.parametrize(
    "provenance", [None, 1, {}, {"ts_event": None}, {"ts_event": "yesterday"}], ids=lambda value: json.dumps(value)
)
def test_without_a_time_of_the_newest_event_the_age_of_the_data_stays(provenance: Any) -> None:
    stored = Stored(json.dumps({"data_age_ms": 42, "provenance": provenance}).encode())
    stored.correct_data_age(1_700_000_000_000)
    assert stored.at(0, STALE_AFTER_MS).age_ms == 42


@OFF
async def test_parts_several_and_the_list_have_the_same_ages(world: World, off_ms: int) -> None:
    world.worker_ms = off_ms
    await world.write()
    world.seconds += 1.5

    part = (await world.service.get_report("BTCUSDT", "summary")).content
    several = (await world.service.get_reports(["BTCUSDT"])).content["reports"]["BTCUSDT"]
    (listed,) = (await world.service.list_symbols()).content["symbols"]

    assert (part["data_age_ms"], several["data_age_ms"], listed["age_ms"]) == (1542, 1542, 1542)
    assert listed["status"] == "ok"


@pytest.mark.parametrize("off_ms", [-HOUR_MS, HOUR_MS])
async def test_the_stores_own_clock_may_jump_while_it_is_running(world: World, off_ms: int) -> None:
    await world.write()
    assert await world.answer() == (42, 12, False)
    world.store._clock_ms += off_ms
    world.seconds += 0.25
    await world.write()
    assert await world.answer() == (42, 12, False)
    world.seconds += 3.0
    assert await world.answer() == (3042, 3012, True)


async def test_what_is_known_to_be_old_gets_no_younger_when_the_stores_clock_is_set_back() -> None:
    now = 100.0
    clocks = Clocks(lambda: now, lambda: 1_000_000)
    body = b'{"updatedAt":990000,"writer":{"nodeId":"w1","writerToken":7}}'
    stored = clocks.stored(Reading(body, now, 1_000_000, 990_000, EPOCH))

    for store_ms in (995_000, 990_001, 100_000):
        clocks.again(stored, Reading(body, now, store_ms, 990_000, EPOCH))
        assert stored.written_ms == 90_000


async def test_a_reader_that_was_suspended_knows_how_old_a_report_is(world: World) -> None:
    await world.write()
    assert await world.answer() == (42, 12, False)
    world.seconds += 60
    world.suspended_sec += 59
    assert await world.answer() == (60_042, 60_012, True)


@pytest.mark.parametrize(
    ("off_ms", "said"),
    [
        (HOUR_MS, "w1 dates its reports 3600.0 s ahead of the store's clock"),
        (-HOUR_MS, "w1 dates its reports 3600.0 s behind the store's clock"),
        (WRONG_CLOCK_MS + 100, "w1 dates its reports 2.1 s ahead of the store's clock"),
        (WRONG_CLOCK_MS, None),
        (-WRONG_CLOCK_MS, None),
    ],
)
async def test_a_workers_wrong_clock_is_named_counted_and_logged_once(
    world: World, caplog: pytest.LogCaptureFixture, off_ms: int, said: str | None
) -> None:
    world.worker_ms = off_ms
    for _ in range(3):
        await world.write()
        for _ in range(5):
            await world.answer()
        world.seconds += 0.25

    assert world.service.clocks.problem() == said
    assert world.wrong == (["worker"] * 3 if said else []), "each report counts once, however often it is read"
    assert [record.getMessage() for record in caplog.records] == ([said] if said else [])


async def test_the_readers_own_wrong_clock_is_named_as_its_own(world: World) -> None:
    world.reader_ms = -HOUR_MS
    await world.write()
    await world.answer()

    assert world.service.clocks.problem() == "this reader's clock is 3600.0 s behind the store's clock"
    assert world.wrong == ["reader"]


async def test_a_clock_that_was_set_right_is_said_once_and_not_named_any_more(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for world.worker_ms in (5000, 1500, 2500, 900, 900, 1500):
        await world.write()
        await world.answer()
        world.seconds += 0.25

    assert world.service.clocks.problem() is None
    assert [record.getMessage() for record in caplog.records] == [
        "w1 dates its reports 5.0 s ahead of the store's clock",
        "w1 dates its reports by the store's clock again",
    ]


async def test_a_worker_that_has_gone_is_not_named_for_ever(world: World) -> None:
    world.worker_ms = HOUR_MS
    await world.write()
    await world.answer()
    assert world.service.clocks.problem() is not None
    world.seconds += _FORGET_MS / 1000 + 0.001
    await world.answer()
    assert world.service.clocks.problem() is None


async def test_there_is_a_bound_to_how_many_are_named(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.worker_ms = HOUR_MS
    for number in range(100):
        await world.write(f"w{number}")
        await world.answer()
        world.seconds += 0.25

    assert (world.service.clocks.problem() or "").count("ahead of") == _MOST_NAMED
    assert len(caplog.records) == _MOST_NAMED


@pytest.mark.parametrize("updated", [0, "x", True, -5, None])
async def test_a_report_that_does_not_say_when_it_was_written_is_dated_by_the_store(world: World, updated: Any) -> None:
    await world.write(updated=updated)
    world.seconds += 1.0

    assert await world.answer() == (1042, 1012, False)


class TestWithoutTheStoresTime:
    """A store that does not say its time, or a worker of a version that had none noted."""

    def reading(self, updated: Any, **times: Any) -> Reading:
        body = {"updatedAt": updated, "writer": {"nodeId": "w1", "writerToken": EPOCH}}
        return Reading(json.dumps(body).encode(), 100.0, **times)

    @pytest.mark.parametrize(
        "times",
        [
            {},
            {"written_ms": 999_000, "epoch": EPOCH},
            {"store_ms": 1_000_000},
            {"store_ms": 1_000_000, "written_ms": 5, "epoch": EPOCH - 1},
            {"store_ms": 900_000, "written_ms": 999_000, "epoch": EPOCH},
        ],
        ids=["nothing", "no time now", "no time noted", "that of an older writer", "a clock set back"],
    )
    @pytest.mark.parametrize(
        ("updated", "age_ms", "trusted"),
        [(999_000, 1000, True), (1_001_000, 0, True), (1_003_000, 0, False), (4_600_000, 0, False), ("x", None, True)],
    )
    def test_wall_clocks_date_it_and_one_from_the_future_is_not_trusted(
        self, times: dict[str, int], updated: Any, age_ms: int | None, trusted: bool
    ) -> None:
        clocks = Clocks(lambda: 100.0, lambda: 1_000_000)
        stored = clocks.stored(self.reading(updated, **times))

        assert (stored.written_ms, stored.trusted) == (100_000 - (1_000_000 if age_ms is None else age_ms), trusted)
        assert stored.at(100_000, STALE_AFTER_MS).stale is (not trusted or age_ms is None)

    def test_the_future_is_named(self) -> None:
        clocks = Clocks(lambda: 100.0, lambda: 1_000_000)
        clocks.stored(self.reading(4_600_000, store_ms=1_000_000))
        assert clocks.problem() == "w1 dates its reports 3600.0 s ahead of this reader's clock"

    def test_a_jump_of_the_readers_clock_moves_no_report_that_it_has_seen(self) -> None:
        walls = iter([1_000_000, 4_600_000, 0])
        clocks = Clocks(lambda: 100.0, lambda: next(walls))
        reading = self.reading(999_000)
        stored = clocks.stored(reading)
        for _ in range(2):
            clocks.again(stored, reading)
            assert stored.written_ms == 99_000

    def test_a_store_that_is_silent_about_its_time_is_said_once(self, caplog: pytest.LogCaptureFixture) -> None:
        clocks = Clocks(lambda: 100.0, lambda: 1_000_000)
        for number in range(3):
            clocks.stored(self.reading(1_000_000 + number))
        assert "right to TIME" in (clocks.problem() or "")
        assert len(caplog.records) == 1
        clocks.stored(self.reading(1_000_010, store_ms=1_000_010))
        assert clocks.problem() is None

    def test_a_store_that_says_its_time_again_is_believed(self) -> None:
        clocks = Clocks(lambda: 100.0, lambda: 1_000_000)
        stored = clocks.stored(self.reading(4_600_000))
        assert not stored.trusted
        clocks.again(stored, self.reading(4_600_000, store_ms=1_000_000, written_ms=999_900, epoch=EPOCH))
        assert (stored.trusted, stored.written_ms) == (True, 99_900)
