"""One trace leads from the exchange's message to the answer, through real processes to a real collector's protocol."""

from pathlib import Path

import pytest

from app.microstructure.events import decode
from support.collector import Span, collecting
from support.roles import SYMBOLS, running
from support.workers import PARTITIONS, Deployment, eventually

pytestmark = pytest.mark.stack

SERVICES = ("context8-producer", "context8-worker", "context8-reader")
PARENTS = {
    "produce": "",
    "publish": "produce",
    "process": "publish",
    "apply": "process",
    "report": "process",
    "answer": "report",
}


async def test_a_trace_has_spans_of_producer_worker_and_reader(
    kafka: str, redis_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    deployment = Deployment(kafka, redis_url, topic_prefix, tmp_path)
    async with collecting() as collector:
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "TRACES_PER_SEC": "10",
            "NO_PROXY": "127.0.0.1",
        }
        async with running(deployment, env) as roles:

            async def answered() -> list[Span] | None:
                for symbol in SYMBOLS:
                    await roles.report(symbol)
                return collector.with_services(*SERVICES)

            trace = await eventually(answered, "a trace of all three")
            codes = roles.end()
            assert codes == dict.fromkeys(codes, 0)
    trace = collector.traces[trace[0].trace_id]
    spans = {span.name: span for span in trace}
    names = {span.span_id: span.name for span in trace} | {"": ""}
    assert {span.name: names[span.parent_id] for span in trace} == PARENTS
    # One clock on this host: what follows can only begin later, in this order.
    began = [spans[name].began for name in PARENTS]
    assert began[0] <= began[1] <= began[2] == began[3]
    assert spans["process"].began < spans["report"].ended == spans["process"].ended
    assert all(span.began <= span.ended for span in trace)
    of_symbol = {span.attributes["context8.symbol"] for span in trace if "context8.symbol" in span.attributes}
    assert len(of_symbol) == 1
    offset = spans["process"].attributes["messaging.kafka.offset"]
    assert spans["publish"].attributes["messaging.kafka.offset"] == offset
    assert spans["answer"].attributes["messaging.kafka.offset"] >= offset  # type: ignore[operator]  # numbers

    records = await deployment.read_topic(deployment.settings.events_topic, PARTITIONS)
    marked = [record for record in records if record.headers]
    assert 0 < len(marked) < len(records) / 5, "a few events only"
    assert {name for record in marked for name, _ in record.headers} == {"traceparent"}
    (event,) = [each for each in marked if each.headers[0][1].decode()[3:35] == trace[0].trace_id]
    assert (event.offset, decode(event.value, event.key).symbol) == (offset, of_symbol.pop())
