from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.microstructure.metrics.health import HealthParams, HealthWeights, health
from app.microstructure.metrics.level1 import Level1
from app.microstructure.report import Anomaly, Depth, Flow, Health, IngestionStatus, Severity

STATUSES: list[IngestionStatus] = list(get_args(IngestionStatus))
SEVERITIES: list[Severity] = list(get_args(Severity))
NAMES = ["spread", "depth", "balance", "flow", "anomalies", "freshness"]


def score_of(
    spread_bps: float | None = 0.1,
    sums: tuple[float, float] | None = (10.0, 10.0),
    net_flow: float | None = 0.0,
    large: float | None = 5.0,
    severities: list[Severity] | None = None,
    status: IngestionStatus = "ok",
    params: HealthParams | None = None,
) -> Health:
    """Return the health of a market that is well unless told otherwise; `severities` are those of its anomalies."""
    bid, ask = sums or (None, None)
    imbalance = None if bid is None or ask is None else (bid - ask) / (bid + ask)
    return health(
        Level1(spread_bps=spread_bps),
        Depth(sum_bid=bid, sum_ask=ask, imbalance=imbalance),
        Flow(net_flow=net_flow),
        large,
        tuple(Anomaly("iceberg", severity, "") for severity in severities or []),
        status,
        params or HealthParams(),
    )


def test_a_market_that_lacks_nothing_has_100() -> None:
    well = score_of()
    assert well.score == 100.0
    assert well.components == dict.fromkeys(NAMES, 100.0)


@pytest.mark.parametrize(("bps", "component"), [(0.0, 100.0), (1.0, 100.0), (10.0, 50.0), (100.0, 0.0), (5000.0, 0.0)])
def test_the_spread_component_falls_with_the_logarithm_to_0_at_one_percent(bps: float, component: float) -> None:
    assert score_of(spread_bps=bps).components["spread"] == component


@pytest.mark.parametrize(("thin", "component"), [(20.0, 100.0), (5.0, 100.0), (2.5, 50.0), (0.05, 1.0)])
def test_the_depth_component_asks_the_thinner_side_for_one_large_order(thin: float, component: float) -> None:
    assert score_of(sums=(thin, 40.0)).components["depth"] == component
    assert score_of(sums=(40.0, thin)).components["depth"] == component


@pytest.mark.parametrize(("sums", "component"), [((3.0, 1.0), 100.0), ((7.0, 1.0), 50.0), ((1.0, 7.0), 50.0)])
def test_the_balance_component_falls_when_one_side_holds_more_than_three_times_the_other(
    sums: tuple[float, float], component: float
) -> None:
    assert score_of(sums=sums).components["balance"] == component


def test_the_flow_component_measures_flow_by_the_side_that_it_hits() -> None:
    assert score_of(sums=(100.0, 10.0), net_flow=100.0).components["flow"] == 0.0
    assert score_of(sums=(100.0, 10.0), net_flow=-100.0).components["flow"] == 100.0
    assert score_of(sums=(10.0, 100.0), net_flow=-100.0).components["flow"] == 0.0


@pytest.mark.parametrize(
    ("severities", "component"),
    [([], 100.0), (["low"], 90.0), (["medium"], 70.0), (["high"], 40.0), (["high", "medium", "low", "low"], 0.0)],
)
def test_each_anomaly_takes_points_off(severities: list[Severity], component: float) -> None:
    assert score_of(severities=severities).components["anomalies"] == component


@pytest.mark.parametrize(("status", "score"), [("ok", 100.0), ("degraded", 50.0), ("down", 0.0)])
def test_no_market_is_healthier_than_its_messages_are_fresh(status: IngestionStatus, score: float) -> None:
    assert score_of(status=status).score == score


def test_what_is_not_known_is_left_out_and_the_other_weights_stand_for_it() -> None:
    partial = score_of(spread_bps=10.0, net_flow=None, large=None)
    assert list(partial.components) == ["spread", "balance", "anomalies", "freshness"]
    assert partial.score == round((25 * 50 + (10 + 15 + 15) * 100) / 65, 1)


def test_there_is_no_score_without_a_book() -> None:
    lost = score_of(spread_bps=None, sums=None, net_flow=None)
    assert lost.score is None
    assert lost.components == {"anomalies": 100.0, "freshness": 100.0}


