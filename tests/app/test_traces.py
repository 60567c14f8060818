"""When traces are made at all, and the spans of producer and reader; they are kept in memory."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry.trace import NoOpTracerProvider

from agents.owned import Owned
from app import traces
from app.settings import SettingsError, load
from app.stores.memory import MemoryReportStore
from app.traces_otel import context_of
from app.traces_producer import ProducerTraces
from app.traces_reader import ReaderTraces
from support.spans import PARENT, Spans, attributes, context_of_span

EVENT = (
    b'{"symbol":"BTCUSDT","venue":"BINANCE","type":"trade_tick","ts_event":"2026-11-22T08:00:00Z",'
    b'"ts_init":"2026-11-22T08:00:00.025Z","payload":{}}'
)


@pytest.fixture
def spans() -> Spans:
    return Spans()


class TestProducer:
    def test_an_event_is_traced_from_its_receipt_to_the_acknowledgement(self, spans: Spans) -> None:
        sending = ProducerTraces(spans.tracer, "nt.binance", 1).begin(EVENT)
        assert sending is not None
        assert spans.ended == {}, "nothing is told of what Kafka may never have"
        sending.acknowledged(3, 17)
        produce, publish = spans.ended["produce"], spans.ended["publish"]
        assert attributes(produce) == {
            "context8.symbol": "BTCUSDT",
            "context8.event_type": "trade_tick",
            "context8.exchange_lag_ms": 25.0,
        }
        assert attributes(publish)["messaging.kafka.offset"] == 17
        assert attributes(publish)["messaging.destination.partition.id"] == "3"
        assert spans.parents() == {"publish": "produce"}
        assert produce.start_time is not None
        assert publish.start_time is not None
        assert produce.start_time <= publish.start_time
        assert produce.end_time == publish.end_time
        ((name, value),) = sending.headers
        context = context_of_span(publish)
        assert (name, value.decode()[:-2]) == ("traceparent", f"00-{context.trace_id:032x}-{context.span_id:016x}-")

    def test_where_the_sdk_is_disabled_an_event_goes_without_a_header(self) -> None:
        sending = ProducerTraces(NoOpTracerProvider().get_tracer("test"), "nt.binance", 1).begin(EVENT)
        assert sending is not None
        assert sending.headers == []

    def test_at_most_a_few_events_a_second_are_traced(self, spans: Spans) -> None:
        clock = [0.0]
        chooser = ProducerTraces(spans.tracer, "nt.binance", 4, lambda: clock[0])
        chosen = 0
        for step in range(100_000):
            clock[0] = step / 10_000
            chosen += chooser.begin(EVENT) is not None
        assert 26 <= chosen <= 80  # 40 in ten seconds, pauses drawn between half and one and a half


class Words:
    """What workers say, one message after the other."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    async def __call__(self) -> AsyncIterator[bytes]:
        while True:
            yield await self.queue.get()
            self.queue.task_done()


def report(epoch: int, offset: int) -> dict[str, Any]:
    return {"writer": {"writerToken": epoch}, "provenance": {"offset": offset}, "data_age_ms": 40}


async def test_a_reader_traces_the_first_answer_that_carries_the_event(spans: Spans) -> None:
    words = Words()
    reader = ReaderTraces(spans.tracer, words)
    reader.start()
    for message in (
        b"nonsense",
        b"[" * 2000,
        b'{"symbol":"\xff"}',
        b'{"symbol":"BTCUSDT","epoch":2,"offset":6,"traceparent":"%b"}' % PARENT.encode(),
    ):
        words.queue.put_nowait(message)
    await words.queue.join()
    for answer in (report(2, 5), report(1, 9), {"neither": None}):
        reader.answered("BTCUSDT", answer, 1)
    reader.answered("ETHUSDT", report(2, 6), 1)
    assert spans.ended == {}, "older, of an older writer, no report, another symbol"
    reader.answered("BTCUSDT", report(2, 6), 1)
    reader.answered("BTCUSDT", report(2, 7), 2)
    await reader.close()
    span = spans.ended["answer"]
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", span.start_time) == (PARENT[3:35], 1)
    assert attributes(span) == {
        "context8.symbol": "BTCUSDT",
        "context8.epoch": 2,
        "context8.data_age_ms": 40,
        "messaging.kafka.offset": 6,
    }


def test_a_context_that_is_none_is_told_apart() -> None:
    assert context_of(PARENT) is not None
    assert context_of("00-00000000000000000000000000000000-b7ad6b7169203331-01") is None


def test_traces_are_off_unless_a_collector_is_named() -> None:
    config = load({}, env_file=None)
    owned, store = Owned(), MemoryReportStore(300, now=lambda: 0.0)
    assert traces.for_producer(config) is None
    assert traces.for_worker(config, owned, store.read) is None  # type: ignore[arg-type]  # never called
    assert traces.for_reader(config, Words()) is None
    traces.require(config)


@pytest.mark.parametrize(
    "setting", [{"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, {"TRACES_PER_SEC": "0"}, {"TRACES_PER_SEC": "100"}]
)
def test_a_setting_that_is_not_allowed_is_refused(setting: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=f"{next(iter(setting))}=.* is not allowed"):
        load(setting, env_file=None)


WITHOUT_PACKAGES = """
import sys
sys.modules["opentelemetry.sdk"] = None
from app.cli import main
sys.exit(main([{role!r}]))
"""


@pytest.mark.parametrize("role", ["producer", "worker", "reader"])
def test_traces_without_their_packages_are_refused_in_one_line(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    program = WITHOUT_PACKAGES.format(role=role)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 is not allowed: traces need packages" in done.stderr
    assert "pip install 'context8[traces]'" in done.stderr


def test_nothing_that_makes_or_sends_spans_is_imported_while_traces_are_off() -> None:
    # redis-py imports what it can find of OpenTelemetry's metrics by itself.
    makes = "('opentelemetry.sdk.trace', 'opentelemetry.exporter', 'app.traces_')"
    program = (
        "import sys, app.main, producer.node, report_server.serve; "
        f"print([name for name in sys.modules if name.startswith({makes})])"
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
