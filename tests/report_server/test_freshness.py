import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report_server.freshness import Stored
from report_server.selection import FIELDS, Selection, selection

WRITTEN = 5_000_000  # monotonic ms
CHOSEN = [None, *(selection("summary"), selection(fields=["flow", "depth.imbalance"]), selection(fields=["ingestion"]))]
counts = st.integers(0, 10**12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.just('"data_age_ms":7'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
reports = st.fixed_dictionaries(
    {"updatedAt": counts, "data_age_ms": counts},
    optional={
        "ingestion": st.fixed_dictionaries(
            {"status": st.sampled_from(["ok", "degraded"]), "last_event_age_ms": counts},
            optional={"data_age_ms": counts, "note": st.just('\\"last_event_age_ms\\":5')},
        ),
        "anomalies": values,
        "more": values,
    },
)


@given(report=reports, quiet_ms=st.integers(0, 2000), spaced=st.booleans(), reverse=st.booleans())
def test_the_bytes_and_the_decoded_report_age_alike(
    report: dict[str, Any], quiet_ms: int, spaced: bool, reverse: bool
) -> None:
    if reverse:
        report = dict(reversed(report.items()))
    raw = json.dumps(report, separators=None if spaced else (",", ":")).encode()

    fresh = Stored(raw, WRITTEN).at(WRITTEN + quiet_ms, 2000)

    expected = json.loads(raw)
    expected["data_age_ms"] += quiet_ms
    if "ingestion" in expected:
        expected["ingestion"]["last_event_age_ms"] += quiet_ms
    assert json.loads(fresh.body) == fresh.report == expected
    assert fresh.age_ms == expected["data_age_ms"]
    assert not fresh.stale


def test_nothing_but_the_digits_of_the_ages_is_written_anew(make_report: Callable[[str], bytes]) -> None:
    raw = make_report("BTCUSDT")

    body = Stored(raw, WRITTEN).at(WRITTEN + 1500, 2000).body

    assert body == raw.replace(b'"data_age_ms":42', b'"data_age_ms":1542').replace(
        b'"last_event_age_ms":12', b'"last_event_age_ms":1512'
    )
    assert Stored(raw, WRITTEN).at(WRITTEN, 2000).body == raw


def test_no_age_is_negative(make_report: Callable[[str], bytes]) -> None:
    raw = make_report("BTCUSDT")

    assert Stored(raw, WRITTEN).at(WRITTEN - 60_000, 2000).body == raw


def test_what_nobody_can_date_is_stale(make_report: Callable[[str], bytes]) -> None:
    stored = Stored(make_report("BTCUSDT"), WRITTEN)
    stored.trusted = False

    assert stored.at(WRITTEN, 2000).stale
    assert stored.state_at(WRITTEN, 2000) == ("down", 42)
    assert stored.part_at(selection("summary"), WRITTEN, 2000)["ingestion"]["stale"]


def test_the_version_changes_with_the_report_and_with_staleness_but_not_with_time(
    make_report: Callable[[str], bytes],
) -> None:
    raw = make_report("BTCUSDT")
    stored = Stored(raw, WRITTEN)

    now, later, stale = (stored.at(WRITTEN + quiet, 2000).etag for quiet in (0, 1000, 5000))

    assert now == later
    assert now.startswith('W/"')
    assert len({now, stale, Stored(make_report("ETHUSDT"), WRITTEN).at(WRITTEN, 2000).etag}) == 3


@pytest.mark.parametrize("section", ["ingestion", "health"])
@pytest.mark.parametrize("value", [None, 1, "x", []])
def test_a_section_of_another_shape_does_not_break_the_marking(section: str, value: Any) -> None:
    stored = Stored(json.dumps({section: value, "data_age_ms": 5}).encode())

    assert stored.state_at(10, 2) == ("down", 15)
    assert stored.at(10, 2).report["ingestion"]["status"] == "down"
    assert stored.at(10, 2).report["health"]["score"] == 0.0


@given(report=reports, quiet_ms=st.lists(st.integers(0, 4000), min_size=1, max_size=3), chosen=st.sampled_from(CHOSEN))
def test_a_part_and_the_state_are_those_of_the_whole_at_any_moment(
    report: dict[str, Any], quiet_ms: list[int], chosen: Selection | None
) -> None:
    stored = Stored(json.dumps(report).encode(), WRITTEN)
    for quiet in quiet_ms:
        now_ms = WRITTEN + quiet
        whole = stored.at(now_ms, 2000).report

        assert stored.part_at(chosen, now_ms, 2000) == (chosen.of(whole) if chosen else whole)
        assert stored.state_at(now_ms, 2000) == (whole.get("ingestion", {}).get("status"), whole["data_age_ms"])


def test_what_is_kept_of_parts_has_a_bound(make_report: Callable[[str], bytes]) -> None:
    stored = Stored(make_report("BTCUSDT"), WRITTEN)
    for field in FIELDS:
        stored.part_at(selection(fields=[field]), WRITTEN, 2000)

    assert len(stored._parts) <= 8
