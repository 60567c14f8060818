"""Health: how well this market can be traded and seen right now, 0 (not at all) to 100.

Six components of 0 to 100 each, after the dimensions of a liquid market of Kyle ("Continuous Auctions and Insider
Trading", 1985: tightness, depth, resiliency), and two that say how far the picture can be trusted:

| component | weight | 100                                          | 0                               | between     |
|-----------|--------|----------------------------------------------|---------------------------------|-------------|
| spread    | 25     | at most 1 bps                                | 100 bps and more                | logarithmic |
| depth     | 25     | the thinner visible side ≥ one large order   | nothing rests there             | linear      |
| balance   | 10     | imbalance at most ± 0.5                      | all on one side                 | linear      |
| flow      | 10     | net flow ≤ what the side that it hits shows  | ten times that and more         | logarithmic |
| anomalies | 15     | none                                         | 100 points off                  | steps       |
| freshness | 15     | ingestion `ok`                               | `down`; `degraded` is 50        | steps       |

The score is the weighted mean of the components that are known. It is not known while these carry less than half
of the weight: without a book it would praise a market for nothing but fresh messages. And it is never above
freshness, because every other component is as old as the newest event.

Components and score are rounded to one decimal: more would be noise, and logarithms differ in their last digits
from machine to machine.
"""

from math import log
from typing import Final

import msgspec

from app.microstructure.metrics.level1 import Level1
from app.microstructure.report import Anomaly, Depth, Flow, Health, IngestionStatus


class HealthWeights(msgspec.Struct, frozen=True):
    """Relative weights, whole numbers so that their sums are exact."""

    spread: int = 25
    depth: int = 25
    balance: int = 10
    flow: int = 10
    anomalies: int = 15
    freshness: int = 15


class HealthParams(msgspec.Struct, frozen=True):
    """Where components are full and where they are nothing; docs/metrics.md gives the reasons.

    Attributes:
        weights: of the components.
        tight_bps: spread up to which its component is 100.
        wide_bps: spread from which it is 0.
        even: imbalance up to which balance is 100.
        large_orders: P95 quantities that the thinner side must show for depth 100.
        absorbed: net flow as a multiple of the visible side that it hits, up to which flow is 100.
        overrun: multiple from which it is 0.
        low, medium, high: points that an anomaly of that severity takes off.
    """

    weights: HealthWeights = HealthWeights()
    tight_bps: float = 1.0
    wide_bps: float = 100.0
    even: float = 0.5
    large_orders: float = 1.0
    absorbed: float = 1.0
    overrun: float = 10.0
    low: int = 10
    medium: int = 30
    high: int = 60


_DEFAULTS: Final = HealthParams()
_FRESHNESS: Final[dict[IngestionStatus, float]] = {"ok": 100.0, "degraded": 50.0, "down": 0.0}


def health(
    top: Level1,
    depth: Depth,
    flow: Flow,
    large: float | None,
    anomalies: tuple[Anomaly, ...] | None,
    status: IngestionStatus,
    params: HealthParams = _DEFAULTS,
) -> Health:
    """Return the health section; `large` is the P95 of level quantities, anything may be not known.

    >>> from app.microstructure.metrics.depth import depth as depth_of
    >>> from app.microstructure.metrics.level1 import level1
    >>> bids, asks = ((99.95, 3.0),), ((100.05, 1.0),)
    >>> health(level1(bids, asks), depth_of(bids, asks), Flow(), 2.0, None, "ok")
    Health(score=66.7, components={'spread': 50.0, 'depth': 50.0, 'balance': 100.0, 'freshness': 100.0})
    """
    components = {
        "spread": _spread(top.spread_bps, params),
        "depth": _depth(depth, large, params),
        "balance": _balance(depth.imbalance, params),
        "flow": _flow(flow.net_flow, depth, params),
        "anomalies": _anomalies(anomalies, params),
        "freshness": _FRESHNESS[status],
    }
    known = {name: round(value, 1) for name, value in components.items() if value is not None}
    return Health(_score(known, params.weights), known)


def _score(known: dict[str, float], weights: HealthWeights) -> float | None:
    of: dict[str, int] = msgspec.structs.asdict(weights)
    carried = sum(of[name] for name in known)
    if 2 * carried < sum(of.values()):
        return None
    mean = sum(of[name] * value for name, value in known.items()) / carried
    return min(round(mean, 1), known["freshness"])


def _spread(spread_bps: float | None, params: HealthParams) -> float | None:
    return None if spread_bps is None else _falling(spread_bps, params.tight_bps, params.wide_bps)


def _depth(depth: Depth, large: float | None, params: HealthParams) -> float | None:
    if large is None or depth.sum_bid is None or depth.sum_ask is None:
        return None
    return 100 * min(1.0, min(depth.sum_bid, depth.sum_ask) / (params.large_orders * large))


def _balance(imbalance: float | None, params: HealthParams) -> float | None:
    return None if imbalance is None else 100 * min(1.0, (1 - abs(imbalance)) / (1 - params.even))


def _flow(net_flow: float | None, depth: Depth, params: HealthParams) -> float | None:
    if net_flow is None or depth.sum_bid is None or depth.sum_ask is None:
        return None
    hit = depth.sum_ask if net_flow > 0 else depth.sum_bid
    return _falling(abs(net_flow) / hit, params.absorbed, params.overrun)


def _anomalies(anomalies: tuple[Anomaly, ...] | None, params: HealthParams) -> float | None:
    if anomalies is None:
        return None
    taken = {"low": params.low, "medium": params.medium, "high": params.high}
    return max(0.0, 100.0 - sum(taken[anomaly.severity] for anomaly in anomalies))


def _falling(value: float, full: float, none: float) -> float:
    """Return 100 up to `full`, 0 from `none` on, and the same fall for each doubling in between."""
    if value <= full:
        return 100.0
    return 100 * max(0.0, log(none / value) / log(none / full))
