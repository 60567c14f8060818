"""The worker's spans, with everything real but Kafka and Redis."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.trace import StatusCode

from agents.intake import Intake
from agents.owned import Owned, PartitionProgress
from agents.reports import Reports
from app.microstructure.engine import EngineParams
from app.stores.base import StoreUnavailableError
from app.stores.memory import MemoryReportStore
from app.traces_worker import WorkerTraces
from support.markets import trade
from support.records import PARTITIONS, Steps, record
from support.spans import PARENT, Spans, attributes, context_of_span


@pytest.fixture
def spans() -> Spans:
    return Spans()


class Worker:
    """The worker's parts around one symbol, with everything real but Kafka and Redis."""

    def __init__(self, spans: Spans) -> None:
        self.owned = Owned()
        self.owned.partitions = {partition: PartitionProgress(position=4) for partition in range(PARTITIONS)}
        self.store = MemoryReportStore(300, now=lambda: 0.0)
        self.told: list[dict[str, Any]] = []
        self.away = False
        traced = WorkerTraces(spans.tracer, self.owned, self._tell)
        self.intake = Intake(self.owned, EngineParams(), PARTITIONS, lambda *_: None, Steps(), traces=traced)
        self.reports = Reports(self.owned, self.store, "node-1", traces=traced)

    async def _tell(self, message: bytes) -> None:
        if self.away:
            raise StoreUnavailableError("Redis is away")
        self.told.append(json.loads(message))

    async def report(self, epoch: int = 1) -> None:
        for symbol in self.owned.symbols.values():
            symbol.epoch = epoch
        await self.reports.run()
        await asyncio.sleep(0)


def traced(event: Any, offset: int, parent: str = PARENT) -> Any:
    return replace(record(event, offset), headers=(("other", b"header"), ("traceparent", parent.encode())))


class TestWorker:
    async def test_an_event_is_traced_into_the_first_report_that_contains_it(self, spans: Spans) -> None:
        worker = Worker(spans)
        worker.intake.take([record(trade(1), 5), traced(trade(2), 6), record(trade(3), 7)])
        assert spans.ended.keys() == {"apply"}, "the trace goes on until the report"
        await worker.report()
        await worker.report()
        assert spans.parents() == {"apply": "process", "process": "?", "report": "process"}
        process = spans.ended["process"]
        assert process.parent is not None
        assert f"{process.parent.trace_id:032x}-{process.parent.span_id:016x}" == PARENT[3:52]
        assert attributes(process)["messaging.kafka.offset"] == 6
        context = context_of_span(spans.ended["report"])
        assert worker.told == [
            {
                "symbol": "BTCUSDT",
                "epoch": 1,
                "offset": 6,
                "traceparent": f"{PARENT[:36]}{context.span_id:016x}-01",
            }
        ]

    async def test_while_the_store_is_away_an_event_waits_for_its_report(
        self, spans: Spans, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def away(_: object) -> list[bool]:
            raise StoreUnavailableError("Redis is away")

        worker = Worker(spans)
        worker.intake.take([traced(trade(1), 5)])
        with monkeypatch.context() as patch:
            patch.setattr(worker.store, "publish", away)
            await worker.report()
        assert "report" not in spans.ended
        await worker.report()
        assert spans.ended["process"].status.status_code is StatusCode.UNSET

    async def test_a_report_that_is_refused_ends_the_trace_with_an_error(self, spans: Spans) -> None:
        worker = Worker(spans)
        worker.intake.take([traced(trade(1), 5)])
        await worker.store.take_epochs({"BTCUSDT": 7})
        await worker.report(epoch=1)
        assert spans.ended["process"].status.description == "refused: a newer writer exists"
        assert worker.told == []

    async def test_what_no_engine_takes_or_has_already_is_no_trace_of_a_report(self, spans: Spans) -> None:
        worker = Worker(spans)
        worker.intake.take([traced(b"{not json", 5)])
        assert spans.ended["process"].status.description == "no engine took it"
        worker.intake.take([record(trade(1), 5)])
        worker.intake.take([traced(trade(1), 5), record(trade(2), 6)])
        await worker.report()
        assert "report" not in spans.ended

    async def test_headers_that_are_no_trace_are_ignored(self, spans: Spans) -> None:
        worker = Worker(spans)
        worker.intake.take([traced(trade(1), 5, parent="nonsense"), traced(trade(2), 6, parent="00-0-0-00")])
        await worker.report()
        assert (spans.ended, worker.owned.symbols["BTCUSDT"].engine.offset) == ({}, 6)

    async def test_a_topic_full_of_headers_fills_no_memory_and_readers_away_disturb_no_cycle(
        self, spans: Spans
    ) -> None:
        worker = Worker(spans)
        worker.away = True
        for offset in range(100):
            worker.intake.take([traced(trade(offset + 1), offset + 5)])
        assert spans.ended["process"].status.description == "no report contains it yet"
        await worker.report()
        assert not worker.reports.store_away
