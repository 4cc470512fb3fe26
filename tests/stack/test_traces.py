"""One trace from a client's own span through gateway and scorer to the R worker, as a collector gets it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from client import AsyncClient, Client, StaticToken
from shared.tracing import otlp
from tests.otlp import Collector, Seen, collector
from tests.stack.conftest import Stack
from tests.support import eventually

GATEWAY, SCORER = "scoregate-gateway", "scoregate-scorer"
SERVER, CALL = "POST /v1/models/{model}/score", "POST /v2/models/{model}/versions/{version}/infer"


def one_under(seen: Collector, parent: Seen, name: str) -> Seen:
    """The one span of that name right under another; both are there and it lies inside, clocks of one machine agreeing."""
    (found,) = eventually(lambda: [s for s in seen.children(parent) if s.name == name], what=f"{name} in {parent.name}")
    assert found.trace_id == parent.trace_id
    slack_ns = 20_000_000  # the wall clock may be slewed while they are made
    assert parent.began_ns - slack_ns <= found.began_ns <= found.ended_ns <= parent.ended_ns + slack_ns
    return found


def test_a_clients_trace_reaches_the_r_worker_and_shared_batches_are_linked(
    new_stack: Callable[..., Stack], echo_store: str
) -> None:
    with collector() as seen:
        stack = new_stack(
            "--store",
            echo_store,
            "--scorer-workers",
            "2",
            "--rate",
            "1000000/minute",
            OTEL_EXPORTER_OTLP_ENDPOINT=seen.url,
        )
        provider = TracerProvider(resource=Resource({"service.name": "app"}), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(otlp(seen.url, None)))
        with provider.get_tracer("app").start_as_current_span("work"), client(stack) as http:
            assert list(http.score("echo", [{"marker": 7.5, "sleep_ms": 50}]).predictions) == [7.5]
        provider.shutdown()

        (work,) = seen.named("work", "app")
        server = one_under(seen, work, SERVER)
        batch = one_under(seen, one_under(seen, server, "hop"), "infer")
        call = one_under(seen, batch, CALL)
        assert (server.service, batch.service, call.service) == (GATEWAY, GATEWAY, SCORER)
        one_under(seen, call, "queue")
        ran = one_under(seen, one_under(seen, call, "predict"), "r.predict")
        assert ran.ended_ns - ran.began_ns >= 50_000_000
        assert ran.attributes["scoregate.rows"] == 1
        assert ran.attributes["process.pid"] in {w["pid"] for w in workers(stack)}
        assert {s.trace_id for s in seen.spans} == {work.trace_id}

        asyncio.run(many(stack, 40))
        servers = eventually(lambda: found if len(found := seen.named(SERVER)) == 41 else None)
        shared = [s for s in seen.named("infer") if s.links]
        assert shared, "40 requests for 2 workers: some left together"
        assert {link for s in shared for link in s.links} <= {s.span_id for s in servers}
        for one in shared:
            assert one.attributes["scoregate.requests"] == len(one.links)
            assert one_under(seen, one, CALL).attributes["scoregate.requests"] == len(one.links)


def client(stack: Stack) -> Client:
    return Client(stack.gateway_url, credential=StaticToken(stack.token()))


def workers(stack: Stack) -> list[dict[str, int]]:
    """The scorer's table of workers."""
    url = stack.addresses["scorer_internal_url"]
    table: list[dict[str, int]] = httpx.get(f"{url}/status", trust_env=False).json()["workers"]
    return table


async def many(stack: Stack, requests: int) -> None:
    """So many at once, each with its own number."""
    async with AsyncClient(stack.gateway_url, credential=StaticToken(stack.token())) as http:
        rows = [{"marker": float(n), "sleep_ms": 20} for n in range(requests)]
        answers = await asyncio.gather(*(http.score("echo", [row]) for row in rows))
    assert [list(a.predictions) for a in answers] == [[row["marker"]] for row in rows]
