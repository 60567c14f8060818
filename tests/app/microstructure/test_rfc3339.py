from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.microstructure import rfc3339

EARLIEST = 1_262_304_000 * rfc3339.NANOS_PER_SECOND
LATEST = 4_102_444_800 * rfc3339.NANOS_PER_SECOND


@given(st.integers(EARLIEST, LATEST))
def test_text_and_nanoseconds_go_both_ways_without_loss(nanos: int) -> None:
    assert rfc3339.parse(rfc3339.format_nanos(nanos)) == nanos


@given(st.datetimes(datetime(2010, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC)))
def test_parsing_agrees_with_the_standard_library(moment: datetime) -> None:
    text = moment.isoformat().replace("+00:00", "Z")
    assert rfc3339.parse(text) == int(moment.timestamp()) * rfc3339.NANOS_PER_SECOND + moment.microsecond * 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Z",
        "2024-08-08T23:54:15.342",
        "2024-08-08T23:54:15.342+00:00",
        "2024-08-08 23:54:15.342Z",
        "2024-08-08T23:54:15.Z",
        "2024-08-08T23:54:5.342Z",
        "2024-08-08T23:54:60.342Z",
        "2024-08-08T23:54:15.3421234567Z",
        "2024-08-08T23:54:+5.342Z",
        "2024-08-08T23:54:1_.342Z",
        "2024-13-08T23:54:15Z",
        "2024-08-32T23:54:15Z",
        "2024-8-08T23:54:15.342Z",
        "2024-08-08T23:54:15.342z",
        "2024-08-08T23:54:15.342Z\n",
        "2024-08-08T23:54:15.٣Z",
    ],
)
def test_what_is_not_utc_rfc_3339_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not RFC 3339 in UTC such as"):
        rfc3339.parse(text)


@given(st.text(max_size=40))
def test_any_text_is_either_parsed_or_refused(text: str) -> None:
    try:
        nanos = rfc3339.parse(text)
    except ValueError:
        return
    assert rfc3339.parse(rfc3339.format_nanos(nanos)) == nanos
