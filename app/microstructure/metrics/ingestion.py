"""Ingestion: how fresh the newest event is.

`ok` while the newest event is at most `degraded_after` old, `degraded` beyond, `down` beyond `down_after`.
The age runs on the monotonic clock since the newest event arrived, so a wrong wall clock moves nothing.
"""

from app.microstructure.report import Ingestion, IngestionStatus


def ingestion(age_ms: int, degraded_after_ms: int, down_after_ms: int) -> Ingestion:
    """Return the ingestion section for an age in milliseconds.

    >>> ingestion(1000, 1000, 10_000).status
    'ok'
    """
    status: IngestionStatus = "ok"
    if age_ms > down_after_ms:
        status = "down"
    elif age_ms > degraded_after_ms:
        status = "degraded"
    return Ingestion(status=status, last_event_age_ms=age_ms)
