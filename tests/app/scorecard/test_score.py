"""Made-up detectors must get the scores that they deserve."""

from collections.abc import Callable
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.microstructure.report import Severity
from app.scorecard.catalogue import DETECTORS, Detector, Role, kinds_for
from app.scorecard.inject import Episode, Injection, Pace
from app.scorecard.score import BACKGROUND, MERGE_NS, Outcome, Span, Trial, judge
from app.scorecard.summary import DetectorScore, rate, scorecard, share
from app.scorecard.watch import SAMPLE_NS, Sample, Samples, Watcher, watch
from support.markets import SECOND
from support.scoring import SEVERITIES, AlwaysOn, NotYet, Perfect, Silent, market

MARKET = market(seconds=180.0)
GRACE: dict[Detector, float] = dict.fromkeys(DETECTORS, 5.0)


def episode(
    start: int, end: int, *, role: Role = "pattern", kind: str = "crash", strength: Severity = "low"
) -> Episode:
    return Episode(kind, "flash_crash_risk", role, strength, start * SECOND, end * SECOND)


def trial(
    active: list[tuple[int, Severity]], *episodes: Episode, spoiled: list[Span] | None = None, clean: bool = False
) -> Trial:
    """Return 200 s in which flash-crash risk was active in the seconds given."""
    samples: Samples = {detector: [] for detector in DETECTORS}
    samples["flash_crash_risk"] = [Sample(at * SECOND, severity) for at, severity in active]
    return Trial("sim", clean, 0, 200 * SECOND, list(episodes), spoiled or [], samples)


def seconds(first: int, last: int, severity: Severity = "low") -> list[tuple[int, Severity]]:
    return [(at, severity) for at in range(first, last + 1)]


def outcome_of(watcher: Callable[[list[Episode]], Watcher]) -> list[Outcome]:
    """Return what comes of real injections that a made-up detector watches."""
    outcomes = []
    for detector, seed in product(DETECTORS, ("3", "5")):
        pace = Pace(10.0, GRACE[detector] + 5.0)
        truth = Injection(MARKET, kinds_for(detector), pace, seed)
        events = list(truth)
        samples = watch(events, watcher(truth.episodes))
        outcomes.append(
            judge(Trial("sim", False, MARKET.start, MARKET.end, truth.episodes, truth.spoiled, samples), GRACE)
        )
    samples = watch(MARKET.events, watcher([]))
    return [*outcomes, judge(Trial("sim", True, MARKET.start, MARKET.end, [], [], samples), GRACE)]


def scores_of(watcher: Callable[[list[Episode]], Watcher]) -> list[DetectorScore]:
    return scorecard(outcome_of(watcher), [3]).scores


def test_a_perfect_detector_scores_one_everywhere() -> None:
    for score in scores_of(Perfect):
        assert score.precision.value == score.recall.value == 1.0
        assert score.recall.of > 0
        assert score.clean.count == 0
        assert score.delay_median is not None
        assert score.delay_median < 1.0
        assert not score.false_alarms_by_context
        assert all(kind.fired == 0 for kind in score.kinds if kind.role == "look_alike")
        for row in score.severities:
            assert row.called == {s: row.recall.of if s == row.severity else 0 for s in SEVERITIES}


@pytest.mark.parametrize("watcher", [Silent, NotYet])
def test_a_silent_detector_finds_nothing_and_has_no_precision(watcher: type[Silent]) -> None:
    for score in scores_of(lambda _: watcher()):
        assert score.recall.value == 0.0
        assert score.precision.value is None
        assert score.clean.count == 0
        assert score.delay_median is None


def test_a_detector_that_is_always_on_finds_everything_and_pays_for_it() -> None:
    for score in scores_of(lambda _: AlwaysOn()):
        assert score.recall.value == 1.0
        assert score.precision.value is not None
        assert score.precision.value <= 0.5
        assert score.clean.count == 1
        assert score.clean.per_hour == pytest.approx(3600 / 180, rel=0.02)
        assert all(kind.fired == kind.played for kind in score.kinds if kind.role == "pattern")


def test_the_look_alikes_that_fired_are_counted_once_each() -> None:
    look_alikes = [episode(s, s + 20, role="look_alike", kind="wide only") for s in (10, 60, 110)]
    active = [*seconds(12, 14), *seconds(26, 29), *seconds(62, 63)]
    card = scorecard([judge(trial(active, *look_alikes), GRACE)], [1])
    (score,) = [score for score in card.scores if score.detector == "flash_crash_risk"]
    (kind,) = [kind for kind in score.kinds if kind.kind == "wide only"]
    assert (kind.played, kind.fired) == (3, 2)
    assert score.false_alarms_by_context == {"wide only": 3}


def test_an_alarm_within_the_grace_time_finds_the_pattern() -> None:
    found = judge(trial(seconds(64, 65, "high"), episode(50, 60)), GRACE).verdicts
    missed = judge(trial(seconds(66, 67), episode(50, 60)), GRACE).verdicts
    assert [(v.found, v.severity, v.delay) for v in found] == [(True, "high", 14.0)]
    assert [v.found for v in missed] == [False]


