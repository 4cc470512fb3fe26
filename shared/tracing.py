"""OpenTelemetry's SDK as both services use it: spans with given times, sent by OTLP over HTTP from a thread of its own.

Imported only where the settings name a collector, so that the extra `otel` need not be installed. Nothing here waits for the
collector: at most `_QUEUE` ended spans are kept for it, and the oldest go when it is away. No global of the SDK is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from shared.traceparent import Traceparent
from shared.tracing_settings import Sampling

__all__ = ["Span", "SpanContext", "SpanKind", "Tracer", "fail", "header_of", "otlp", "sampler"]
Value = str | int | float | bool
_QUEUE = 8192
_BATCH = 512
_EVERY_S = 1.0
_EXPORT_S = 5.0
#: The longest wait at the end for what has not been sent.
FLUSH_S = 2.0
#: A step of the wall clock, beyond which spans follow it.
_STEP_S = 0.01


def sampler(name: Sampling, ratio: float) -> Sampler:
    """OpenTelemetry's samplers under the names that `OTEL_TRACES_SAMPLER` has for them."""
    match name:
        case "always_on":
            return ALWAYS_ON
        case "always_off":
            return ALWAYS_OFF
        case "traceidratio":
            return TraceIdRatioBased(ratio)
        case "parentbased_always_on":
            return DEFAULT_ON
        case "parentbased_always_off":
            return DEFAULT_OFF
        case "parentbased_traceidratio":
            return ParentBasedTraceIdRatio(ratio)


def otlp(endpoint: str, certificate: str | None) -> OTLPSpanExporter:
    """Sends to `{endpoint}/v1/traces`. The SDK adds `OTEL_EXPORTER_OTLP_HEADERS` by itself; no argument keeps it from that."""
    return OTLPSpanExporter(
        endpoint.rstrip("/") + "/v1/traces",
        certificate_file=certificate,
        headers={},
        timeout=_EXPORT_S,
        compression=Compression.NoCompression,
    )


class Tracer:
    """One process' spans. `start` and `close` once each; spans may be made before, and are then not sent."""

    def __init__(self, service: str, rule: Sampler, exporter: SpanExporter) -> None:
        instance = f"{socket.gethostname()}-{os.getpid()}"
        resource = Resource({"service.name": service, "service.instance.id": instance})
        self._provider = TracerProvider(rule, resource, shutdown_on_exit=False)
        self._tracer = self._provider.get_tracer("scoregate")
        self._exporter = exporter
        self._offset_s = time.time() - time.monotonic()

    def start(self) -> None:
        """From now on what ends is sent. Starts a thread, so not before the process is the one that serves."""
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=_QUEUE,
                schedule_delay_millis=_EVERY_S * 1000,
                max_export_batch_size=_BATCH,
                export_timeout_millis=_EXPORT_S * 1000,
            )
        )

    async def close(self) -> None:
        """Send what is left, for at most `FLUSH_S`; the SDK itself would wait half a minute for a collector that is away."""
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def flush() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # nobody waits any more: the loop is closed
                loop.call_soon_threadsafe(sent.set)

        threading.Thread(target=flush, name="flush-traces", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(sent.wait(), FLUSH_S)

    def begin(
        self,
        name: str,
        began_s: float,
        parent: Span | SpanContext | Traceparent | None = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        links: Sequence[SpanContext] = (),
        attributes: Mapping[str, Value] | None = None,
    ) -> Span:
        """A span that began at `began_s` (monotonic, seconds); without a parent, a trace of its own."""
        now_s = time.time() - time.monotonic()
        if abs(now_s - self._offset_s) > _STEP_S:
            self._offset_s = now_s
        return self._tracer.start_span(
            name,
            _context(parent),
            kind,
            attributes,
            [Link(context) for context in links],
            self._ns(began_s),
        )

    def end(self, span: Span, ended_s: float) -> None:
        """It ended then (monotonic, seconds)."""
        span.end(self._ns(ended_s))

    def whole(
        self,
        name: str,
        began_s: float,
        ended_s: float,
        parent: Span,
        attributes: Mapping[str, Value] | None = None,
    ) -> Span:
        """A span that is over."""
        span = self.begin(name, began_s, parent, attributes=attributes)
        self.end(span, ended_s)
        return span

    def _ns(self, monotonic_s: float) -> int:
        return int((monotonic_s + self._offset_s) * 1e9)


def header_of(span: Span) -> str:
    """Its `traceparent`."""
    context = span.get_span_context()
    return Traceparent(context.trace_id, context.span_id, context.trace_flags.sampled).header()


def fail(span: Span, code: str) -> None:
    """What it stands for failed, by our own code."""
    span.set_status(Status(StatusCode.ERROR, code))


def _context(parent: Span | SpanContext | Traceparent | None) -> Context:
    if parent is None:
        return Context()
    if isinstance(parent, Traceparent):
        flags = TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT)
        parent = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=flags)
    span = NonRecordingSpan(parent) if isinstance(parent, SpanContext) else parent
    return set_span_in_context(span, Context())
