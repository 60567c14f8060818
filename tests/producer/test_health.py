"""`/health` and `/metrics`."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from app.stack.ports import free_ports
from producer.health import Arrivals, Health, HealthServer, SymbolHealth, assess
from producer.metrics import Metrics
from producer.wire import Kind

GOOD = SymbolHealth(event_age_ms=20, resyncs=1, book_known=True, best_compared=1000, best_equal=999)


def state(**changes: object) -> Health:
    fine: dict[str, object] = {
        "exchange_connected": True,
        "kafka_reachable": True,
        "queue_depth": 3,
        "queue_limit": 100,
        "publish_ms": 12,
        "oldest_waiting_ms": 3,
        "symbols": {"BTCUSDT": GOOD},
        "refused": {"NOSUCH": "is not known to the exchange"},
        "silent_after_ms": 10_000,
    }
    return assess(**(fine | changes))  # type: ignore[arg-type]  # values of several types


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"exchange_connected": False}, "not connected to the exchange"),
        ({"kafka_reachable": False}, "Kafka does not answer"),
        ({"queue_depth": 100}, "queue to Kafka is full"),
        ({"symbols": {"BTCUSDT": replace(GOOD, event_age_ms=10_001)}}, "no event of BTCUSDT for 10001 ms"),
        ({"symbols": {"BTCUSDT": GOOD, "ETHUSDT": replace(GOOD, event_age_ms=None)}}, "no event of ETHUSDT yet"),
        ({"symbols": {"BTCUSDT": replace(GOOD, book_unknown_ms=10_001)}}, "book of BTCUSDT not known for 10001 ms"),
        ({"symbols": {"BTCUSDT": replace(GOOD, ended=["trade"])}}, "stream trade of BTCUSDT has ended"),
    ],
)
def test_each_thing_that_keeps_events_from_flowing_is_a_problem(changes: dict[str, object], problem: str) -> None:
    assert state().problems == []
    assert state(**changes).problems == [problem]


def test_the_share_of_equal_comparisons_is_over_all_symbols() -> None:
    assert state(symbols={"BTCUSDT": GOOD, "ETHUSDT": replace(GOOD, best_equal=0)}).best_equal_ratio == 0.4995
    assert state(symbols={}).best_equal_ratio is None


def test_ages_are_counted_from_the_newest_event() -> None:
    arrivals = Arrivals()
    assert arrivals.ages_ms() == {}
    arrivals.expect(["BTCUSDT", "ETHUSDT"])
    arrivals.note("BTCUSDT")
    ages = arrivals.ages_ms()
    assert ages["ETHUSDT"] is None
    assert ages["BTCUSDT"] is not None
    assert 0 <= ages["BTCUSDT"] < 60_000
    arrivals.forget(["BTCUSDT"])
    arrivals.note("BTCUSDT")
    assert arrivals.ages_ms() == {"ETHUSDT": None}, "a symbol that is gone is not expected any more"


class Served:
    """A running server whose answer can be changed."""

    def __init__(self, port: int) -> None:
        self.metrics = Metrics()
        self.health = state()
        self.server = HealthServer("127.0.0.1", port, lambda: self.health, self.metrics)
        self.url = f"http://127.0.0.1:{port}"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served(*free_ports(1))
    await served.server.start()
    yield served
    await served.server.stop()


async def test_health_answers_200_or_503_with_what_was_checked(served: Served) -> None:
    async with ClientSession(served.url) as session:
        async with session.get("/health") as answer:
            assert answer.status == 200
            body = await answer.json()
            assert body["symbols"] == {
                "BTCUSDT": {
                    "event_age_ms": 20,
                    "resyncs": 1,
                    "book_known": True,
                    "book_unknown_ms": 0,
                    "best_compared": 1000,
                    "best_equal": 999,
                    "ended": [],
                }
            }
            assert body["best_equal_ratio"] == 0.999
        served.health = state(kafka_reachable=False)
        async with session.get("/health") as answer:
            assert answer.status == 503
            assert (await answer.json())["problems"] == ["Kafka does not answer"]


async def test_metrics_are_what_prometheus_reads(served: Served) -> None:
    served.metrics.event("BTCUSDT", Kind.SNAPSHOT)
    served.metrics.resync("BTCUSDT", "gap")
    served.metrics.watch_symbols("best_equal_total", "Equal", lambda: {"BTCUSDT": 5}, counts=True)
    served.metrics.watch_symbols("book_known", "Known", lambda: {"BTCUSDT": 1})
    served.metrics.published(3, 0.007)
    served.metrics.watch("queue_depth", "Events that wait", lambda: 7)
    async with ClientSession(served.url) as session, session.get("/metrics") as answer:
        text = await answer.text()
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    event = ("context8_producer_events_total", ("symbol", "BTCUSDT"), ("type", "order_book_deltas"))
    assert samples[event] == 1
    assert samples["context8_producer_resyncs_total", ("reason", "gap"), ("symbol", "BTCUSDT")] == 1
    assert samples["context8_producer_queue_depth",] == 7
    assert samples["context8_producer_best_equal_total", ("symbol", "BTCUSDT")] == 5
    assert samples["context8_producer_book_known", ("symbol", "BTCUSDT")] == 1
    assert samples["context8_producer_publish_seconds_bucket", ("le", "0.01")] == 1
