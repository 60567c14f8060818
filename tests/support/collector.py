"""An OpenTelemetry collector for tests: takes spans over OTLP/HTTP and keeps them."""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from support.serving import serving


class Span(NamedTuple):
    """One span as it was sent; times in Unix nanoseconds, ids in hexadecimal, '' for no parent."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    began: int
    ended: int
    attributes: dict[str, str | int | float]


class Collector:
    """Spans by trace; `url` is what OTEL_EXPORTER_OTLP_ENDPOINT takes."""

    def __init__(self) -> None:
        self.url = ""
        self.traces: dict[str, list[Span]] = defaultdict(list)

    def with_services(self, *services: str) -> list[Span] | None:
        """Return the spans of a trace that has some of each of these services, `None` while there is none."""
        whole = (spans for spans in self.traces.values() if {span.service for span in spans} == set(services))
        return next(whole, None)

    async def take(self, request: web.Request) -> web.Response:
        """Answer `POST /v1/traces`."""
        sent = ExportTraceServiceRequest.FromString(await request.read())
        for resource in sent.resource_spans:
            service = {each.key: each.value.string_value for each in resource.resource.attributes}["service.name"]
            for span in [span for scope in resource.scope_spans for span in scope.spans]:
                self.traces[span.trace_id.hex()].append(
                    Span(
                        service,
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        {each.key: _plain(each.value) for each in span.attributes},
                    )
                )
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )


def _plain(value: AnyValue) -> str | int | float:
    kind = value.WhichOneof("value")
    assert kind in ("string_value", "int_value", "double_value"), kind
    plain: str | int | float = getattr(value, kind)
    return plain


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Run a collector on a free port."""
    collector = Collector()
    async with serving(web.post("/v1/traces", collector.take)) as address:
        collector.url = f"http://{address}"
        yield collector
