"""A gateway that is offered more than it can do: bounded connections, floods at the door, and what health and others notice."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp

from tests.service.gateway_alone import FakePod, Running, becomes_true, running

BODY = json.dumps({"rows": [{"x": 1.5}]}).encode()


def request(caller: str, *fields: str, body: bytes = BODY) -> bytes:
    lines = ["POST /v1/models/m/score HTTP/1.1", "Host: x", f"Authorization: Bearer {caller}", *fields]
    return (
        "\r\n".join([*lines, "Content-Type: application/json", f"Content-Length: {len(body)}", "", ""]).encode() + body
    )


class Line:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, gate: Running) -> Line:
        host, _, port = gate.url.removeprefix("http://").partition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def ask(self, data: bytes) -> tuple[int, dict[str, str], Any]:
        self.writer.write(data)
        return await self.answer()

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        async with asyncio.timeout(20):
            status, *fields = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields if field)}
            body = await self.reader.readexactly(int(headers["content-length"]))
        return int(status.split()[1]), headers, json.loads(body)

    async def close(self) -> None:
        self.writer.close()
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)


async def test_a_connection_beyond_the_bound_is_told_to_come_again_and_health_is_not_concerned(tmp_path: Path) -> None:
    async with running(tmp_path, FakePod(takes_s=lambda *_: 0.2), max_connections=2) as gate:
        await becomes_true(lambda: gate.gateway.entry.index.models)
        busy = [await Line.to(gate) for _ in range(2)]
        answers = [asyncio.create_task(line.ask(request("a"))) for line in busy]
        await becomes_true(lambda: gate.gateway.pipeline.in_flight == 2)
        third = await Line.to(gate)
        status, headers, problem = await third.answer()
        assert (status, headers["connection"], headers["retry-after"]) == (503, "close", "1")
        assert headers["content-type"] == "application/problem+json"
        assert (problem["code"], problem["retry_after_ms"]) == ("overloaded", 1000)
        assert await third.reader.read() == b""
        async with aiohttp.ClientSession() as session:
            assert (await session.get(f"{gate.internal_url}/healthz")).status == 200
            text = await (await session.get(f"{gate.internal_url}/metrics")).text()
        assert "scoregate_connections 2.0" in text
        assert 'scoregate_heads_refused_total{code="overloaded"} 1.0' in text
        assert [status for status, _, _ in await asyncio.gather(*answers)] == [200, 200]
        for line in (*busy, third):
            await line.close()
        await becomes_true(lambda: len(gate.gateway.crowd) == 0)


async def test_an_idle_connection_makes_room_for_a_new_one(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("gateway.core.crowd.RESTED_S", 0.0)
    async with running(tmp_path, FakePod(), max_connections=1) as gate:
        await becomes_true(lambda: gate.gateway.entry.index.models)
        idle = await Line.to(gate)
        assert (await idle.ask(request("a")))[0] == 200
        new = await Line.to(gate)
        assert (await new.ask(request("b")))[0] == 200
        assert await idle.reader.read() == b""
        await new.close()
        await idle.close()


async def test_a_flood_is_refused_at_the_door_and_let_in_again_and_a_quiet_caller_is_served(tmp_path: Path) -> None:
    free = asyncio.Event()
    pod = FakePod(takes_s=lambda *_: 0.0)

    async def held(_request: Any) -> Any:
        await free.wait()
        return await answer(_request)

    answer, pod._infer = pod._infer, held  # type: ignore[method-assign]
    async with running(tmp_path, pod, max_in_flight=5) as gate:
        await becomes_true(lambda: gate.gateway.entry.index.models)
        flood = [await Line.to(gate) for _ in range(5)]
        served = [asyncio.create_task(line.ask(request("loud"))) for line in flood[:4]]
        await becomes_true(lambda: gate.gateway.pipeline.in_flight == 4)
        sent = request("loud", "X-Request-Id: mine")
        usual = await flood[4].ask(sent)
        at_the_door = await flood[4].ask(sent)
        for status, headers, problem in (usual, at_the_door):
            assert (status, problem["code"], headers["retry-after"]) == (503, "overloaded", "1")
            assert (problem["request_id"], headers["x-request-id"]) == ("mine", "mine")
            assert headers["server-timing"].startswith("authenticate")
        assert set(usual[1]) == set(at_the_door[1])
        assert usual[2] == at_the_door[2]
        quiet = await Line.to(gate)
        waits = asyncio.create_task(quiet.ask(request("quiet")))
        await becomes_true(lambda: gate.gateway.pipeline.in_flight == 5)
        free.set()
        assert (await waits)[0] == 200
        assert [status for status, _, _ in await asyncio.gather(*served)] == [200] * 4
        assert (await flood[4].ask(sent))[0] == 200
        for line in (*flood, quiet):
            await line.close()


async def test_what_waits_at_the_door_and_says_more_goes_the_usual_way(tmp_path: Path) -> None:
    async with running(tmp_path, FakePod(takes_s=lambda *_: 0.3), max_in_flight=1) as gate:
        await becomes_true(lambda: gate.gateway.entry.index.models)
        first, second = await Line.to(gate), await Line.to(gate)
        served = asyncio.create_task(first.ask(request("a")))
        await becomes_true(lambda: gate.gateway.pipeline.in_flight == 1)
        assert (await second.ask(request("a")))[0] == 503
        second.writer.write(request("a") + request("a"))
        assert [(await second.answer())[0] for _ in range(2)] == [503, 503]
        chunked = b"POST /v1/models/m/score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert (await second.ask(chunked + b"0\r\n\r\n"))[0] == 503
        assert (await served)[0] == 200
        assert (await second.ask(request("a")))[0] == 200
        for line in (first, second):
            await line.close()
