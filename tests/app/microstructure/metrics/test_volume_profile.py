from collections import defaultdict
from collections.abc import Sequence
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.microstructure.events import Event, TradeTick
from app.microstructure.metrics.volume_profile import (
    BUCKET_NANOS,
    ProfileParams,
    ProfileState,
    VolumeProfile,
    bin_width,
    fine_width,
    value_area,
)
from app.microstructure.report import VolumeProfile as Section
from support.examples import examples
from support.markets import SECOND, START, streams, trade
from support.tapes import tape_events

WINDOW = 60
PARAMS = ProfileParams(window_sec=WINDOW, min_trades=1)
BASE = START // BUCKET_NANOS * BUCKET_NANOS


def profile_of(trades: Sequence[TradeTick], params: ProfileParams = PARAMS) -> VolumeProfile:
    profile = VolumeProfile(params)
    for each in trades:
        profile.update(each)
    return profile


def traded(*volume_at: tuple[float, float], params: ProfileParams = PARAMS) -> Section | None:
    """Return the profile of volumes at prices, all traded at once."""
    trades = [trade(number, price, qty, at=START) for number, (price, qty) in enumerate(volume_at)]
    return profile_of(trades, params).value(START)


def width_of(price: Decimal) -> Decimal:
    """Return the bin width by the table of the documentation."""
    if price < Decimal("1e-4"):
        return Decimal("1e-8")
    first = Decimal(price.as_tuple().digits[0])
    return Decimal(10) ** (price.adjusted() - 3) if first >= 5 else 2 * Decimal(10) ** (price.adjusted() - 4)


