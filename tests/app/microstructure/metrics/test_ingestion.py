import pytest

from app.microstructure.metrics.ingestion import ingestion_status


@pytest.mark.parametrize(
    ("age_ms", "status"),
    [(0, "ok"), (1000, "ok"), (1001, "degraded"), (10_000, "degraded"), (10_001, "down"), (10**9, "down")],
)
def test_the_status_changes_just_beyond_each_threshold(age_ms: int, status: str) -> None:
    assert ingestion_status(age_ms, 1000, 10_000) == status
