"""Traces, with the SDK's in-memory exporter: what spans are made of a request's clock, who is whose parent, what is linked."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Sequence

import msgspec
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from client.trace import trace_headers
from devkit.state import ROOT
from gateway.app import request_tracing
from gateway.core.stages import MarkedClock, Trip
from gateway.settings import GatewaySettings
from gateway.shell.tracing import RequestTracing
from scorer.core.calls import Call, Portion, Run
from scorer.shell.tracing import CallTracing
from shared.errors import OverloadedError
from shared.settings import SettingsError, read
from shared.stages import Times
from shared.traceparent import Traceparent, parse_traceparent
from shared.tracing import Tracer, sampler
from shared.tracing_settings import Sampling
from shared.wire import Frame

THEIRS = Traceparent(0xABC, 0xDEF, True)

REQUIRED = {
    "GATEWAY_SCORER_URLS": "http://127.0.0.1:1",
    "GATEWAY_INTERNAL_KEY_FILE": "key.pem",
    "GATEWAY_POLICY_FILE": "policy.yaml",
    "GATEWAY_TENANTS": "t",
    "GATEWAY_AUDIENCES": "a",
}


class Traced:
    """A tracer whose spans can be looked at."""

    def __init__(self, rule: Sampling = "parentbased_always_on", ratio: float = 1.0) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracer = Tracer("test", sampler(rule, ratio), self._exporter)
        self.tracer.start()

    async def spans(self) -> Sequence[ReadableSpan]:
        """All that have ended."""
        await self.tracer.close()
        return self._exporter.get_finished_spans()


def scope(*headers: tuple[bytes, bytes], version: str | None = None) -> dict[str, object]:
    params = {"model": "m"} | ({"version": version} if version else {})
    path = "/v1/models/m/score"
    return {"method": "POST", "path": path, "path_params": params, "headers": list(headers), "state": {}}


def carrying(theirs: Traceparent) -> tuple[bytes, bytes]:
    return b"traceparent", theirs.header().encode()


def name_of(span: ReadableSpan) -> str:
    return span.name


def scored(tracing: RequestTracing, *headers: tuple[bytes, bytes], batch: int = 1) -> list[str | None]:
    """So many requests that left together, at second 3 of their clocks, and were back at 7; what was sent with the batch."""
    clocks, scopes, traces, sent = [], [], [], []
    for _ in range(batch):
        clock, one = MarkedClock(1.0), scope(*headers)
        tracing.begins(one, clock)
        clock.enter("admit", 1.5)
        clock.enter("wait", 2.0)
        traces.append(tracing.waits(one, "1", 5))
        clocks.append(clock)
        scopes.append(one)
    with tracing.leaves("m", "1", 5 * batch, traces, 3.0) as traceparent:
        sent.append(traceparent)
    for clock, one in zip(clocks, scopes, strict=True):
        clock.scored(Trip(3.0, 7.0, Times(1.0, 2.0)), 7.5)
        clock.enter("write", 8.0)
        clock.end(9.0)
        tracing.answered(one, clock, "m", 200, "ok")
    return sent


async def test_a_request_is_a_span_with_its_stages_inside_end_to_end() -> None:
    traced = Traced()
    scored(RequestTracing(traced.tracer))
    spans = {span.name: span for span in await traced.spans()}
    server = spans["POST /v1/models/{model}/score"]
    assert server.parent is None
    inside = sorted((s for s in spans.values() if s.parent and s.parent.span_id == server.context.span_id), key=_began)
    assert [s.name for s in inside] == ["authenticate", "admit", "wait", "hop", "split", "write"]
    assert [s.name for s in sorted(spans.values(), key=_began) if s.parent == spans["hop"].context and s.name != "infer"] == [
        "queue", "predict"
    ]  # fmt: skip
    lengths = {
        name: round((s.end_time - s.start_time) / 1e9, 3) for name, s in spans.items() if s.end_time and s.start_time
    }
    assert lengths["hop"] == 4.0
    assert (lengths["queue"], lengths["predict"]) == (1.0, 2.0)
    assert lengths[server.name] == 8.0
    for earlier, later in itertools.pairwise(inside):
        assert earlier.end_time is not None
        assert abs(earlier.end_time - _began(later)) < 1000
    assert dict(server.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/v1/models/{model}/score",
        "http.response.status_code": 200,
        "scoregate.model": "m",
        "scoregate.version": "1",
        "scoregate.rows": 5,
        "scoregate.code": "ok",
    }


async def test_a_callers_trace_goes_on_through_the_batch() -> None:
    traced = Traced()
    (sent,) = scored(RequestTracing(traced.tracer), carrying(THEIRS))
    spans = {span.name: span for span in await traced.spans()}
    assert {span.context.trace_id for span in spans.values()} == {THEIRS.trace_id}
    server = spans["POST /v1/models/{model}/score"]
    assert server.parent is not None
    assert server.parent.span_id == THEIRS.span_id
    assert spans["infer"].parent == spans["hop"].context
    infer = spans["infer"].context
    assert parse_traceparent((sent or "").encode()) == Traceparent(infer.trace_id, infer.span_id, True)


async def test_a_batch_of_several_is_linked_to_all_and_each_hop_to_the_batch() -> None:
    traced = Traced()
    scored(RequestTracing(traced.tracer), batch=3)
    spans = await traced.spans()
    servers = {s.context.span_id for s in spans if s.name.startswith("POST")}
    (infer,) = [s for s in spans if s.name == "infer"]
    assert len(servers) == 3
    assert {link.context.span_id for link in infer.links} == servers
    assert (infer.attributes or {})["scoregate.requests"] == 3
    hops = [s for s in spans if s.name == "hop"]
    assert all([link.context.span_id for link in hop.links] == [infer.context.span_id] for hop in hops)
    assert len({s.context.trace_id for s in spans}) == 3


@pytest.mark.parametrize(
    "headers",
    [
        [(b"traceparent", b"00-nonsense")],
        [(b"traceparent", b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01")],
        [carrying(THEIRS), carrying(THEIRS)],
    ],
)
async def test_what_is_no_traceparent_begins_a_new_trace(headers: list[tuple[bytes, bytes]]) -> None:
    traced = Traced()
    scored(RequestTracing(traced.tracer), *headers)
    (server,) = [s for s in await traced.spans() if s.name.startswith("POST")]
    assert server.parent is None
    assert server.context.trace_id != THEIRS.trace_id


@pytest.mark.parametrize(
    ("rule", "sampled", "recorded"),
    [
        ("parentbased_always_on", False, False),
        ("parentbased_always_off", True, True),
        ("always_on", False, True),
        ("always_off", True, False),
        ("traceidratio", True, False),
        ("parentbased_traceidratio", True, True),
    ],
)
async def test_the_sampler_decides_whether_a_callers_flag_counts(rule: Sampling, sampled: bool, recorded: bool) -> None:
    traced = Traced(rule, 0.0)
    (sent,) = scored(RequestTracing(traced.tracer), carrying(THEIRS._replace(sampled=sampled)))
    assert bool(await traced.spans()) == recorded
    found = parse_traceparent((sent or "").encode())
    assert found is not None
    assert (found.trace_id, found.sampled) == (THEIRS.trace_id, recorded)


async def test_a_batch_is_recorded_if_any_of_its_requests_is() -> None:
    traced = Traced()
    tracing = RequestTracing(traced.tracer)
    traces = []
    for sampled in (False, True):
        one = scope(carrying(THEIRS._replace(sampled=sampled)))
        tracing.begins(one, MarkedClock(1.0))
        traces.append(tracing.waits(one, "1", 1))
    with tracing.leaves("m", "1", 2, traces, 2.0) as sent:
        assert (sent or "").endswith("-01")


async def test_a_refused_token_brings_no_trace_of_its_own_and_a_lost_batch_is_a_failed_span() -> None:
    traced = Traced()
    tracing = RequestTracing(traced.tracer)
    refused, clock = scope(carrying(THEIRS)), MarkedClock(1.0)
    tracing.answered(refused, clock, "unknown", 401, "TokenNotPresent")
    with pytest.raises(OverloadedError), tracing.leaves("m", "1", 1, [None], 1.0):
        raise OverloadedError
    spans = {span.name: span for span in await traced.spans()}
    server = spans["POST /v1/models/{model}/score"]
    assert server.parent is None
    assert refused["state"] == {"trace": refused["state"]["trace"], "trace_id": f"{server.context.trace_id:032x}"}  # type: ignore[index]
    assert not spans["infer"].status.is_ok


async def test_a_call_has_its_queue_and_each_run_of_a_worker_inside_predict() -> None:
    traced = Traced()
    tracing = CallTracing(traced.tracer)
    frame = Frame(2, ())
    calls = [Call(("m", "1"), frame, [1, 1], 99.0, arrived_s=2.0, started_s=3.0) for _ in range(2)]
    traces = [tracing.begins([carrying(THEIRS)], 1.0) for _ in calls]
    for trace, call in zip(traces, calls, strict=True):
        trace.scores(call)
    run = Run(("m", "1"), tuple(Portion(call, 0, 2, frame) for call in calls), Frame(4, ()), 3.0)
    tracing.ran(run, 4711, 4.0, True)
    for trace in traces:
        trace.answered(("m", "1"), "ok", 5.0)
    assert tracing.open == {}
    spans = await traced.spans()
    assert sorted(map(name_of, spans)) == sorted(
        2 * ["POST /v2/models/{model}/versions/{version}/infer", "queue", "predict", "r.predict"]
    )
    assert {span.context.trace_id for span in spans} == {THEIRS.trace_id}
    ran = [s for s in spans if s.name == "r.predict"]
    wanted = {"scoregate.rows": 4, "scoregate.requests": 4, "scoregate.calls": 2, "process.pid": 4711}
    assert [dict(s.attributes or {}) for s in ran] == [wanted, wanted]
    assert {s.parent.span_id for s in ran if s.parent} == {s.context.span_id for s in spans if s.name == "predict"}


def test_the_client_says_the_active_span_and_nothing_without_one() -> None:
    assert trace_headers() == {}
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("work") as span:
        found = parse_traceparent(trace_headers()["traceparent"].encode())
        context = span.get_span_context()
        assert found == Traceparent(context.trace_id, context.span_id, True)
    assert trace_headers() == {}


def test_without_a_collector_nothing_that_traces_is_imported() -> None:
    # redis-py imports OpenTelemetry's metrics wherever they are installed.
    traces = ("shared.tracing", "gateway.shell.tracing", "scorer.shell.tracing", "opentelemetry.sdk.trace")
    code = f"import sys, gateway.server, scorer.app, client; print([m for m in {traces} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_without_the_extra_a_collector_is_a_mistake_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(GatewaySettings, "GATEWAY_", REQUIRED | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"})
    monkeypatch.delitem(sys.modules, "gateway.shell.tracing")
    monkeypatch.setitem(sys.modules, "shared.tracing", None)
    with pytest.raises(ValueError, match=r"requirements/otel\.txt"):
        request_tracing(settings)
    assert request_tracing(msgspec.structs.replace(settings, otel_endpoint=None)) is None


def test_a_collector_that_is_no_address_is_a_mistake() -> None:
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_ENDPOINT must begin with"):
        read(GatewaySettings, "GATEWAY_", REQUIRED | {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"})


def test_a_collectors_address_holds_no_secret_and_the_mistake_does_not_show_it() -> None:
    address = "https://user:hunter2@collector:4318"
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_HEADERS") as caught:
        read(GatewaySettings, "GATEWAY_", REQUIRED | {"OTEL_EXPORTER_OTLP_ENDPOINT": address})
    assert "hunter2" not in str(caught.value)


def _began(span: ReadableSpan) -> int:
    return span.start_time or 0
