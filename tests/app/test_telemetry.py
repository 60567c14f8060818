import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from app import telemetry

ROOT = Path(telemetry.__file__).parents[1]
SOURCE = "".join(
    path.read_text(encoding="utf-8") for folder in ("app", "agents", "tables") for path in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize(
    ("metric", "pattern"),
    [
        ("context8_errors_total", r'telemetry\.ERRORS\.labels\("(\w+)", "(\w+)"\)'),
        ("context8_dead_letters_total", r'BadEventError\(\s*"(\w+)"'),
        ("context8_slow_cycles_total", r'telemetry\.SLOW_CYCLES\.labels\("(\w+)"\)'),
    ],
)
def test_every_label_that_is_counted_has_a_series_before_it_is(metric: str, pattern: str) -> None:
    """Prometheus cannot see a counter rise that was not there before."""
    used = {found if isinstance(found, tuple) else (found,) for found in re.findall(pattern, SOURCE)}
    assert used
    shown = {
        tuple(sample.labels.values())
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == metric
    }
    assert used - shown == set()


def test_symbols_are_counted_only_through_what_bounds_them() -> None:
    by_symbol = ("EVENTS", "EVENTS_RATE", "STREAM_LAG_MS", "REPORT_AGE_MS", "CALC_LATENCY_MS", "CACHE_WRITES")
    assert re.findall(rf"telemetry\.(?:{'|'.join(by_symbol)})\.labels", SOURCE) == []
