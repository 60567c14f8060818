from prometheus_client.parser import text_string_to_metric_families

from producer.metrics import Metrics
from producer.wire import Kind


def shown(metrics: Metrics) -> dict[tuple[str, str], float]:
    """The samples that have a symbol, by name and symbol, summed over the other labels."""
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            if "symbol" in sample.labels and not sample.name.endswith("_created"):
                key = sample.name, sample.labels["symbol"]
                found[key] = found.get(key, 0) + sample.value
    return found


def test_what_is_lost_has_a_series_before_anything_is() -> None:
    metrics = Metrics()
    metrics.event("BTCUSDT", Kind.TRADE)
    assert shown(metrics) == {
        ("context8_producer_events_total", "BTCUSDT"): 1,
        ("context8_producer_dropped_total", "BTCUSDT"): 0,
        ("context8_producer_snapshot_failures_total", "BTCUSDT"): 0,
        ("context8_producer_trades_missed_total", "BTCUSDT"): 0,
        ("context8_producer_streams_ended_total", "BTCUSDT"): 0,
        ("context8_producer_ids_began_again_total", "BTCUSDT"): 0,
    }


def test_symbols_that_are_not_subscribed_to_any_more_are_not_shown() -> None:
    metrics, wanted = Metrics(), ["BTCUSDT", "LEFTUSDT"]
    metrics.show_only(lambda: wanted)
    for symbol in wanted:
        metrics.event(symbol, Kind.DEPTH)
        metrics.resync(symbol, "gap")
        metrics.dropped(symbol, Kind.DEPTH)
    assert {symbol for _, symbol in shown(metrics)} == {"BTCUSDT", "LEFTUSDT"}
    wanted.remove("LEFTUSDT")
    # The last of it may come after it left.
    metrics.resync("LEFTUSDT", "disconnect")
    assert {symbol for _, symbol in shown(metrics)} == {"BTCUSDT"}
    assert metrics.resyncs("LEFTUSDT") == 2