def test_an_alarm_that_goes_on_for_too_long_is_a_false_alarm_from_then_on() -> None:
    (alarm,) = judge(trial(seconds(55, 80), episode(50, 60)), GRACE).false_alarms
    assert (alarm.start, alarm.seconds, alarm.context) == (66 * SECOND, 15.0, BACKGROUND)


def test_an_alarm_that_begins_too_early_is_a_false_alarm_until_then() -> None:
    (alarm,) = judge(trial([*seconds(40, 44, "high"), *seconds(45, 55)], episode(50, 60)), GRACE).false_alarms
    assert (alarm.start, alarm.seconds, alarm.severity) == (40 * SECOND, 10.0, "high")


def test_stretches_close_to_each_other_are_one_false_alarm() -> None:
    apart = MERGE_NS // SECOND
    assert len(judge(trial([(20, "low"), (20 + apart, "low")]), GRACE).false_alarms) == 1
    assert len(judge(trial([(20, "low"), (21 + apart, "low")]), GRACE).false_alarms) == 2


def test_stretches_before_and_after_a_pattern_are_two_false_alarms() -> None:
    assert len(judge(trial(seconds(40, 80), episode(50, 60)), GRACE).false_alarms) == 2


def test_a_pattern_of_another_detector_excuses_nothing() -> None:
    other = Episode("iceberg exact", "iceberg", "pattern", "low", 50 * SECOND, 60 * SECOND)
    (alarm,) = judge(trial(seconds(52, 53), other), GRACE).false_alarms
    assert alarm.context == "iceberg exact"


def test_probes_and_spoiled_episodes_count_neither_way() -> None:
    probe = episode(50, 60, role="probe")
    outcome = judge(trial(seconds(55, 62), probe, spoiled=[(100 * SECOND, 110 * SECOND)]), GRACE)
    assert not outcome.false_alarms
    score = next(s for s in scorecard([outcome], [1]).scores if s.detector == "flash_crash_risk")
    assert score.recall.of == 0
    assert outcome.exposure["flash_crash_risk"] == pytest.approx(200 - 15 - 15)
    assert outcome.exposure["iceberg"] == pytest.approx(200 - 15)


def test_precision_by_severity_counts_what_was_called_so() -> None:
    episodes = [episode(50, 60, strength="high"), episode(100, 110, strength="low")]
    active = [*seconds(52, 53, "high"), *seconds(80, 81, "high"), *seconds(102, 103, "medium")]
    score = next(
        s for s in scorecard([judge(trial(active, *episodes), GRACE)], [1]).scores if s.detector == "flash_crash_risk"
    )
    rows = {row.severity: row for row in score.severities}
    assert (rows["high"].precision.hits, rows["high"].precision.of) == (1, 2)
    assert (rows["medium"].precision.hits, rows["medium"].precision.of) == (1, 1)
    assert rows["low"].called == {"low": 0, "medium": 1, "high": 0}


@given(
    st.sets(st.integers(0, 199)).map(sorted),
    st.lists(st.tuples(st.integers(0, 190), st.integers(1, 9)), max_size=5),
)
def test_every_active_second_is_excused_or_in_exactly_one_false_alarm(
    active: list[int], spans: list[tuple[int, int]]
) -> None:
    episodes = [episode(start, start + length) for start, length in spans]
    outcome = judge(trial([(at, "low") for at in active], *episodes), GRACE)
    for at in active:
        excused = any(e.start <= at * SECOND <= min(e.end + 5 * SECOND, 200 * SECOND) for e in episodes)
        around = sum(
            a.start <= at * SECOND < a.start + a.seconds * SECOND and not excused for a in outcome.false_alarms
        )
        assert around == (0 if excused else 1)
    assert all(
        verdict.found == any(verdict.episode.start <= at * SECOND <= verdict.episode.end + 5 * SECOND for at in active)
        for verdict in outcome.verdicts
    )


def test_detectors_are_asked_each_second_after_the_events_up_to_it() -> None:
    asked: list[tuple[int, int]] = []

    class Asked(Silent):
        newest = 0

        def apply(self, event: object) -> None:
            self.newest = max(self.newest, getattr(event, "ts_event", 0))

        def anomalies(self, as_of: int) -> tuple[()]:
            asked.append((as_of, self.newest))
            return ()

    watch(market(seconds=40.0).events, Asked())
    assert len(asked) == 39
    assert all(as_of % SAMPLE_NS == 0 and newest <= as_of for as_of, newest in asked)
    assert all(as_of - newest < SAMPLE_NS for as_of, newest in asked)


def test_intervals_are_those_of_the_books() -> None:
    assert (round(share(9, 10).low, 3), round(share(9, 10).high, 3)) == (0.596, 0.982)
    assert share(0, 0).value is None
    assert [round(rate(count, 1.0).at_most or 0.0, 3) for count in (0, 1, 5)] == [2.996, 4.744, 10.513]
    assert rate(0, 0.0).per_hour is None
