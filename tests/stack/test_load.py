"""Many callers at once: everyone's own rows back, every worker busy, limits exact, and no outage of Redis shows as a 5xx."""

from __future__ import annotations

import asyncio
import math
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.service.limits_servers import running as redis_running
from tests.stack.conftest import Stack
from tests.support import eventually

NewStack = Callable[..., Stack]
ECHO = "/v1/models/echo/score"


def client(stack: Stack, connections: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=stack.gateway_url,
        headers={"Authorization": f"Bearer {stack.token()}"},
        timeout=60,
        trust_env=False,
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
    )


async def test_fifty_callers_get_their_own_rows_and_four_workers_are_busy(new_stack: NewStack, echo_store: str) -> None:
    stack = new_stack("--store", echo_store, "--scorer-workers", "4", "--rate", "1000000/minute")
    seen_busy: set[int] = set()
    answered = 0
    until = time.monotonic() + 20

    async def caller(http: httpx.AsyncClient, number: int) -> None:
        nonlocal answered
        draw = random.Random(number)
        while time.monotonic() < until:
            markers = [draw.uniform(-1e9, 1e9) for _ in range(draw.randint(1, 5))]
            rows = [{"marker": m, "sleep_ms": 5} for m in markers]
            answer = await http.post(ECHO, json={"rows": rows})
            assert answer.status_code == 200, answer.text
            assert answer.json()["predictions"] == markers
            answered += 1

    async def watch() -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            while time.monotonic() < until:
                status = (await http.get(f"{stack.addresses['scorer_internal_url']}/status")).json()
                seen_busy.update(w["pid"] for w in status["workers"] if w["state"] == "busy")
                await asyncio.sleep(0)

    async with client(stack, 50) as http, asyncio.TaskGroup() as tasks:
        for number in range(50):
            tasks.create_task(caller(http, number))
        tasks.create_task(watch())
    assert len(seen_busy) >= 4
    assert answered > 500
    assert stack.errors_logged("gateway") == []
    assert stack.errors_logged("scorer") == []


async def _calls(stack: Stack, calls: int, at_once: int = 100) -> Counter[int]:
    statuses: Counter[int] = Counter()
    gate = asyncio.Semaphore(at_once)
    async with client(stack, at_once) as http:

        async def one() -> None:
            async with gate:
                answer = await http.post(ECHO, json={"rows": [{"marker": 1, "sleep_ms": 0}]})
                statuses[answer.status_code] += 1
                if answer.status_code == 429:
                    assert int(answer.headers["retry-after"]) >= 1

        await asyncio.gather(*(one() for _ in range(calls)))
    return statuses


async def test_four_gateway_processes_admit_exactly_what_the_limit_says(new_stack: NewStack, echo_store: str) -> None:
    stack = new_stack("--store", echo_store, "--gateway-workers", "4", "--rate", "100/hour")
    assert len(stack.addresses["processes"]["gateway"]) >= 4
    assert await _calls(stack, 400) == {200: 100, 429: 300}


async def test_a_redis_in_cluster_mode_admits_exactly_the_same(
    new_stack: NewStack, echo_store: str, tmp_path: Path
) -> None:
    with redis_running(tmp_path, cluster=True) as redis:
        options = ("--store", echo_store, "--gateway-workers", "4", "--rate", "100/hour")
        stack = new_stack(*options, GATEWAY_REDIS_URL=redis.url)
        assert await _calls(stack, 400) == {200: 100, 429: 300}


async def test_a_caller_who_waits_as_long_as_told_is_served(new_stack: NewStack, echo_store: str) -> None:
    stack = new_stack("--store", echo_store, "--rate", "30/minute")
    statuses = await _calls(stack, 30)
    assert statuses == {200: 30}
    async with client(stack, 1) as http:
        body = {"rows": [{"marker": 7, "sleep_ms": 0}]}
        refused = await http.post(ECHO, json=body)
        assert refused.status_code == 429
        wait_s = int(refused.headers["retry-after"])
        assert wait_s == math.ceil(refused.json()["retry_after_ms"] / 1000)
        await asyncio.sleep(wait_s)
        assert (await http.post(ECHO, json=body)).status_code == 200


