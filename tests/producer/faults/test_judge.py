"""The judge must see what is wrong: a proof that cannot fail proves nothing."""

import pytest

from producer.exchange.book import Depth
from producer.exchange.sim import SimMarket
from producer.faults.judge import STREAK, Judge
from producer.faults.truth import TrueMarket

START_NS = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
BTC = "BTCUSDT"


@pytest.fixture
def market() -> TrueMarket:
    market = TrueMarket(SimMarket([BTC], seed=7, rate=200, start_ns=START_NS))
    assert list(market.advance(START_NS + 3 * SECOND, set())) == [], "nobody listens"
    return market


def test_the_book_is_noted_at_every_diff_though_nobody_listens(market: TrueMarket) -> None:
    noted = market.truth[BTC]
    assert len(noted) == 30
    assert all(depth.last_update_id == update_id for update_id, depth in noted.items())
    assert set(market.event_ms[BTC]) == set(noted)
    assert market.depth(BTC, 5).last_update_id in noted


def test_true_states_newer_than_the_fault_make_a_recovery(market: TrueMarket) -> None:
    judge = Judge(market)
    states = list(market.truth[BTC].values())
    for now, depth in enumerate(states[:STREAK]):
        judge.state(BTC, depth, float(now))
    verdict = judge.verdicts[BTC]
    assert verdict.recovered
    assert (verdict.states, verdict.wrong, verdict.right_since) == (STREAK, 0, 0.0)
    judge.watch()
    judge.state(BTC, states[STREAK], 99.0)
    assert judge.verdicts[BTC].streak == 0, "older than the fault"


def test_a_wrong_best_a_wrong_level_and_an_unheard_of_id_are_seen(market: TrueMarket) -> None:
    judge = Judge(market)
    true = list(market.truth[BTC].values())[5]
    deep = Depth(true.last_update_id, true.bids[:-1], true.asks)
    best = Depth(true.last_update_id, true.bids[1:], true.asks)
    unheard_of = Depth(true.last_update_id + 1, true.bids, true.asks)
    for depth in (deep, best, unheard_of):
        judge.state(BTC, depth, 0.0)
    verdict = judge.verdicts[BTC]
    assert (verdict.wrong, verdict.wrong_best) == (3, 2)
    assert not verdict.recovered


def test_being_told_that_it_is_unknown_ends_a_recovery(market: TrueMarket) -> None:
    judge = Judge(market)
    for depth in market.truth[BTC].values():
        judge.state(BTC, depth, 1.0)
    judge.unknown(BTC, 2.0)
    judge.unknown(BTC, 3.0)
    verdict = judge.verdicts[BTC]
    assert not verdict.recovered
    assert verdict.unknown_at == 2.0


def test_a_wrong_time_is_seen(market: TrueMarket) -> None:
    judge = Judge(market)
    for (update_id, event_ms), late in zip(market.event_ms[BTC].items(), (0, 1), strict=False):
        judge.state(BTC, market.truth[BTC][update_id], 0.0, event_ms + late)
    assert judge.verdicts[BTC].misdated == 1
