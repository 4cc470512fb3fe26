"""Requests whose head is known: answered as if it had been parsed, each with its own body and id, while its token holds."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.protocol import ProtectProtocol
from shared.http_server import ANSWERED
from tests.service.gateway_alone import FakePod, Running, becomes_true, running
from tests.service.test_floods import Line, request


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The heads that are parsed."""
    seen: list[bytes] = []
    parse = ProtectProtocol._feed

    def feed(self: Any, piece: bytes) -> None:
        seen.append(piece)
        parse(self, piece)

    monkeypatch.setattr(ProtectProtocol, "_feed", feed)
    return seen


async def ask(gate: Running, *data: bytes) -> list[tuple[int, dict[str, str], Any]]:
    line = await Line.to(gate)
    answers = [await line.ask(one) for one in data]
    await line.close()
    return answers


def rows(*numbers: float) -> bytes:
    return json.dumps({"rows": [{"x": n} for n in numbers]}).encode()


async def test_a_head_that_comes_again_is_known_and_each_request_keeps_its_body_and_its_id(
    tmp_path: Path, parsed: list[bytes]
) -> None:
    async with running(tmp_path, FakePod()) as gate:
        await becomes_true(lambda: gate.gateway.entry.index.models)
        sent = [request("a", f"X-Request-Id: n{n}", body=rows(*range(n + 1))) for n in range(5)]
        for status, headers, answer in (
            one for gotten in [await ask(gate, *sent), await ask(gate, *sent)] for one in gotten
        ):
            assert status == 200
            number = int(headers["x-request-id"].removeprefix("n"))
            assert answer["predictions"] == [2.0 * n for n in range(number + 1)]
        assert parsed == sent[:2]


async def test_another_token_is_another_head(tmp_path: Path, parsed: list[bytes]) -> None:
    async with running(tmp_path, FakePod()) as gate:
        await becomes_true(lambda: gate.gateway.entry.index.models)
        for caller in ("a", "b") * 3:
            await ask(gate, request(caller))
        assert len(parsed) == 4
        assert gate.gateway.entry.authenticator.asked == 6  # type: ignore[attr-defined]  # a head vouches for nobody


async def test_what_was_refused_is_no_known_head(tmp_path: Path, parsed: list[bytes]) -> None:
    async with running(tmp_path, FakePod()) as gate:
        await becomes_true(lambda: gate.gateway.entry.index.models)
        wrong = request("a", body=rows() + b"x")
        assert [status for status, *_ in await ask(gate, wrong, wrong)] == [400, 400]
        assert len(parsed) == 2
        assert [status for status, *_ in await ask(gate, request("a"), request("a"), wrong)] == [200, 200, 400]
        assert len(parsed) == 4


async def test_requests_in_pieces_or_behind_one_another_go_the_usual_way(tmp_path: Path) -> None:
    async with running(tmp_path, FakePod(takes_s=lambda *_: 0.02)) as gate:
        await becomes_true(lambda: gate.gateway.entry.index.models)
        known, other = request("a", body=rows(1)), request("a", body=rows(2))
        await ask(gate, known, known)
        line = await Line.to(gate)
        line.writer.write(known + other)
        assert [(await line.answer())[2]["predictions"] for _ in range(2)] == [[2.0], [4.0]]
        line.writer.write(known)
        await line.writer.drain()
        line.writer.write(other)  # while the first is being served
        assert [(await line.answer())[2]["predictions"] for _ in range(2)] == [[2.0], [4.0]]
        line.writer.write(other[:100])
        await asyncio.sleep(0)
        line.writer.write(other[100:])
        assert (await line.answer())[2]["predictions"] == [4.0]
        await line.close()


async def test_a_body_that_is_too_long_is_refused_all_the_same(tmp_path: Path) -> None:
    async with running(tmp_path, FakePod(), max_body_bytes=1000) as gate:
        await becomes_true(lambda: gate.gateway.entry.index.models)
        answers = await ask(gate, request("a"), request("a"), request("a", body=b'{"rows":[' + b" " * 1000 + b"]}"))
        assert [(status, headers.get("connection")) for status, headers, _ in answers[1:]] == [
            (200, None),
            (413, "close"),
        ]


async def test_a_client_that_speaks_http_1_0_is_answered_each_time_as_the_first_time(tmp_path: Path) -> None:
    async with running(tmp_path, FakePod()) as gate:
        await becomes_true(lambda: gate.gateway.entry.index.models)
        old = request("a", "Connection: Keep-Alive").replace(b"HTTP/1.1", b"HTTP/1.0")
        for _ in range(4):
            line = await Line.to(gate)
            assert (await line.ask(old))[1]["connection"] == "close"
            assert await line.reader.read() == b""
            await line.close()


@pytest.mark.parametrize("body", [rows(*range(500)), rows() + b"x" * 5000], ids=["answered", "refused"])
async def test_an_idle_connection_keeps_nothing_of_the_request_it_had(tmp_path: Path, body: bytes) -> None:
    async with running(tmp_path, FakePod()) as gate:
        await becomes_true(lambda: gate.gateway.entry.index.models)
        line = await Line.to(gate)
        for _ in range(3):
            await line.ask(request("a", body=body))
            (connection,) = (c for c in gc.get_objects() if isinstance(c, ProtectProtocol) and c.cycle is not None)
            assert connection.cycle is ANSWERED
            assert not connection.scope
            assert not connection.headers
            assert connection._sent is None
            del connection
        await line.close()


async def test_a_gzip_body_that_came_with_its_head_is_inflated_each_time(tmp_path: Path) -> None:
    async with running(tmp_path, FakePod()) as gate:
        await becomes_true(lambda: gate.gateway.entry.index.models)
        packed = request("a", "Content-Encoding: gzip", body=gzip.compress(rows(1, 2)))
        answers = await ask(gate, packed, packed, packed)
        assert [(status, answer["predictions"]) for status, _, answer in answers] == [(200, [2.0, 4.0])] * 3