def test_a_score_needs_components_that_carry_half_of_the_weight() -> None:
    top, depth = Level1(spread_bps=0.1), Depth(sum_bid=1.0, sum_ask=1.0, imbalance=0.0)
    assert health(top, depth, Flow(), None, None, "ok").score == 100.0  # 25 + 10 + 15
    assert health(Level1(), depth, Flow(), None, (), "ok").score is None  # 10 + 15 + 15


def test_anomalies_that_nobody_looked_for_are_not_none() -> None:
    unknown = health(Level1(), Depth(), Flow(), None, None, "ok")
    assert unknown == Health(None, {"freshness": 100.0})


def test_weights_and_limits_are_parameters() -> None:
    params = HealthParams(weights=HealthWeights(1, 0, 0, 0, 0, 0), tight_bps=10.0, wide_bps=1000.0)
    assert score_of(spread_bps=100.0, severities=["high"], params=params).score == 50.0


def test_the_weights_add_up_to_100() -> None:
    weights = HealthWeights()
    assert sum(getattr(weights, name) for name in NAMES) == 100


BPS = st.one_of(st.none(), st.floats(0, 20_000))
QTY = st.floats(1e-8, 1e9)
MARKETS = st.fixed_dictionaries(
    {
        "spread_bps": BPS,
        "sums": st.one_of(st.none(), st.tuples(QTY, QTY)),
        "net_flow": st.one_of(st.none(), st.floats(-1e9, 1e9)),
        "large": st.one_of(st.none(), QTY),
        "severities": st.lists(st.sampled_from(SEVERITIES), max_size=5),
        "status": st.sampled_from(STATUSES),
    }
)


@given(MARKETS)
def test_score_and_components_stay_within_0_and_100(market: dict[str, object]) -> None:
    result = score_of(**market)  # type: ignore[arg-type]  # one strategy for all arguments
    assert all(0 <= value <= 100 for value in result.components.values())
    assert result.score is None or 0 <= result.score <= 100
    assert set(result.components) <= set(NAMES)


def assert_not_healthier(market: dict[str, object], worse: dict[str, object]) -> None:
    before = score_of(**market).score  # type: ignore[arg-type]
    after = score_of(**market | worse).score  # type: ignore[arg-type]
    assert (before is None) == (after is None)
    if before is not None and after is not None:
        assert after <= before


@given(MARKETS, st.floats(0, 20_000), st.floats(1, 100))
def test_a_wider_spread_never_makes_a_market_healthier(market: dict[str, object], bps: float, factor: float) -> None:
    assert_not_healthier(market | {"spread_bps": bps}, {"spread_bps": bps * factor})


@given(MARKETS, QTY, QTY, st.floats(0.01, 1))
def test_a_book_thinner_by_the_same_share_on_both_sides_is_never_healthier(
    market: dict[str, object], bid: float, ask: float, share: float
) -> None:
    # An imbalance that rounding has moved is not what is meant here, so the share is a power of two.
    part = 2.0 ** -int(1 / share).bit_length()
    assert_not_healthier(market | {"sums": (bid, ask)}, {"sums": (bid * part, ask * part)})


@given(MARKETS, QTY, st.floats(1, 1e6), st.floats(1, 1e6))
def test_a_book_whose_heavier_side_grows_is_never_better_balanced(
    market: dict[str, object], thin: float, factor: float, growth: float
) -> None:
    quiet = market | {"net_flow": None}
    assert_not_healthier(quiet | {"sums": (thin, thin * factor)}, {"sums": (thin, thin * factor * growth)})


@given(MARKETS, st.floats(-1e9, 1e9), st.floats(1, 100))
def test_a_stronger_flow_to_one_side_is_never_healthier(market: dict[str, object], net: float, factor: float) -> None:
    assert_not_healthier(market | {"net_flow": net}, {"net_flow": net * factor})


@given(MARKETS, st.lists(st.sampled_from(SEVERITIES), max_size=4), st.sampled_from(SEVERITIES))
def test_one_more_anomaly_never_makes_a_market_healthier(
    market: dict[str, object], severities: list[Severity], more: Severity
) -> None:
    assert_not_healthier(market | {"severities": severities}, {"severities": [*severities, more]})


@given(MARKETS)
def test_a_graver_anomaly_never_makes_a_market_healthier(market: dict[str, object]) -> None:
    for milder, graver in pairwise(SEVERITIES):
        assert_not_healthier(market | {"severities": [milder]}, {"severities": [graver]})


@given(MARKETS)
def test_older_messages_never_make_a_market_healthier(market: dict[str, object]) -> None:
    for fresher, older in pairwise(STATUSES):
        assert_not_healthier(market | {"status": fresher}, {"status": older})
