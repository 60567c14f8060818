import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.exchange.units import ONE, to_text, to_units


@given(st.integers(min_value=0, max_value=10**20))
def test_units_survive_the_way_to_text_and_back(units: int) -> None:
    assert to_units(to_text(units)) == units


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("61837.64000000", 6_183_764_000_000),
        ("0.00000001", 1),
        ("7", 7 * ONE),
        ("0.5", ONE // 2),
        ("1e-8", 1),
    ],
)
def test_decimal_text_becomes_units(text: str, units: int) -> None:
    assert to_units(text) == units


@pytest.mark.parametrize("text", ["", "abc", "-1.00000000", "0.000000001", "NaN", "Infinity", "1.2.3", "-.00000001"])
def test_text_that_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        to_units(text)


def test_units_are_written_with_eight_decimals_as_binance_does() -> None:
    assert [to_text(1), to_text(6_183_764_000_000), to_text(-ONE)] == [
        "0.00000001",
        "61837.64000000",
        "-1.00000000",
    ]
