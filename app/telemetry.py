"""Prometheus metrics of a worker, under the names that dashboards and alerts depend on.

Symbol labels come only from events that passed the contract's checks, and are had through `SERIES`, which bounds them
(app/symbol_series.py). All other label values are listed here: each has a series from the start, at 0, since Prometheus
cannot see a counter rise that was not there before. What they mean is in docs/runbooks/monitoring.md.
"""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from app.security.redis_trouble import KINDS
from app.symbol_series import SymbolSeries

SERIES: Final = SymbolSeries()

EVENTS = Counter("context8_events", "Market events applied", ["symbol", "type"])
EVENTS_RATE = Gauge("context8_events_rate", "Market events a second, over the last 2 s", ["symbol", "type"])
STREAM_LAG_MS = Gauge(
    "context8_stream_lag_ms", "Wall clock minus newest event time at the scrape, at least 0", ["symbol"]
)
REPORT_AGE_MS = Gauge(
    "context8_report_age_ms", "Time at the scrape since the symbol's last written report, or since it came", ["symbol"]
)
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
REFUSED = Counter("context8_refused_events", "Events whose names are no symbols of ours, by reason", ["reason"])
FORGOTTEN = Counter("context8_forgotten_symbols", "Symbols that were given up because nothing came of them any more")
PROBLEMS = Gauge("context8_problems", "1 while /health names a problem of this kind", ["kind"])
BACKLOG = Gauge("context8_backlog_events", "Events in the worker's partitions that no engine has seen yet")
DUPLICATES = Counter("context8_duplicate_events", "Events at or below a snapshot's offset, skipped")
REPEATED = Counter(
    "context8_repeated_events",
    "Trades and book updates that came under new offsets and were known by their ids",
    ["symbol"],
)
IDS_BEGAN_AGAIN = Counter("context8_ids_began_again", "Times that trade ids began again at small ones", ["symbol"])
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

_ERRORS: Final = (
    ("changelog", "follow"),
    ("changelog", "offset_out_of_range"),
    ("changelog", "other_log"),
    ("changelog", "read_again"),
    ("changelog", "unreadable"),
    ("checkpoint", "coverage"),
    ("checkpoint", "hand_over_timeout"),
    ("checkpoint", "snapshot"),
    ("database", "rebuilt"),
    ("dead_letters", "lost"),
    ("dead_letters", "not_sent"),
    ("events", "forbidden"),
    ("intake", "log_went_back"),
    ("intake", "not_next"),
    ("intake", "offsets_missing"),
    ("intake", "out_of_step"),
    ("ownership", "bad_snapshot"),
    ("ownership", "clock_ahead"),
    ("ownership", "epoch_not_recorded"),
    ("ownership", "events_expired"),
    ("ownership", "other_log"),
    ("ownership", "state_lost"),
    ("ownership", "state_unreadable"),
    ("report", "calculation"),
    ("report", "slow"),
    ("store", "epoch_exhausted"),
    ("store", "epoch_high"),
    *(("store", kind) for kind in KINDS),
    ("worker", "cycle"),
    ("worker", "leave_on_death"),
    ("worker", "topic_changed"),
)
_DEAD_LETTER_REASONS: Final = (
    "damaged_batch",
    "empty",
    "engine_error",
    "invalid",
    "key_mismatch",
    "malformed_json",
    "oversized",
    "oversized_batch",
    "symbol_not_allowed",
    "time_ahead",
    "too_many_symbols",
    "wrong_partition",
)

for _labels in _ERRORS:
    ERRORS.labels(*_labels)
for _reason in _DEAD_LETTER_REASONS:
    DEAD_LETTERS.labels(_reason)
for _reason in ("symbol_not_allowed", "too_many_symbols"):
    REFUSED.labels(_reason)
for _outcome in ("done", "skipped", "failed"):
    SLOW_CYCLES.labels(_outcome)
