"""The way through Kafka, as producer and workers see it: no exporter of the broker is needed."""

from form import Dashboard, Panel
from parts import quantile

KAFKA = Dashboard(
    "context8-kafka",
    "context8 / Kafka",
    "The way from the producer through Kafka into the workers' tables, as producer and workers see it.",
    {
        "Is all well?": [
            Panel(
                "Kafka answers",
                "As the producer sees it. 0: events wait in its queue.",
                "bool_yes_no",
                {"{{instance}}": "context8_producer_kafka_up"},
                (1, 0.5),
                "stat",
                6,
            ),
            Panel(
                "Queue to Kafka",
                "Share of its limit. At 100 % whole books are dropped and fetched anew later.",
                "percentunit",
                {"{{instance}}": "context8_producer_queue_depth / context8_producer_queue_limit"},
                (0.5, 0.8),
                "stat",
                6,
            ),
            Panel(
                "Oldest event that waits",
                "For Kafka's acknowledgement.",
                "s",
                {"{{instance}}": "context8_producer_oldest_waiting_seconds"},
                (1, 5),
                "stat",
                6,
            ),
            Panel(
                "Backlog",
                "Events that Kafka has and no worker has seen.",
                "none",
                {"": "sum(context8_backlog_events)"},
                (2000, 20000),
                "stat",
                6,
            ),
        ],
        "Into Kafka": [
            Panel(
                "Events acknowledged",
                "A second.",
                "eps",
                {"{{instance}}": "rate(context8_producer_published_total[$__rate_interval])"},
            ),
            Panel(
                "Time to acknowledgement",
                "From an event to Kafka's acknowledgement, the oldest event of each batch.",
                "s",
                {
                    "P50": quantile("0.5", "context8_producer_publish_seconds"),
                    "P99": quantile("0.99", "context8_producer_publish_seconds"),
                },
                (0.2, 1),
            ),
            Panel(
                "Connections begun",
                "Sessions with Kafka, and connections to the exchange that were lost, by reason.",
                "none",
                {
                    "Kafka": "increase(context8_producer_kafka_sessions_total[$__rate_interval])",
                    "exchange: {{reason}}": "increase(context8_producer_connections_lost_total[$__rate_interval])",
                },
            ),
        ],
        "Out of Kafka": [
            Panel(
                "Backlog by worker",
                "Events in its partitions that no engine has seen. It should return to near 0 after each takeover.",
                "none",
                {"{{instance}}": "context8_backlog_events"},
                (2000, 20000),
            ),
            Panel(
                "Events applied and skipped",
                "Skipped ones were in a snapshot already: they are read again after a takeover.",
                "eps",
                {
                    "applied {{type}}": "sum by (type) (rate(context8_events_total[$__rate_interval]))",
                    "skipped": "sum(rate(context8_duplicate_events_total[$__rate_interval]))",
                },
            ),
            Panel(
                "Dead letters",
                "Unusable messages, by reason. They are in the topic nt.binance.dlq.",
                "none",
                {"{{reason}}": "sum by (reason) (increase(context8_dead_letters_total[$__rate_interval]))"},
            ),
        ],
        "Tables": [
            Panel(
                "Changelog",
                "Bytes a second that workers write to the changelog of their snapshots.",
                "Bps",
                {"{{instance}}": "rate(context8_changelog_bytes_total[$__rate_interval])"},
            ),
            Panel(
                "Size of a snapshot, P99",
                "What one snapshot of one symbol writes. Over 1 MB brokers refuse it by default.",
                "bytes",
                {"{{instance}}": quantile("0.99", "context8_snapshot_bytes", "instance, le")},
                (250_000, 1_000_000),
            ),
            Panel(
                "Takeovers",
                "P99 of the time to bring all engines in line with an assignment, and symbols restored from the table.",
                "s",
                {"P99 {{instance}}": quantile("0.99", "context8_restore_seconds", "instance, le")},
                (0.25, 1),
            ),
            Panel(
                "Symbols restored",
                "From snapshots, at takeovers.",
                "none",
                {"{{instance}}": "increase(context8_restored_symbols_total[$__rate_interval])"},
                width=12,
            ),
            Panel(
                "Rebalances",
                "Changes of who owns which partition.",
                "none",
                {"{{instance}}": "increase(nt_hrw_rebalances_total[$__rate_interval])"},
                width=12,
            ),
        ],
    },
)