def reference(trades: Sequence[TradeTick], as_of: int, params: ProfileParams) -> Section | None:
    """Return the profile by its definition from every trade there ever was, in decimal arithmetic."""
    oldest = as_of - params.window_sec * SECOND
    live = [each.payload for each in trades if (each.ts_event // BUCKET_NANOS + 1) * BUCKET_NANOS - 1 > oldest]
    if len(live) < params.min_trades:
        return None
    decimals = [(Decimal(repr(each.price)), Decimal(repr(each.qty))) for each in live]
    width = width_of(max(price for price, _ in decimals))
    bins: dict[Decimal, Decimal] = defaultdict(Decimal)
    for price, qty in decimals:
        bins[(price / width + Decimal("0.5")).to_integral_value(ROUND_FLOOR) * width] += qty
    if 0 in bins:  # prices too far apart
        return None
    poc = min(bins, key=lambda centre: (-bins[centre], centre))
    area = {poc}
    while sum(bins[centre] for centre in area) * 100 < params.value_area_pct * sum(bins.values()):
        neighbours = [
            *sorted(centre for centre in bins if centre < min(area))[-1:],
            *sorted(centre for centre in bins if centre > max(area))[:1],
        ]
        area.add(min(neighbours, key=lambda centre: (-bins[centre], centre)))
    return Section(
        POC=float(poc),
        VAH=float(max(area) + width / 2),
        VAL=float(min(area) - width / 2),
        window_sec=params.window_sec,
        trade_count=len(live),
    )


def test_the_point_of_control_is_the_fullest_bin_and_the_area_holds_seventy_percent() -> None:
    profile = traded((61_700.0, 5.0), (61_710.0, 30.0), (61_720.0, 40.0), (61_730.0, 20.0), (61_740.0, 5.0))
    assert profile == Section(POC=61_720.0, VAH=61_725.0, VAL=61_705.0, window_sec=WINDOW, trade_count=5)


def test_a_bin_reaches_from_half_a_width_below_its_centre_to_just_under_half_above() -> None:
    for price, poc in ((61_725.0, 61_730.0), (61_724.99, 61_720.0), (61_734.99, 61_730.0)):
        profile = traded((price, 1.0))
        assert profile is not None
        assert (poc - 5, poc, poc + 5) == (profile.VAL, profile.POC, profile.VAH)


def test_prices_whose_quotient_is_not_exact_in_doubles_fall_into_their_own_bin() -> None:
    assert 0.3 // 0.1 == 2.0
    for ticks in range(4_900, 5_100):
        price = ticks / 10_000
        profile = traded((price, 1.0))
        assert profile is not None
        assert price == profile.POC


def test_where_the_tick_is_wider_than_the_bins_the_point_of_control_is_a_traded_price() -> None:
    profile = traded((0.3421, 3.0), (0.3422, 9.0), (0.3423, 3.0))
    assert profile is not None
    assert profile.POC == 0.3422


def test_equal_volumes_go_to_the_lower_price() -> None:
    profile = traded((61_700.0, 4.0), (61_710.0, 4.0))
    assert profile is not None
    assert (profile.VAL, profile.POC, profile.VAH) == (61_695.0, 61_700.0, 61_715.0)
    assert value_area({1: 3, 2: 4, 3: 3}, 70) == (1, 2, 2)


def test_the_area_steps_over_prices_without_volume() -> None:
    profile = traded((61_700.0, 6.0), (61_900.0, 4.0))
    assert profile is not None
    assert (profile.VAL, profile.VAH) == (61_695.0, 61_905.0)


def test_there_is_no_profile_of_too_few_trades() -> None:
    params = ProfileParams(window_sec=WINDOW, min_trades=3)
    assert VolumeProfile(params).value(START) is None
    assert traded((100.0, 9.0), (100.0, 9.0), params=params) is None
    assert traded((100.0, 9.0), (100.0, 9.0), (100.0, 1e-8), params=params) is not None


def test_a_bucket_counts_until_its_last_instant_is_as_old_as_the_window() -> None:
    profile = profile_of([trade(1, at=BASE)])
    last_instant = BASE + BUCKET_NANOS - 1
    assert profile.value(last_instant + WINDOW * SECOND - 1) is not None
    assert profile.value(last_instant + WINDOW * SECOND) is None


def test_a_late_trade_counts_in_the_bucket_of_its_own_time() -> None:
    newest = trade(1, 200.0, at=BASE + 50 * SECOND)
    late, too_late = trade(2, 100.0, at=BASE + 20 * SECOND), trade(3, 300.0, at=BASE - 20 * SECOND)
    profile = profile_of([newest, late, too_late, trade(4, 100.0, at=BASE + 21 * SECOND)])
    now, later = profile.value(BASE + 50 * SECOND), profile.value(BASE + 90 * SECOND)
    assert now is not None
    assert later is not None
    assert (now.POC, now.trade_count) == (100.0, 3)
    assert (later.POC, later.trade_count) == (200.0, 1)
    assert [bucket.trades for bucket in profile.snapshot().buckets] == [2, 1]


def test_bins_are_as_wide_as_the_highest_live_price_asks_for() -> None:
    profile = profile_of([trade(1, 9_999.5), trade(2, 10_002.0, at=START + 40 * SECOND)])
    both, newest = profile.value(START + 40 * SECOND), profile.value(START + 80 * SECOND)
    assert both is not None
    assert newest is not None
    assert (both.VAL, both.VAH) == (9_999.0, 10_003.0)
    assert newest.VAL == 10_001.0
    only = profile_of([trade(1, 9_999.5)]).value(START)
    assert only is not None
    assert (only.VAL, only.VAH) == (9_999.5, 10_000.5)


def test_prices_too_far_apart_for_one_width_give_no_profile() -> None:
    assert traded((1.0, 1.0), (50_000.0, 1.0)) is None


@pytest.mark.parametrize(("price", "qty"), [(1e-12, 1e-12), (1e-8, 1e-8), (9.9e14, 9.9e14), (1e-5, 9e13)])
def test_extreme_prices_and_quantities_are_counted_and_survive_a_restart(price: float, qty: float) -> None:
    trades = [trade(number, price, qty, at=START + 4 * number * SECOND) for number in range(30)]
    newest = int(trades[-1].ts_event)
    profile = profile_of(trades)
    packed = msgspec.msgpack.encode(profile.snapshot())
    resumed = VolumeProfile.restore(msgspec.msgpack.decode(packed, type=ProfileState), PARAMS)
    for as_of in (newest, newest + 40 * SECOND):
        value = profile.value(as_of)
        assert value is not None
        assert 0 < value.VAL <= value.POC <= value.VAH
        assert resumed.value(as_of) == value


@given(st.integers(1, 10**23))
def test_widths_nest_and_are_a_small_share_of_the_price(price: int) -> None:
    width = bin_width(price)
    assert width == width_of(Decimal(price).scaleb(-8)) * 10**8
    assert price < 10_000 or 0.4 <= width / price * 1e4 <= 2
    if width > 1:
        assert all(width // 2 % fine_width(lower) == 0 for lower in (price, price // 10 + 1, price // 1000 + 1))


VOLUMES = st.dictionaries(st.integers(1, 40), st.integers(1, 10), min_size=1)


@given(VOLUMES, st.integers(1, 100))
def test_the_area_holds_its_share_and_not_one_bin_more_than_the_rule_needs(bins: dict[int, int], percent: int) -> None:
    low, poc, high = value_area(bins, percent)
    assert low <= poc <= high
    assert bins[poc] == max(bins.values())
    inside, total = sum(bins[place] for place in bins if low <= place <= high), sum(bins.values())
    assert 100 * inside >= percent * total
    without_ends = [inside - bins[end] for end in {low, high} - {poc}]
    assert not without_ends or 100 * min(without_ends) < percent * total


MOVES = st.lists(
    st.tuples(st.integers(-300, 400), st.integers(0, 4000), st.integers(1, 10**10), st.sampled_from((1, 100, 10**4))),
    max_size=40,
)


def trades_of(moves: list[tuple[int, int, int, int]], base: int) -> list[TradeTick]:
    """Return trades near `base` 10⁻⁸ units, up to 30 s late and up to 40 s apart."""
    now, trades = BASE, []
    for number, (tenths, step, units, grid) in enumerate(moves):
        now = max(BASE, now + tenths * SECOND // 10)
        trades.append(trade(number, (base + step * grid) / 1e8, units / 1e8, at=now))
    return trades


@pytest.mark.parametrize("base", [99_980_000, 4_999_000, 61_700 * 10**8, 780], ids=str)
@given(MOVES, st.integers(0, 90))
def test_the_profile_equals_its_definition_at_every_prefix(
    base: int, moves: list[tuple[int, int, int, int]], wait_sec: int
) -> None:
    trades, newest = trades_of(moves, base), 0
    profile = VolumeProfile(PARAMS)
    for number, each in enumerate(trades, start=1):
        profile.update(each)
        newest = max(newest, int(each.ts_event))
        for as_of in (newest + wait_sec * SECOND, newest):
            assert profile.value(as_of) == reference(trades[:number], as_of, PARAMS)


@settings(max_examples=examples(50))
@given(streams())
def test_the_profile_follows_made_streams(events: list[Event]) -> None:
    trades = [event for event in events if isinstance(event, TradeTick)]
    profile = VolumeProfile(PARAMS)
    for number, each in enumerate(trades, start=1):
        profile.update(each)
        assert profile.value(int(each.ts_event)) == reference(trades[:number], int(each.ts_event), PARAMS)


@given(MOVES, st.data())
def test_a_restored_profile_goes_on_as_if_nothing_had_happened(
    moves: list[tuple[int, int, int, int]], data: st.DataObject
) -> None:
    trades = trades_of(moves, 99_980_000)
    cut = data.draw(st.integers(0, len(trades)))
    packed = msgspec.msgpack.encode(profile_of(trades[:cut]).snapshot())
    resumed = VolumeProfile.restore(msgspec.msgpack.decode(packed, type=ProfileState), PARAMS)
    for each in trades[cut:]:
        resumed.update(each)
    whole, newest = profile_of(trades), max((int(each.ts_event) for each in trades), default=BASE)
    assert resumed.snapshot() == whole.snapshot()
    for as_of in (newest, newest + 25 * SECOND):
        assert resumed.value(as_of) == whole.value(as_of)


def test_buckets_are_kept_and_not_trades() -> None:
    profile = VolumeProfile(ProfileParams())
    for number in range(40_000):
        profile.update(trade(number, 61_700.0 + number % 20, at=BASE + number * SECOND // 10))
    state = profile.snapshot()
    assert len(state.buckets) == 181
    assert len(msgspec.msgpack.encode(state)) < 181 * (20 * 32 + 30)


@pytest.mark.tape
def test_the_profile_of_the_recorded_trades_equals_its_definition(tape_path: Path) -> None:
    trades = [event for event in tape_events(tape_path) if isinstance(event, TradeTick)]
    profile, params = VolumeProfile(ProfileParams(window_sec=120)), ProfileParams(window_sec=120)
    for number, each in enumerate(trades, start=1):
        profile.update(each)
        if number % 400 == 0 or number in (99, 100):
            as_of = int(each.ts_event)
            assert profile.value(as_of) == reference(trades[:number], as_of, params)
            assert (profile.value(as_of) is None) == (number < 100)
