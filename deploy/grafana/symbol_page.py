"""One symbol, or some, from the exchange to the reader."""

from form import Dashboard, Panel
from parts import quantile

_BY_SYMBOL = 'symbol=~"$symbol"'

SYMBOL = Dashboard(
    "context8-symbol",
    "context8 / Symbol",
    "One symbol, or some, from the exchange to the reader.",
    {
        "Is it well?": [
            Panel(
                "Age of data",
                "Age of the newest market event.",
                "ms",
                {"{{symbol}}": f"context8:stream_lag_ms{{{_BY_SYMBOL}}}"},
                (1000, 2000),
                "stat",
                6,
            ),
            Panel(
                "Age of report",
                "Age of the last report.",
                "ms",
                {"{{symbol}}": f"context8:report_age_ms{{{_BY_SYMBOL}}}"},
                (1000, 5000),
                "stat",
                6,
            ),
            Panel(
                "Book known",
                "1 while the producer follows the exchange's book without a gap, 0 until it is fetched anew.",
                "bool_yes_no",
                {"{{symbol}}": f"context8_producer_book_known{{{_BY_SYMBOL}}}"},
                (1, 0.5),
                "stat",
                6,
            ),
            Panel(
                "Book is the exchange's",
                "Share of comparisons with the exchange's own best prices, at the same update id, that were equal.",
                "percentunit",
                {
                    "{{symbol}}": f"context8_producer_best_equal_total{{{_BY_SYMBOL}}} "
                    f"/ context8_producer_best_compared_total{{{_BY_SYMBOL}}}"
                },
                (1, 0.999),
                "stat",
                6,
            ),
        ],
        "From the exchange": [
            Panel(
                "Events",
                "Events a second as the producer gets them, by type.",
                "eps",
                {
                    "{{symbol}} {{type}}": f"rate(context8_producer_events_total{{{_BY_SYMBOL}}}[$__rate_interval])",
                },
            ),
            Panel(
                "Silence",
                "Time since the newest event arrived at the producer. More than 10 s is an alert.",
                "s",
                {"{{symbol}}": f"context8_producer_event_age_seconds{{{_BY_SYMBOL}}}"},
                (2, 10),
            ),
            Panel(
                "Books given up",
                "Books that were fetched anew, by reason; for a fraction of a second each is unknown.",
                "none",
                {
                    "{{symbol}} {{reason}}": (
                        f"increase(context8_producer_resyncs_total{{{_BY_SYMBOL}}}[$__rate_interval])"
                    )
                },
            ),
            Panel(
                "Lost for good",
                "Trades that never came, by the steps in their ids, and events for which the queue had no room.",
                "none",
                {
                    "{{symbol}} trades missed": (
                        f"increase(context8_producer_trades_missed_total{{{_BY_SYMBOL}}}[$__rate_interval])"
                    ),
                    "{{symbol}} {{type}} dropped": (
                        f"increase(context8_producer_dropped_total{{{_BY_SYMBOL}}}[$__rate_interval])"
                    ),
                },
            ),
            Panel(
                "Snapshots that failed",
                "Requests for a snapshot of the book without a usable answer; they are tried again.",
                "none",
                {
                    "{{symbol}}": (
                        f"increase(context8_producer_snapshot_failures_total{{{_BY_SYMBOL}}}[$__rate_interval])"
                    )
                },
            ),
            Panel(
                "Streams that ended alone",
                "Found by what the symbol's other streams told, and asked for anew.",
                "none",
                {
                    "{{symbol}} {{stream}}": (
                        f"increase(context8_producer_streams_ended_total{{{_BY_SYMBOL}}}[$__rate_interval])"
                    )
                },
                width=12,
            ),
            Panel(
                "Left out",
                "Symbols that are wanted and not subscribed to: the exchange does not know them or they do not trade.",
                "none",
                {"{{symbol}}": f"context8_producer_symbol_refused{{{_BY_SYMBOL}}} or vector(0)"},
                width=12,
            ),
        ],
        "In the worker": [
            Panel(
                "Events applied",
                "Events a second that the engine took, by type.",
                "eps",
                {"{{symbol}} {{type}}": f"context8_events_rate{{{_BY_SYMBOL}}}"},
            ),
            Panel(
                "Reports offered to Redis",
                "A second, by what became of them: ok, refused (a newer writer exists) or unavailable.",
                "ops",
                {
                    "{{symbol}} {{status}}": (
                        f"sum by (symbol, status) (rate(context8_cache_writes{{{_BY_SYMBOL}}}[$__rate_interval]))"
                    )
                },
            ),
            Panel(
                "Time to compute, P99",
                "Fast cycle at most 20 ms, slow cycle at most 500 ms.",
                "ms",
                {
                    "{{symbol}} {{metric}}": quantile(
                        "0.99", "context8_calc_latency_ms", "symbol, metric, le", f"{{{_BY_SYMBOL}}}"
                    )
                },
                (20, 500),
            ),
        ],
        "At the reader": [
            Panel(
                "Reports found",
                "A second.",
                "reqps",
                {"{{symbol}}": f"sum by (symbol) (rate(context8_mcp_cache_hits{{{_BY_SYMBOL}}}[$__rate_interval]))"},
                width=12,
            ),
            Panel(
                "Reports not found",
                "A second; a symbol of which no report was ever found counts as unknown.",
                "reqps",
                {
                    "{{symbol}}": (
                        'sum by (symbol) (rate(context8_mcp_cache_misses{symbol=~"$symbol|unknown"}[$__rate_interval]))'
                    )
                },
                width=12,
            ),
        ],
    },
    by_symbol=True,
)
