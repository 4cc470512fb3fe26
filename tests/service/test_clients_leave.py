"""Clients that leave before their answer: nothing is scored for nobody, and it is no failure of ours."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from gateway.core.caller import Caller
from tests.service.gateway_alone import FakePod, Running, becomes_true, running
from tests.service.test_floods import Line, request


async def answered(gate: Running) -> set[str]:
    """What the gateway has counted, without the numbers."""
    async with aiohttp.ClientSession() as session:
        text = await (await session.get(f"{gate.internal_url}/metrics")).text()
    lines = [line for line in text.splitlines() if line.startswith("scoregate_requests_total")]
    return {line.partition('code="')[2].partition('"')[0] for line in lines}


async def test_one_who_leaves_before_its_request_is_in_the_queue_is_not_scored(tmp_path: Path) -> None:
    pod = FakePod()
    async with running(tmp_path, pod) as gate:
        await becomes_true(lambda: gate.gateway.entry.index.models)
        authenticator, left = gate.gateway.entry.authenticator, asyncio.Event()
        at_once = authenticator.authenticate

        async def later(authorization: bytes | None) -> Caller:
            await left.wait()
            return await at_once(authorization)

        authenticator.authenticate = later  # type: ignore[method-assign]
        line = await Line.to(gate)
        line.writer.write(request("a"))
        await becomes_true(lambda: gate.gateway.pipeline.in_flight == 1)
        await line.close()
        await becomes_true(lambda: len(gate.gateway.crowd) == 0)
        left.set()
        await becomes_true(lambda: gate.gateway.pipeline.in_flight == 0)
        assert pod.calls == []
        assert await answered(gate) == {"client_left"}


async def test_the_request_that_is_served_is_dropped_whatever_came_behind_it(tmp_path: Path) -> None:
    pod = FakePod()
    pod.takes_s = lambda *_: 30.0 if len(pod.calls) == 2 else 0.0
    async with running(tmp_path, pod) as gate:
        await becomes_true(lambda: gate.gateway.entry.index.models)
        line = await Line.to(gate)
        line.writer.write(request("a") * 3)
        assert (await line.answer())[0] == 200
        await becomes_true(lambda: len(pod.calls) == 2)
        line.writer.transport.abort()
        await becomes_true(lambda: gate.gateway.pipeline.in_flight == 0)
        assert await answered(gate) == {"ok", "client_left"}
