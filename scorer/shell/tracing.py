"""Spans of gateways' calls: one for each, in the trace that the gateway says; its queue and its runs in R inside.

    POST /v2/models/{model}/versions/{version}/infer
      queue                   until a worker had its first run
      predict                 from then to the answer
        r.predict             one run in one R worker; also in the traces of the other calls that it held

Spans are made when a call is over; until then only times are kept. None holds a row.
"""

from __future__ import annotations

from scorer.core.calls import Call, Key, Run
from shared.traceparent import traceparent_of
from shared.tracing import Span, SpanKind, Tracer, Value, fail

_ROUTE = "/v2/models/{model}/versions/{version}/infer"


class CallTrace:
    """One call's span that has begun; told what becomes of it."""

    def __init__(self, tracing: CallTracing, span: Span) -> None:
        self.trace_id = f"{span.get_span_context().trace_id:032x}"
        self.runs: list[tuple[Run, int | None, float, bool]] = []
        self._tracing = tracing
        self._span = span
        self._call: Call | None = None

    def scores(self, call: Call) -> None:
        """It is read, and goes to the pool. Its runs are kept only where its span is recorded."""
        self._call = call
        if self._span.is_recording():
            self._tracing.open[call] = self

    def answered(self, key: Key, code: str, now: float) -> None:
        """It is over. `key`: empty names where there is no such version."""
        call, tracer = self._call, self._tracing.tracer
        if call is not None:
            self._tracing.open.pop(call, None)
        if self._span.is_recording():
            self._span.set_attributes({"scoregate.model": key[0], "scoregate.version": key[1], "scoregate.code": code})
            if code != "ok":
                fail(self._span, code)
            if call is not None:
                self._span.set_attributes({"scoregate.rows": call.frame.rows, "scoregate.requests": len(call.items)})
                self._stages(call, now)
        tracer.end(self._span, now)

    def _stages(self, call: Call, now: float) -> None:
        tracer = self._tracing.tracer
        if not call.arrived_s:
            return  # refused before it was in the pool
        tracer.whole("queue", call.arrived_s, call.started_s or now, self._span)
        if call.started_s is None:
            return
        predict = tracer.begin("predict", call.started_s, self._span)
        for run, pid, ended_s, answered in self.runs:
            attributes: dict[str, Value] = {
                "scoregate.rows": run.frame.rows,
                "scoregate.requests": run.items,
                "scoregate.calls": len({id(portion.call) for portion in run.portions}),
            }
            if pid is not None:
                attributes["process.pid"] = pid
            span = tracer.begin("r.predict", run.started_s, predict, attributes=attributes)
            if not answered:
                fail(span, "prediction_failed")
            tracer.end(span, ended_s)
        tracer.end(predict, now)


class CallTracing:
    """The observer of one scorer process."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self.open: dict[Call, CallTrace] = {}

    def begins(self, headers: list[tuple[bytes, bytes]], began_s: float) -> CallTrace:
        """A call with a gateway's token is here."""
        parent = traceparent_of(headers)
        attributes: dict[str, Value] = {"http.request.method": "POST", "http.route": _ROUTE}
        return CallTrace(
            self, self.tracer.begin(f"POST {_ROUTE}", began_s, parent, kind=SpanKind.SERVER, attributes=attributes)
        )

    def ran(self, run: Run, pid: int | None, ended_s: float, answered: bool) -> None:
        """A run is over."""
        for call in {id(portion.call): portion.call for portion in run.portions}.values():
            if (trace := self.open.get(call)) is not None:
                trace.runs.append((run, pid, ended_s, answered))
