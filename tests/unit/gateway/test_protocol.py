"""`protect` on a scripted transport: however a client's bytes are cut, the same requests are served and the same ones refused."""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from gateway import server
from gateway.core.crowd import Crowd
from gateway.protocol import MAX_HEAD_BYTES, ProtectProtocol


class Wire(asyncio.Transport):
    """A client's end of a connection: keeps what is written, and says whether it was closed or is being read."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.reading = True
        self.ended = False
        self.lost = False

    def write(self, data: Any) -> None:
        assert not self.ended, "written after the end"
        self.written += bytes(data)

    def close(self) -> None:
        self.ended = True

    abort = close

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.lost

    def get_extra_info(self, _: str, default: Any = None) -> Any:
        return default

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


@dataclass
class Talk:
    """What came of it: the requests the app saw, whole, and the statuses of all answers, in order."""

    served: list[tuple[str, bytes, tuple[bytes, ...]]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ended: bool = False


async def talk(pieces: list[bytes]) -> Talk:
    said = Talk()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", scope["path"] != "/early"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        said.served.append((scope["path"], body, tuple(name for name, _ in scope["headers"])))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(app, http=ProtectProtocol, lifespan="off", ws="none", log_config=None)
    config.load()
    wire, protocol = Wire(), ProtectProtocol(config, ServerState(), {})
    protocol.connection_made(wire)
    for piece in pieces:
        protocol.data_received(piece)
        await settled()
        assert wire.reading
    said.statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", wire.written)]
    said.ended = wire.ended
    wire.lost = True
    protocol.connection_lost(None)
    await settled()
    return said


async def settled() -> None:
    """Until what could run has run."""
    for _ in range(50):
        await asyncio.sleep(0)


MESSAGES = [
    b"GET /get HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /with?query=%00 HTTP/1.1\r\nHost: h\r\nA: b\r\nEmpty:\r\n\r\n",
    b"POST /length HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\nhello world",
    b"POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /chunks HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n",
    b"POST /trailer HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nAuthorization: t\r\n\r\n",
    b"GET /upgrade HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"POST /upgrade HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
    b"\r\n\r\nGET /lines HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /close HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    b"GET /1.0 HTTP/1.0\r\nHost: h\r\n\r\n",
    b"GET /nohost HTTP/1.1\r\n\r\n",
    b"POST /both HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /broken HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX",
    b"GET /large HTTP/1.1\r\nHost: h\r\nX: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n",
    b"GET /fields HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * 100 + b"\r\n",
    b"GET /fits HTTP/1.1\r\nHost: h\r\nX: " + b"x" * (MAX_HEAD_BYTES - 100) + b"\r\n\r\n",
    b"garbage\r\n\r\n",
]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=6), st.lists(st.integers(0, 40_000), max_size=12))
async def test_however_the_bytes_are_cut_the_same_is_served_and_refused(messages: list[bytes], cuts: list[int]) -> None:
    data = b"".join(messages)
    edges = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    assert await talk([data[a:b] for a, b in pairwise(edges)]) == await talk([data])


@settings(deadline=None, max_examples=100)
@given(st.sampled_from([message for message in MESSAGES if len(message) < 200]))
async def test_byte_by_byte_is_as_well_as_whole(message: bytes) -> None:
    assert await talk([message[at : at + 1] for at in range(len(message))]) == await talk([message])


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from(MESSAGES) | st.binary(max_size=40), max_size=4))
async def test_whatever_comes_is_answered_in_order_and_never_after_the_end(messages: list[bytes]) -> None:
    said = await talk(messages)
    assert said.statuses[:-1] == [200] * (len(said.statuses) - 1)
    if said.statuses and said.statuses[-1] != 200:
        assert said.statuses[-1] in (400, 431)
        assert said.ended


@pytest.mark.parametrize("message", MESSAGES[:11])
async def test_each_good_request_is_served_alone(message: bytes) -> None:
    said = await talk([message])
    assert said.statuses == [200]
    assert b"authorization" not in said.served[0][2]


@pytest.mark.parametrize("message", MESSAGES[11:16])
async def test_each_bad_one_is_refused_alone(message: bytes) -> None:
    said = await talk([message])
    assert said.statuses in ([400], [431])
    assert (said.served, said.ended) == ([], True)


UNFINISHED = [b"", b"GET / HT", b"POST /length HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\nhello"]


@pytest.mark.parametrize("message", [*MESSAGES, *UNFINISHED])
async def test_a_connection_that_has_ended_is_freed_at_once_and_not_by_the_garbage_collector(message: bytes) -> None:
    gc.collect()
    gc.disable()
    try:
        await talk([message] if message else [])
        assert not [one for one in gc.get_objects() if isinstance(one, ProtectProtocol)]
    finally:
        gc.enable()


async def test_an_answer_that_comes_after_the_end_is_no_error_and_nothing_behind_it_is_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    served, release = [], asyncio.Event()

    async def app(scope: Any, _: Any, send: Any) -> None:
        served.append(scope["path"])
        await release.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    class Crowded(ProtectProtocol):
        crowd = Crowd(1)

    config = uvicorn.Config(app, http=Crowded, lifespan="off", ws="none", log_config=None)
    config.load()
    wire, protocol = Wire(), Crowded(config, ServerState(), {})
    protocol.connection_made(wire)
    protocol.data_received(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number for number in range(3)))
    await settled()
    wire.lost = True
    protocol.connection_lost(None)
    release.set()
    await settled()
    assert served == ["/0"]
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


class Waits:
    """A door where each request waits for the test."""

    def takes(self, connection: ProtectProtocol, data: bytes) -> bool:
        """It waits."""
        connection.visit = SimpleNamespace(data=data, rest=b"")
        return True


class AtTheDoor(ProtectProtocol):
    door = Waits()


@asynccontextmanager
async def kept_alive(kind: type[ProtectProtocol]) -> AsyncIterator[tuple[Wire, ProtectProtocol, list[str]]]:
    """A connection on which one request was answered, and the paths of all that are served."""
    served: list[str] = []

    async def app(scope: Any, _: Any, send: Any) -> None:
        served.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(app, http=kind, lifespan="off", ws="none", log_config=None)
    config.load()
    wire, protocol = Wire(), kind(config, ServerState(), {})
    protocol.connection_made(wire)
    protocol.enter(b"GET /first HTTP/1.1\r\nHost: h\r\n\r\n")
    await settled()
    yield wire, protocol, served
    wire.lost = True
    protocol.connection_lost(None)


WAITING = b"GET /waits HTTP/1.1\r\nHost: h\r\n\r\n"
REFUSED = [b"HTTP/1.1 429 \r\n", b"content-length: 0\r\n", b"\r\n"]


async def test_a_request_that_waits_at_the_door_when_the_server_stops_is_answered() -> None:
    async with kept_alive(AtTheDoor) as (wire, protocol, served):
        protocol.data_received(WAITING)
        await settled()
        assert served == ["/first"]
        protocol.shutdown()
        await settled()
        assert served == ["/first", "/waits"]
        assert wire.written.count(b"HTTP/1.1 200 ") == 2
        assert (protocol.visit, wire.ended) == (None, True)


async def test_what_is_said_behind_a_request_that_waits_waits_with_it_up_to_a_bound() -> None:
    async with kept_alive(AtTheDoor) as (_, protocol, served):
        protocol.data_received(WAITING)
        protocol.data_received(WAITING)
        assert protocol.visit.rest == WAITING
        protocol.data_received(WAITING * (16 * 1024 // len(WAITING)))
        assert protocol.visit is None
        await settled()
        assert served[:3] == ["/first", "/waits", "/waits"]


async def test_what_waited_at_the_door_of_a_connection_that_is_closed_neither_enters_nor_is_answered() -> None:
    async with kept_alive(AtTheDoor) as (wire, protocol, served):
        protocol.data_received(WAITING)
        written = wire.written
        protocol.transport.close()
        assert protocol.visit is None
        protocol.enter(WAITING)
        protocol.refused_at_the_door(REFUSED, "a")
        await settled()
        assert (served, wire.written) == (["/first"], written)


@pytest.mark.parametrize("crowd", [None, Crowd(100)])
async def test_what_the_door_refuses_while_the_process_drains_says_close(crowd: Crowd[Any] | None) -> None:
    gateway: Any = SimpleNamespace(
        crowd=crowd, door=Waits(), entry=SimpleNamespace(heads=None), metrics=None, draining=False
    )
    async with kept_alive(server.protocol(gateway)) as (wire, protocol, _):
        protocol.refused_at_the_door(REFUSED, "a")
        assert wire.written.endswith(b"HTTP/1.1 429 \r\ncontent-length: 0\r\n\r\n")
        assert not wire.ended
        gateway.draining = True
        protocol.refused_at_the_door(REFUSED, "a")
        assert wire.written.endswith(b"HTTP/1.1 429 \r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        assert wire.ended
