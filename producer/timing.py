"""How patient the producer is with the exchange, in one place; tests are less patient."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. The defaults are for Binance's public limits.

    Attributes:
        idle: silence of a connection after which the exchange is asked whether it is still there.
        answer: how long it may take to answer that.
        idle_longest: silence after which a connection is made anew though the exchange answers.
        overload: lateness of our own event loop at which a connection is given up.
        open_limit: for a connection to be open and subscribed.
        request_pace: between two requests on a connection; Binance allows 5 messages a second, our pongs included.
        reconnect_first: pause before a lost connection is made anew; Binance allows 300 attempts in 5 minutes.
        reconnect_longest: what that pause grows to.
        steady: a connection that lived for this long begins anew with the shortest pause.
        first_diff: wait for a symbol's first diff before its snapshot is fetched all the same.
        snapshot_limit: for one answer to a request for a snapshot.
        snapshot_first: pause before a snapshot is asked for again.
        snapshot_longest: what that pause grows to.
        look: between two looks at which streams have ended alone.
        behind: a book that the best bid and ask stream has left behind for this long is not followed.
    """

    idle: float = 5.0
    answer: float = 1.0
    idle_longest: float = 300.0
    overload: float = 5.0
    open_limit: float = 10.0
    request_pace: float = 0.25
    reconnect_first: float = 0.5
    reconnect_longest: float = 30.0
    steady: float = 30.0
    first_diff: float = 2.0
    snapshot_limit: float = 10.0
    snapshot_first: float = 0.25
    snapshot_longest: float = 30.0
    look: float = 1.0
    behind: float = 3.0
