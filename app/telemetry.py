"""Prometheus metrics of a worker, under the names that dashboards and alerts depend on.

Symbol labels come only from events that passed the contract's checks.
"""

from prometheus_client import Counter, Gauge, Histogram

EVENTS = Counter("context8_events", "Market events applied", ["symbol", "type"])
EVENTS_RATE = Gauge("context8_events_rate", "Market events a second over the last reporting cycles", ["symbol", "type"])
STREAM_LAG_MS = Gauge("context8_stream_lag_ms", "Wall clock minus newest event time, at least 0", ["symbol"])
REPORT_AGE_MS = Gauge("context8_report_age_ms", "Time since the symbol's last written report", ["symbol"])
CALC_LATENCY_MS = Histogram(
    "context8_calc_latency_ms",
    "Time to compute and encode one report",
    ["symbol", "metric"],
    buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 500),
)
ERRORS = Counter("context8_errors", "Errors by component and kind", ["component", "type"])
CACHE_WRITES = Gauge("context8_cache_writes", "Reports offered to Redis since start", ["symbol", "status"])
PUBLISH_SECONDS = Histogram(
    "context8_publish_seconds",
    "Time to write one cycle's reports to Redis",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5),
)
SLOW_CYCLES = Counter("context8_slow_cycles", "Slow cycles by outcome: done, skipped or failed", ["outcome"])
HEARTBEAT = Gauge("nt_node_heartbeat", "Unix time of the worker's last reporting cycle")
SYMBOLS_ASSIGNED = Gauge("nt_symbols_assigned", "Symbols that this worker owns")
LEASE_CONFLICTS = Counter("nt_lease_conflicts", "Publishes refused because a newer writer epoch exists")
REBALANCES = Counter("nt_hrw_rebalances", "Partition rebalances that this worker took part in")
DEAD_LETTERS = Counter("context8_dead_letters", "Unusable messages sent to the dead-letter topic", ["reason"])
DUPLICATES = Counter("context8_duplicate_events", "Events at or below a snapshot's offset, skipped")
SNAPSHOT_BYTES = Histogram(
    "context8_snapshot_bytes",
    "What one snapshot of a symbol writes to the changelog",
    buckets=[2**power for power in range(10, 21)],
)
CHANGELOG_BYTES = Counter("context8_changelog_bytes", "Bytes of keys' values written to the snapshot changelog")
RESTORE_SECONDS = Histogram(
    "context8_restore_seconds",
    "Time to bring all engines in line with an assignment, from the local table",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
RESTORED_SYMBOLS = Counter("context8_restored_symbols", "Symbols restored from snapshots")
