"""Ingestion: how fresh the newest event is.

`ok` while the newest event is at most `degraded_after` old, `degraded` beyond, `down` beyond `down_after`.
The age runs on the monotonic clock since the newest event arrived, so a wrong wall clock moves nothing.
"""

from app.microstructure.report import IngestionStatus


def ingestion_status(age_ms: int, degraded_after_ms: int, down_after_ms: int) -> IngestionStatus:
    """Return the status for an age in milliseconds.

    >>> ingestion_status(1000, 1000, 10_000)
    'ok'
    """
    if age_ms > down_after_ms:
        return "down"
    return "degraded" if age_ms > degraded_after_ms else "ok"
