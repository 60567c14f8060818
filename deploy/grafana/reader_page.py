"""What callers see."""

from form import Dashboard, Panel
from parts import SYMBOL_PAGE, answering, processes, quantile

READER = Dashboard(
    "context8-reader",
    "context8 / Reader",
    "What callers see.",
    {
        "Is all well?": [
            answering("reader"),
            Panel(
                "Answers, P99",
                "Of the slowest reader. The limit is 150 ms; more than 200 ms is an alert.",
                "ms",
                {"": "max(context8:mcp_request_duration_ms:p99)"},
                (150, 200),
                "stat",
                6,
            ),
            Panel(
                "Failed requests",
                "Share of requests that got no report because of us: Redis away, a corrupt report, no answer in time.",
                "percentunit",
                {
                    "": 'sum(context8:mcp_requests:rate1m{status=~"unavailable|corrupt|error"}) '
                    "/ sum(context8:mcp_requests:rate1m)"
                },
                (0.001, 0.01),
                "stat",
                6,
            ),
            Panel(
                "Requests",
                "A second, all readers together.",
                "reqps",
                {"": "sum(context8:mcp_requests:rate1m)"},
                (),
                "stat",
                6,
            ),
        ],
        "Requests": [
            Panel(
                "Requests by outcome",
                "null is a symbol without a report, invalid_argument a mistake of the caller.",
                "reqps",
                {"{{status}}": "context8:mcp_requests:rate1m"},
            ),
            Panel(
                "Requests by method",
                "MCP tool calls, MCP resources and plain HTTP.",
                "reqps",
                {"{{method}}": "sum by (method) (rate(context8_mcp_requests_total[$__rate_interval]))"},
            ),
            Panel(
                "Time to answer",
                "Measured in the reader, without the network.",
                "ms",
                {
                    "P50": quantile("0.5", "context8_mcp_request_duration_ms"),
                    "P99": quantile("0.99", "context8_mcp_request_duration_ms"),
                },
                (150, 200),
            ),
            Panel(
                "P99 by status code",
                "503 says that the store is away; it is answered within the limit, too.",
                "ms",
                {"{{code}}": quantile("0.99", "context8_mcp_request_duration_ms", "code, le")},
                (150, 200),
            ),
            Panel(
                "Refused before they were read",
                "No valid token, or more requests than READER_RATE_LIMIT allows one client.",
                "reqps",
                {"{{reason}}": "sum by (reason) (rate(context8_mcp_refused_total[$__rate_interval]))"},
            ),
            Panel(
                "Open streams",
                "Clients that are sent reports as they change; 256 at most on one reader.",
                "none",
                {"{{instance}}": "context8_mcp_streams"},
                (200, 256),
            ),
            Panel(
                "Reports found, by symbol",
                "What is asked for.",
                "reqps",
                {"{{symbol}}": "topk(10, sum by (symbol) (rate(context8_mcp_cache_hits[$__rate_interval])))"},
                link=SYMBOL_PAGE,
            ),
            Panel(
                "Not found, by symbol",
                "unknown is any symbol of which no report was found before.",
                "reqps",
                {"{{symbol}}": "topk(10, sum by (symbol) (rate(context8_mcp_cache_misses[$__rate_interval])))"},
            ),
            Panel(
                "Errors",
                "Redis that does not answer, reports that are not JSON, requests without an answer.",
                "none",
                {
                    "{{component}} {{type}}": (
                        "sum by (component, type) "
                        '(increase(context8_errors_total{job="context8-reader"}[$__rate_interval]))'
                    )
                },
            ),
        ],
        "Processes": processes("context8-reader"),
    },
)
