"""Spans of scoring requests: one for each, its stages inside; one for each batch, linked to the requests that are in it.

    POST /v1/models/{model}/score          the request; in the caller's trace if it sent a `traceparent`
      authenticate, admit, …, wait, write  made from the stage clock once the request is over
      hop                                  away at a scorer; with what the scorer told of it, `queue` and `predict`
        infer                              the batch: under the first request's hop, linked to all; goes on in the scorer

A caller's context counts only once its token does: what is refused with 401 is a trace of its own, so nobody without a token
decides what is recorded. No span names a caller, and none holds a row.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.core.stages import Clock, MarkedClock
from gateway.core.tracing import Scope, Trace
from shared.errors import ScoregateError
from shared.traceparent import Traceparent, traceparent_of
from shared.tracing import Span, SpanContext, SpanKind, Tracer, Value, fail, header_of


@dataclass(slots=True, eq=False)
class RequestTrace:
    """One request's spans that have begun."""

    span: Span
    version: str | None = None
    rows: int | None = None
    hop: Span | None = None


class RequestTracing:
    """`gateway.core.tracing.Tracing`, by OpenTelemetry."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer

    def begins(self, scope: Scope, clock: Clock) -> None:
        """As Tracing says."""
        self._begin(scope, clock, traceparent_of(scope["headers"]))

    def waits(self, scope: Scope, version: str, rows: int) -> Trace | None:
        """As Tracing says."""
        trace: RequestTrace = scope["state"]["trace"]
        trace.version, trace.rows = version, rows
        return trace

    @contextmanager
    def leaves(
        self, model: str, version: str, rows: int, traces: Sequence[Trace | None], left_s: float
    ) -> Iterator[str | None]:
        """As Tracing says. The batch is recorded if one of its requests is."""
        ours = [trace for trace in traces if isinstance(trace, RequestTrace)]
        for trace in ours:
            if trace.hop is None:
                trace.hop = self.tracer.begin("hop", left_s, trace.span)
        first = next((trace for trace in ours if trace.span.is_recording()), ours[0] if ours else None)
        links: list[SpanContext] = [trace.span.get_span_context() for trace in ours] if len(ours) > 1 else []
        attributes: dict[str, Value] = {
            "scoregate.model": model,
            "scoregate.version": version,
            "scoregate.rows": rows,
            "scoregate.requests": len(traces),
        }
        span = self.tracer.begin(
            "infer",
            time.monotonic(),
            first.hop if first is not None else None,
            kind=SpanKind.CLIENT,
            links=links,
            attributes=attributes,
        )
        if links:
            for trace in ours:
                if trace.hop is not None:
                    trace.hop.add_link(span.get_span_context())
        try:
            yield header_of(span)
        except ScoregateError as error:
            fail(span, error.reason)
            raise
        except BaseException as error:
            fail(span, type(error).__name__)
            raise
        finally:
            self.tracer.end(span, time.monotonic())

    def answered(self, scope: Scope, clock: Clock, model: str, status: int, code: str) -> None:
        """As Tracing says."""
        trace: RequestTrace = scope["state"].get("trace") or self._begin(scope, clock, None)
        span = trace.span
        if span.is_recording():
            span.set_attributes({
                "http.request.method": scope["method"],
                "http.route": _route(scope),
                "http.response.status_code": status,
                "scoregate.model": model,
                "scoregate.code": code,
            })  # fmt: skip
            if trace.version is not None and trace.rows is not None:
                span.set_attributes({"scoregate.version": trace.version, "scoregate.rows": trace.rows})
            if status >= 500:
                fail(span, code)
            if isinstance(clock, MarkedClock):
                self._stages(trace, clock)
        self.tracer.end(span, clock.began_s + clock.total_s)

    def _begin(self, scope: Scope, clock: Clock, parent: Traceparent | None) -> RequestTrace:
        span = self.tracer.begin(f"{scope['method']} {_route(scope)}", clock.began_s, parent, kind=SpanKind.SERVER)
        trace = scope["state"]["trace"] = RequestTrace(span)
        scope["state"]["trace_id"] = f"{span.get_span_context().trace_id:032x}"
        return trace

    def _stages(self, trace: RequestTrace, clock: MarkedClock) -> None:
        """The clock's stages. Where in the hop the scorer's times were it does not know: in the middle, the ways being alike."""
        for stage, began_s, ended_s in clock.marks:
            if stage != "hop":
                self.tracer.whole(stage, began_s, ended_s, trace.span)
                continue
            hop = trace.hop or self.tracer.begin("hop", began_s, trace.span)
            queue_s, predict_s = clock.spent_s.get("queue", 0.0), clock.spent_s.get("predict", 0.0)
            at_s = began_s + max(0.0, ended_s - began_s - queue_s - predict_s) / 2
            self.tracer.whole("queue", at_s, at_s + queue_s, hop)
            self.tracer.whole("predict", at_s + queue_s, at_s + queue_s + predict_s, hop)
            self.tracer.end(hop, ended_s)


def _route(scope: Scope) -> str:
    """The path's template, from its parts: names of models and versions are attributes."""
    version = "/versions/{version}" if "version" in scope["path_params"] else ""
    interface, verb = ("v2", "infer") if scope["path"].startswith("/v2") else ("v1", "score")
    return f"/{interface}/models/{{model}}{version}/{verb}"
