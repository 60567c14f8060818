"""Reports without the ages that a reader brings up to the moment of its answer."""

import json
from typing import Any


def without_ages(report: bytes | str | dict[str, Any] | None) -> dict[str, Any]:
    """Return a report as JSON values, without the two fields that differ from one answer to the next."""
    content: dict[str, Any] = json.loads(report) if isinstance(report, bytes | str) else dict(report or {})
    content.pop("data_age_ms")
    content["ingestion"] = {key: value for key, value in content["ingestion"].items() if key != "last_event_age_ms"}
    return content
