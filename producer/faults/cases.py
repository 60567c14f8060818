"""The faults of the matrix. What each does to the protocol is in `producer.exchange.faults`."""

from dataclasses import dataclass
from typing import Final

from producer.exchange.faults import (
    Double,
    Drop,
    Fault,
    Garble,
    HalfOpen,
    Hollow,
    Lose,
    Mute,
    Nonsense,
    Refuse,
    Slow,
    Stall,
    Swap,
)

SYMBOL: Final = "BTCUSDT"
OTHER: Final = "ETHUSDT"
_DIFFS: Final = "btcusdt@depth@100ms"
_TICKERS: Final = "btcusdt@bookTicker"
_TRADES: Final = "btcusdt@trade"


@dataclass(frozen=True)
class Case:
    """One row of the matrix.

    Attributes:
        faults: what happens, all at once, while everything flows.
        alone: it strikes one symbol; the other must not notice.
        down_for: the server starts this many seconds after the client.
        skew: the server's clock is this many seconds off ours.
        doubtful: ids cannot show it, so some states may be wrong until the truth check has found out.
        tickers_only: it strikes a stream that the stock adapter's books do not use.
    """

    name: str
    faults: tuple[Fault, ...] = ()
    alone: bool = False
    down_for: float = 0.0
    skew: float = 0.0
    doubtful: bool = False
    tickers_only: bool = False


CASES: Final = (
    Case("3 diffs lost", (Lose(_DIFFS, 3),), alone=True),
    Case("diffs and trades doubled", (Double(_DIFFS, 5), Double(_TRADES, 5)), alone=True),
    Case("diffs in the wrong order", (Swap(_DIFFS, 3),), alone=True),
    Case("diffs that are no JSON", (Garble(_DIFFS, 2),), alone=True),
    Case("connections reset", (Drop(),)),
    Case("connections half-open", (HalfOpen(),)),
    Case("silence, pings answered", (Mute(),)),
    Case("reset, then 429 with Retry-After: 1", (Drop(), Refuse(status=429, retry_after=1, count=4))),
    Case("reset, then 503 for 8 requests", (Drop(), Refuse(status=503, count=8))),
    Case("reset, then snapshots 1.5 s late", (Drop(), Slow(seconds=1.5, count=4))),
    Case("reset, then snapshots that are no JSON", (Drop(), Nonsense(count=4))),
    Case("server down at the start, for 1 s", down_for=1.0),
    Case("1 diff lost, server's clock 5 s ahead", (Lose(_DIFFS, 1),), alone=True, skew=5.0),
    Case("1 diff lost, server's clock 5 s behind", (Lose(_DIFFS, 1),), alone=True, skew=-5.0),
    Case("diffs of one symbol stay away for 5 s", (Lose(_DIFFS, 50),), alone=True),
    Case("diffs of one symbol end until subscribed anew", (Stall(_DIFFS),), alone=True),
    Case(
        "best bid and ask stream lost and doubled",
        (Lose(_TICKERS, 20), Double(_TICKERS, 20)),
        alone=True,
        tickers_only=True,
    ),
    Case("20 diffs without their bids", (Hollow(_DIFFS, 20),), alone=True, doubtful=True),
)
