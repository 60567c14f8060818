"""OpenTelemetry, as far as it is used here: a tracer that exports over HTTP, and trace contexts as text.

Nothing is registered globally: other libraries (the MCP SDK is one) would begin to make spans of their own, for every
call. Spans leave in a thread of their own; a collector that is away costs log lines and spans, and at most two
seconds at the end of the process.
"""

from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import INVALID_SPAN, Span, Tracer, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app import __version__
from app.settings import Settings
from app.traces import HEADER

_EXPORT_LIMIT_SEC: Final = 2.0

_propagator: Final = TraceContextTextMapPropagator()


def tracer(component: str, config: Settings) -> Tracer:
    """Return a tracer whose spans go to the collector in `config`; what is sampled is for the caller to decide.

    OTEL_RESOURCE_ATTRIBUTES, OTEL_EXPORTER_OTLP_HEADERS, OTEL_BSP_… and the like mean what they always do.
    """
    resource = Resource.create(
        {
            "service.namespace": "context8",
            "service.name": f"context8-{component}",
            "service.version": __version__,
            "service.instance.id": config.node_id,
        }
    )
    endpoint = f"{(config.otel_exporter_otlp_endpoint or '').rstrip('/')}/v1/traces"
    provider = TracerProvider(sampler=ALWAYS_ON, resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=_EXPORT_LIMIT_SEC)))
    return provider.get_tracer("context8", __version__)


def traceparent_of(span: Span) -> str:
    """Return what a process further on needs to continue the trace below `span`."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, set_span_in_context(span))
    return carrier.get(HEADER, "")


def context_of(traceparent: str) -> Context | None:
    """Return the context that another process sent, `None` if the text is none."""
    context = _propagator.extract({HEADER: traceparent}, Context())
    return None if get_current_span(context) is INVALID_SPAN else context
