"""Traces on a real gateway with a real collector, and with one that is away."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from httpx import AsyncClient
from starlette.requests import Request
from starlette.responses import Response

from shared import serving, tracing
from tests.otlp import collector
from tests.service.gateway_alone import FakePod, becomes_true, running
from tests.service.test_gateway_stages import SCORE, client

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SERVER = "POST /v1/models/{model}/score"
ROW = {"rows": [{"x": 424242}]}


@dataclass
class Listening(FakePod):
    """Keeps the traceparents that came."""

    heard: list[str] = field(default_factory=list)

    async def _infer(self, request: Request) -> Response:
        self.heard += request.headers.getlist("traceparent")
        return await super()._infer(request)


async def test_a_callers_trace_goes_through_the_gateway_to_the_scorer_and_names_nobody(tmp_path: Path) -> None:
    pod = Listening()
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "tracestate": "vendor=secret", "baggage": "a=b"}
    with collector() as seen:
        async with (
            running(tmp_path, pod, otel_endpoint=seen.url) as gateway,
            client(gateway.url, "caller-ann", **headers) as http,
        ):
            assert (await http.post(SCORE, json=ROW)).json()["predictions"] == [848484]
        (server,) = seen.named(SERVER)
        assert (server.trace_id, server.parent_id) == (TRACE, "00f067aa0ba902b7")
        assert server.service == "scoregate-gateway"
        (infer,) = seen.named("infer")
        assert pod.heard == [f"00-{TRACE}-{infer.span_id}-01"]
        assert {s.trace_id for s in seen.spans} == {TRACE}
        said = str(seen.spans)
        assert "caller-ann" not in said
        assert "424242" not in said
        assert "secret" not in said
        for span in seen.children(server):
            assert server.began_ns - 1000 <= span.began_ns <= span.ended_ns <= server.ended_ns + 1000


async def test_requests_that_leave_together_are_linked_from_their_batch(tmp_path: Path) -> None:
    pod = Listening(workers=1, takes_s=lambda *_: 0.1)
    with collector() as seen:
        async with running(tmp_path, pod, otel_endpoint=seen.url) as gateway, client(gateway.url) as http:
            answers = await asyncio.gather(*(http.post(SCORE, json={"rows": [{"x": n}]}) for n in range(12)))
            assert [a.json()["predictions"] for a in answers] == [[2 * n] for n in range(12)]
        batches = seen.named("infer")
        servers = {s.span_id: s for s in seen.named(SERVER)}
        assert len(servers) == 12
        assert len(batches) < 12
        linked = [link for batch in batches for link in batch.links]
        alone = [batch for batch in batches if not batch.links]
        assert len(linked) + len(alone) == 12
        assert len(set(linked)) == len(linked)
        assert set(linked) <= set(servers)
        assert {header.split("-")[2] for header in pod.heard} == {batch.span_id for batch in batches}


async def test_a_collector_that_is_away_is_nothing_to_a_request_and_little_to_the_end(tmp_path: Path) -> None:
    with serving.listen("127.0.0.1", 0) as gone:
        url = serving.url_of(gone)
    async with running(tmp_path, Listening(), otel_endpoint=url) as gateway, client(gateway.url) as http:
        for _ in range(50):
            assert (await http.post(SCORE, json=ROW)).status_code == 200
        began = time.monotonic()
    assert time.monotonic() - began < tracing.FLUSH_S + 3


async def test_a_collector_that_never_answers_is_nothing_to_a_request_either(tmp_path: Path) -> None:
    with serving.listen("127.0.0.1", 0) as mute:
        url = serving.url_of(mute)
        async with running(tmp_path, Listening(), otel_endpoint=url) as gateway, client(gateway.url) as http:
            for _ in range(50):
                assert (await http.post(SCORE, json=ROW)).status_code == 200
            began = time.monotonic()
        assert time.monotonic() - began < tracing.FLUSH_S + 3


async def test_a_refusal_is_logged_with_the_id_of_its_trace_and_without_one_when_there_is_none(tmp_path: Path) -> None:
    async def refused(http: AsyncClient) -> dict[str, object]:
        with structlog.testing.capture_logs() as logs:
            assert (await http.post("/v1/models/absent/score", json=ROW)).status_code == 404
            await becomes_true(lambda: any(line["event"] == "gateway.request.refused" for line in logs))
        (line,) = [line for line in logs if line["event"] == "gateway.request.refused"]
        return dict(line)

    with collector() as seen:
        async with running(tmp_path, Listening(), otel_endpoint=seen.url) as gateway, client(gateway.url) as http:
            line = await refused(http)
        (server,) = seen.named(SERVER)
        assert line["trace_id"] == server.trace_id
        assert server.attributes["scoregate.code"] == line["code"]
        assert server.attributes["http.response.status_code"] == 404
    async with running(tmp_path, Listening()) as gateway, client(gateway.url) as http:
        assert "trace_id" not in await refused(http)


async def test_without_a_collector_no_traceparent_goes_anywhere(tmp_path: Path) -> None:
    pod = Listening()
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    async with running(tmp_path, pod) as gateway, client(gateway.url, **headers) as http:
        assert (await http.post(SCORE, json=ROW)).status_code == 200
    assert pod.heard == []
    assert len(pod.calls) == 1