async def test_redis_killed_under_load_is_no_5xx_and_limits_go_on(new_stack: NewStack, echo_store: str) -> None:
    stack = new_stack("--store", echo_store, "--rate", "100000/minute")
    (redis,) = stack.addresses["processes"]["redis"]
    internal = stack.addresses["gateway_internal_urls"][0]
    socket = stack.addresses["redis_url"].removeprefix("unix://")

    def shared() -> bool:
        metrics = httpx.get(f"{internal}/metrics", trust_env=False).text
        return "scoregate_limiter_shared 1.0" in metrics

    assert shared()
    statuses: Counter[int] = Counter()
    stop = asyncio.Event()

    async def caller(http: httpx.AsyncClient) -> None:
        while not stop.is_set():
            answer = await http.post(ECHO, json={"rows": [{"marker": 1, "sleep_ms": 0}]})
            statuses[answer.status_code] += 1
            assert "ratelimit" in answer.headers

    async with client(stack, 8) as http, asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(caller(http))
        os.kill(redis, signal.SIGKILL)
        await asyncio.to_thread(lambda: eventually(lambda: not shared(), what="counting alone"))
        enough = statuses.total() + 200
        await asyncio.to_thread(lambda: eventually(lambda: statuses.total() > enough))
        argv = ["--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no"]
        again = await asyncio.create_subprocess_exec("redis-server", *argv, stdout=asyncio.subprocess.DEVNULL)
        try:
            await asyncio.to_thread(lambda: eventually(shared, what="shared again"))
            enough = statuses.total() + 200
            await asyncio.to_thread(lambda: eventually(lambda: statuses.total() > enough))
        finally:
            stop.set()
            again.terminate()
            await again.wait()
    assert set(statuses) == {200}


async def test_what_waits_for_callers_that_left_is_dropped(new_stack: NewStack, echo_store: str) -> None:
    stack = new_stack("--store", echo_store, "--scorer-workers", "1")
    internal = stack.addresses["gateway_internal_urls"][0]

    def metric(start: str) -> float:
        lines = httpx.get(f"{internal}/metrics", trust_env=False).text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(start))

    async with client(stack, 30) as http:
        body = {"rows": [{"marker": 1, "sleep_ms": 1000}]}
        callers = [asyncio.create_task(http.post(ECHO, json=body)) for _ in range(30)]
        await asyncio.to_thread(lambda: eventually(lambda: metric("scoregate_requests_in_flight") == 30))
        for caller in callers:
            caller.cancel()
    await asyncio.to_thread(lambda: eventually(lambda: metric("scoregate_requests_in_flight") == 0))
    assert metric("scoregate_waiting_rows") == 0
    assert metric("scoregate_scorer_calls_total") < 10
    assert metric('scoregate_requests_total{code="client_left"') == 30
    assert stack.errors_logged("gateway") == []


@pytest.mark.parametrize("form", ["rows", "columns"])
async def test_a_body_of_four_mib_does_not_hold_up_other_requests(stack: Stack, form: str) -> None:
    """What the others feel is measured by the benchmark (docs/explanation/performance.md); here: they are served meanwhile."""
    columns = {"speed": [1.5 + n / 7 for n in range(90_000)]}
    big = {"columns": columns} if form == "columns" else {"rows": [{"speed": v} for v in columns["speed"]]}
    async with client(stack, 4) as http:
        whole = asyncio.create_task(http.post("/v1/models/cars-interval/score", json=big))
        during = 0
        while not whole.done():
            assert (await http.post("/v1/models/cars-interval/score", json={"rows": [{"speed": 4}]})).status_code == 200
            during += 1
        answer = await whole
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["predictions"]) == 90_000
    assert during >= 3
