import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report_server.selection import FIELDS, MOST_FIELDS, SECTIONS, SUMMARY, Selection, SelectionError, selection


@pytest.fixture(scope="module")
def report(make_report: Callable[[str], bytes]) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(make_report("BTCUSDT"))
    return made


def chosen(detail: object = None, fields: object = None) -> Selection:
    made = selection(detail, fields)
    assert made is not None
    return made


def test_without_a_choice_it_is_the_whole_report() -> None:
    assert selection() is None
    assert selection("full") is None


def test_fields_give_these_and_the_freshness_in_the_shape_of_the_report(report: dict[str, Any]) -> None:
    part = chosen(fields=["depth.imbalance", "flow"]).of(report)

    assert part == {
        "symbol": "BTCUSDT",
        "data_age_ms": 42,
        "ingestion": {"status": "ok", "stale": False},
        "depth": {"imbalance": 0.2007},
        "flow": report["flow"],
    }


def test_a_summary_is_small_and_says_which_lists_it_cut(report: dict[str, Any]) -> None:
    walls = [{"side": "bid", "price": 1.0 + n, "qty": 9.5, "severity": "high"} for n in range(17)]
    long = report | {"liquidity": report["liquidity"] | {"walls": walls}}

    summary = SUMMARY.of(long)

    assert summary["liquidity"]["walls"] == walls[:3]
    assert summary["cut"] == {"liquidity.walls": 17}
    assert "top_bids" not in summary["depth"]
    assert "cut" not in SUMMARY.of(report)
    assert len(long["liquidity"]["walls"]) == 17, "the report itself is left as it was"


@given(fields=st.lists(st.sampled_from(FIELDS), min_size=1, max_size=MOST_FIELDS))
def test_a_part_holds_what_the_report_holds(report: dict[str, Any], fields: list[str]) -> None:
    part = chosen(fields=fields).of(report)

    assert part.keys() == {"symbol", "data_age_ms", "ingestion", *(field.partition(".")[0] for field in fields)}
    for section, value in part.items():
        whole = report[section]
        assert value == whole or value.items() <= whole.items()
    assert [*part] == [section for section in report if section in part]


@given(report=st.dictionaries(st.sampled_from([*SECTIONS]), st.none() | st.integers() | st.lists(st.integers())))
def test_a_report_of_another_shape_is_no_error(report: dict[str, Any]) -> None:
    assert SUMMARY.of(report).keys() <= {*report, "cut"}


@pytest.mark.parametrize("detail", ["", "Summary", 1, [], {}, "x" * 1000, 10**50])
def test_a_wrong_detail_says_what_is_allowed(detail: object) -> None:
    with pytest.raises(SelectionError, match="allowed: full, summary") as refused:
        selection(detail)
    with pytest.raises(SelectionError, match="allowed: full, summary"):
        selection(detail, ["flow"])
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("fields", [[], "", "flow", 1, {}, ["flow"] * (MOST_FIELDS + 1)])
def test_wrong_fields_say_how_many_are_allowed(fields: object) -> None:
    with pytest.raises(SelectionError, match="a list of 1 to 40 names"):
        selection(None, fields)


@pytest.mark.parametrize("field", ["nosuch", "depth.nosuch", "flow.", ".flow", "symbol.x", "", 1, None, ["flow"]])
def test_a_wrong_field_is_named_with_what_is_allowed(field: object) -> None:
    with pytest.raises(SelectionError, match=r"allowed: schemaVersion, .*provenance"):
        selection(None, ["flow", field])
