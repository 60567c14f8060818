"""Silences: what excuses one, and for how long."""

from soak.gaps import Gap, Pause, gaps, longest_by_kind
from soak.judge import Seen
from soak.timeline import Instant, Timeline, Window

SYMBOL = "BTCUSDT"


def seen(*times: float, status: str = "ok") -> list[Seen]:
    return [Seen(at, int(at * 1000), "w1", 1, 0, "", 0, 0, True, status) for at in times]


def window(kind: str, began: float, ended: float) -> Window:
    return Window(kind, "one", Instant(began, began), Instant(ended, ended))


def found(sightings: list[Seen], *windows: Window, end: float = 20.0, pauses: tuple[Pause, ...] = ()) -> list[Gap]:
    return list(gaps({SYMBOL: sightings}, 0.0, end, windows, pauses))


def broken(sightings: list[Seen], *windows: Window, end: float = 20.0) -> list[bool]:
    """Whether reports, and whether fresh data, were away for too long."""
    late = [each.data for each in found(sightings, *windows, end=end) if each.lasted > each.allowed]
    return [False in late, True in late]


def every_second(*away: tuple[float, float]) -> list[Seen]:
    times = [step / 4 for step in range(81)]
    return seen(*(at for at in times if not any(began < at < ended for began, ended in away)))


def test_reports_that_keep_coming_leave_no_gap() -> None:
    assert found(every_second()) == []


def test_a_silence_without_a_fault_is_a_breach() -> None:
    assert broken(every_second((5.0, 7.5))) == [True, True]
    (reports, data) = found(every_second((5.0, 7.5)))
    assert (reports.lasted, reports.causes, reports.allowed, data.data) == (2.5, (), 2.0, True)


def test_silence_from_the_beginning_or_until_the_end_counts() -> None:
    assert broken(every_second((-1.0, 3.0))) == [True, True]
    assert broken(every_second((17.0, 21.0))) == [True, True]
    assert broken([]) == [True, True]


def test_a_kill_excuses_two_seconds_and_the_cycle_that_was_under_way() -> None:
    kill = window("worker kill", 5.0, 5.0)
    assert broken(every_second((4.75, 7.0)), kill) == [False, False]
    assert broken(every_second((4.75, 7.25)), kill) == [True, True]


def test_a_fault_excuses_nothing_that_began_after_its_time() -> None:
    assert broken(every_second((8.0, 11.0)), window("worker kill", 5.0, 5.0)) == [True, True]
    assert broken(every_second((1.0, 4.0)), window("worker kill", 5.0, 5.0)) == [True, True]


def test_while_redis_is_away_nothing_can_be_expected() -> None:
    assert broken(every_second((3.0, 15.0)), window("redis kill", 3.0, 8.0)) == [False, False]
    assert broken(every_second((1.0, 18.0)), window("redis kill", 3.0, 6.0)) == [True, True]


def test_a_source_that_is_away_excuses_old_data_and_no_silence() -> None:
    away = window("producer kill", 4.0, 8.0)
    assert broken(every_second((4.0, 10.0)), away) == [True, False]
    stale = [*seen(*(step / 4 for step in range(16))), *seen(*(4 + step / 4 for step in range(65)), status="down")]
    assert broken(stale, away) == [False, False]
    assert broken(stale) == [False, True]


def test_a_clock_that_jumps_excuses_nothing() -> None:
    assert broken(every_second((5.0, 7.5)), window("worker clock", 4.0, 8.0)) == [True, True]


def test_two_faults_at_once_excuse_the_sum() -> None:
    both = (window("worker kill", 5.0, 5.0), window("worker stop", 5.5, 5.5))
    assert broken(every_second((5.0, 9.25)), *both) == [False, False]
    assert broken(every_second((5.0, 9.5)), *both) == [True, True]


def test_what_nobody_looked_at_is_no_gap() -> None:
    assert found(every_second((5.0, 8.0)), pauses=(Pause(5.2, 6.8),)) == []
    (gap, _) = found(every_second((5.0, 9.0)), pauses=(Pause(6.0, 7.0),))
    assert gap.lasted == 3.0


def test_the_longest_gap_is_kept_by_kind_of_fault() -> None:
    kill, join = window("worker kill", 5.0, 5.0), window("worker join", 6.0, 6.0)
    longest = longest_by_kind(found(every_second((5.0, 7.5), (12.0, 14.5)), kill, join))
    assert {kind: gap.lasted for (kind, data), gap in longest.items() if not data} == {
        "worker kill": 2.5, "worker join": 2.5, "none": 2.5,
    }  # fmt: skip


def test_a_timeline_keeps_faults_in_order_and_those_that_last_end_now() -> None:
    timeline = Timeline()
    first = timeline.begin("worker hang", "w1")
    timeline.begin("broker kill", "kafka-1")
    timeline.end(first)
    assert [each.kind for each in timeline.windows()] == ["worker hang", "broker kill"]
    assert all(each.lasted >= 0 for each in timeline.windows())
