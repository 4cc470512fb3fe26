"""`protect` on real sockets: what a connection may cost before a request is known, and that honest ones notice nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn

from gateway.protocol import MAX_PIPELINED, ProtectProtocol
from gateway.shell.body import ClientDisconnectedError, read_body
from shared.errors import ScoregateError

MIB = 1024 * 1024


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass
class App:
    """Answers with what it got; `/hold` waits for the test, `/early` answers without reading, `/big` answers with much."""

    seen: list[dict[str, Any]] = field(default_factory=list)
    gone: int = 0
    release: asyncio.Event = field(default_factory=asyncio.Event)
    held: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(scope)
        path = scope["path"]
        body = b""
        if path == "/hold":
            self.held.set()
            await self.release.wait()
        if path != "/early":
            try:
                body = await read_body(receive, dict(scope["headers"]), limit=4 * MIB, within_s=5)
            except ClientDisconnectedError:
                self.gone += 1
                return
            except ScoregateError as error:
                await _reply(send, error.status, error.detail.encode(), error.headers)
                return
        if path == "/big":
            body = b"x" * (64 * MIB)
        fields = [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]]
        answer = (
            body
            if path == "/big"
            else json.dumps(
                {"path": path, "id": scope["state"]["request_id"], "body": len(body), "fields": fields}
            ).encode()
        )
        await _reply(send, 200, answer, {})


async def _reply(send: Any, status: int, body: bytes, headers: dict[str, str]) -> None:
    fields = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    fields.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


@dataclass
class Client:
    """One raw connection. Every wait is under a deadline."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(10):
            status = int((await self.reader.readline()).split()[1])
            fields = {}
            while line := (await self.reader.readline()).strip():
                name, _, value = line.decode().partition(":")
                fields[name.lower()] = value.strip()
            return status, fields, await self.reader.readexactly(int(fields.get("content-length", "0")))

    async def closed(self) -> bool:
        """Waits for the server's end of the connection; true if nothing more came before it."""
        async with asyncio.timeout(10):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True


Connect = Callable[[], Awaitable[Client]]


@dataclass
class Stage:
    app: App
    connect: Connect
    server: _Server
    refused: list[ScoregateError]


async def until(fact: Callable[[], bool]) -> None:
    """Lets the server, which runs in this loop, go on until the fact is true."""
    async with asyncio.timeout(10):
        while not fact():  # noqa: ASYNC110  (facts of uvicorn have no event)
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[Stage]:
    app = App()
    refused: list[ScoregateError] = []
    protocol = type("Limited", (ProtectProtocol,), {"on_refused": staticmethod(refused.append), **limits})
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=protocol, lifespan="off", ws="none", log_config=None, timeout_graceful_shutdown=1)
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[sock]))
    clients: list[Client] = []

    async def connect() -> Client:
        client = Client(*await asyncio.open_connection(*sock.getsockname()))
        clients.append(client)
        return client

    try:
        await until(lambda: server.started)
        yield Stage(app, connect, server, refused)
    finally:
        app.release.set()
        for client in clients:
            client.writer.close()
            with contextlib.suppress(ConnectionError):
                await client.writer.wait_closed()
        server.should_exit = True
        await task
        sock.close()


def problem(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str]:
    status, fields, body = answer
    assert fields["content-type"] == "application/problem+json"
    assert fields["connection"] == "close"
    said = json.loads(body)
    assert said["status"] == status
    assert said["request_id"] == fields["x-request-id"]
    return status, said["code"]


async def test_an_ordinary_request_passes_and_the_connection_stays() -> None:
    async with serving() as stage:
        client = await stage.connect()
        for number in range(3):
            await client.send(
                b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nX-Request-Id: r.%d\r\n\r\nhello" % number
            )
            status, _, body = await client.answer()
            assert (status, json.loads(body)["body"], json.loads(body)["id"]) == (200, 5, f"r.{number}")


@pytest.mark.parametrize("size", [16 * 1024, 16 * 1024 + 2])
async def test_a_head_is_refused_exactly_above_its_limit(size: int) -> None:
    fixed = len(b"/a") + len(b"Host") + 1 + 4 + len(b"X") + 4  # as counted: target, and name + value + 4 for each field
    field_value = b"v" * (size - fixed)
    head = b"GET /a HTTP/1.1\r\nHost: h\r\nX: " + field_value + b"\r\n\r\n"
    for cut in (len(head), 1000):
        async with serving() as stage:
            client = await stage.connect()
            for at in range(0, len(head), cut):
                await client.send(head[at : at + cut])
            answer = await client.answer()
            if size > 16 * 1024:
                assert problem(answer) == (431, "head_too_large")
                assert stage.app.seen == []
            else:
                assert answer[0] == 200


@pytest.mark.parametrize("kind", ["one field", "target", "fields", "empty lines", "name"])
async def test_sixty_megabytes_of_head_are_refused_in_little_memory(kind: str) -> None:
    start = {
        "one field": b"GET / HTTP/1.1\r\nHost: h\r\nX: ",
        "target": b"GET /",
        "fields": b"GET / HTTP/1.1\r\nHost: h\r\n",
        "empty lines": b"",
        "name": b"GET / HTTP/1.1\r\nHost: h\r\n",
    }[kind]
    filling = {"fields": b"X: y\r\n" * 10_000, "empty lines": b"\r\n" * 30_000}.get(kind, b"a" * 60_000)
    async with serving() as stage:
        client = await stage.connect()
        await client.send(start)
        tracemalloc.start()
        try:
            with contextlib.suppress(ConnectionError):
                for _ in range(60 * MIB // len(filling)):
                    await client.send(filling)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert problem(await client.answer()) == (431, "head_too_large")
        assert stage.app.seen == []
        assert peak < 4 * MIB


async def test_two_hundred_thousand_fields_are_refused() -> None:
    async with serving() as stage:
        client = await stage.connect()
        await client.send(b"GET / HTTP/1.1\r\nHost: h\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(20):
                await client.send(b"A: b\r\n" * 10_000)
        assert problem(await client.answer()) == (431, "head_too_large")
        assert [error.status for error in stage.refused] == [431]


@pytest.mark.parametrize("fields", [100, 101])
async def test_a_head_has_at_most_a_hundred_fields(fields: int) -> None:
    async with serving() as stage:
        client = await stage.connect()
        await client.send(b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * (fields - 1) + b"\r\n")
        assert (await client.answer())[0] == (200 if fields == 100 else 431)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Type: a/b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: abc\ndef: g\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: abc\x00def\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/3.7\r\nHost: a\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is TLS to a plain port",
        b"nonsense\r\n\r\n",
    ],
)
async def test_a_head_that_is_not_clear_is_refused_as_malformed(head: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as stage:
        client = await stage.connect()
        await client.send(head)
        assert problem(await client.answer()) == (400, "malformed_request")
        assert await client.closed()
        assert stage.app.seen == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("value", [b"abc\r\n def", b"a b", b"a/b", b"x" * 65, b"", "é".encode(), b"a%0ab"])
async def test_a_request_id_that_is_not_fit_for_logs_is_replaced(value: bytes) -> None:
    async with serving() as stage:
        client = await stage.connect()
        await client.send(b"GET / HTTP/1.1\r\nHost: h\r\nX-Request-Id: " + value + b"\r\n\r\n")
        status, _, body = await client.answer()
        if status == 200:  # a folded line is refused by the parser, which is as well
            made = json.loads(body)["id"]
            assert made.isalnum()
            assert len(made) == 32
        else:
            assert status == 400


async def test_white_space_behind_a_value_is_no_part_of_it() -> None:
    async with serving() as stage:
        client = await stage.connect()
        await client.send(b"GET / HTTP/1.1\r\nHost: h\r\nX-Request-Id: a \t \r\nX-Note:  b c \r\n\r\n")
        seen = json.loads((await client.answer())[2])
        assert seen["id"] == "a"
        assert ["x-note", "b c"] in seen["fields"]


async def test_a_request_id_given_twice_is_replaced() -> None:
    async with serving() as stage:
        client = await stage.connect()
        await client.send(b"GET / HTTP/1.1\r\nHost: h\r\nX-Request-Id: a\r\nX-Request-Id: a\r\n\r\n")
        assert json.loads((await client.answer())[2])["id"] != "a"


@pytest.mark.parametrize("start", [b"GET /a", b"GET / HTTP/1.1\r\nHost: h\r\nX: y", b"\r\n\r\n"])
async def test_a_slow_head_is_timed_out_however_it_trickles(start: bytes) -> None:
    async with serving(head_timeout_s=0.3) as stage:
        client = await stage.connect()
        await client.send(start)

        async def trickle() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    await client.send(b"\r\n" if start == b"\r\n\r\n" else b"a")
                    await asyncio.sleep(0.02)

        trickling = asyncio.create_task(trickle())
        assert problem(await client.answer()) == (408, "request_timeout")
        trickling.cancel()
        assert stage.app.seen == []


async def test_a_connection_that_says_nothing_is_closed_without_a_word() -> None:
    async with serving(idle_timeout_s=0.2) as stage:
        silent, used = await stage.connect(), await stage.connect()
        await used.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await used.answer())[0] == 200
        assert await silent.closed()
        assert await used.closed()


async def test_a_request_longer_than_the_idle_timeout_is_served() -> None:
    async with serving(idle_timeout_s=0.1, head_timeout_s=0.1) as stage:
        client = await stage.connect()
        await client.send(b"GET /hold HTTP/1.1\r\nHost: h\r\n\r\n")
        await stage.app.held.wait()
        silent = await stage.connect()
        assert await silent.closed()  # so the time that counts for idle connections has passed
        stage.app.release.set()
        assert (await client.answer())[0] == 200


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving() as stage:
        client = await stage.connect()
        await client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number for number in range(MAX_PIPELINED)))
        for number in range(MAX_PIPELINED):
            status, _, body = await client.answer()
            assert (status, json.loads(body)["path"]) == (200, f"/{number}")


async def test_a_bad_request_behind_good_ones_is_refused_when_it_is_its_turn() -> None:
    async with serving() as stage:
        client = await stage.connect()
        await client.send(
            b"GET /hold HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\nGET /3 HTTP/1.1\r\n\r\n"
        )
        await stage.app.held.wait()
        stage.app.release.set()
        assert json.loads((await client.answer())[2])["path"] == "/hold"
        assert json.loads((await client.answer())[2])["path"] == "/2"
        assert problem(await client.answer()) == (400, "malformed_request")
        assert await client.closed()


async def test_more_pipelined_requests_than_may_wait_are_refused() -> None:
    async with serving() as stage:
        client = await stage.connect()
        await client.send(b"GET /hold HTTP/1.1\r\nHost: h\r\n\r\n" * 2_000)
        await stage.app.held.wait()
        stage.app.release.set()
        for _ in range(MAX_PIPELINED + 1):
            assert (await client.answer())[0] == 200
        assert problem(await client.answer()) == (400, "malformed_request")
        assert len(stage.app.seen) == MAX_PIPELINED + 1


async def test_a_body_that_breaks_its_framing_is_refused_and_its_app_told() -> None:
    async with serving() as stage:
        client = await stage.connect()
        await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await client.send(b"zz\r\n")
        assert problem(await client.answer()) == (400, "malformed_request")
        assert await client.closed()
        assert stage.app.gone == 1


async def test_a_broken_body_behind_a_request_in_progress_is_refused_after_it() -> None:
    async with serving() as stage:
        client = await stage.connect()
        await client.send(
            b"GET /hold HTTP/1.1\r\nHost: h\r\n\r\n"
            b"POST /2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
        )
        await stage.app.held.wait()
        stage.app.release.set()
        assert json.loads((await client.answer())[2])["path"] == "/hold"
        assert problem(await client.answer()) == (400, "malformed_request")
        assert [scope["path"] for scope in stage.app.seen] == ["/hold"]


async def test_trailer_fields_reach_no_request() -> None:
    async with serving() as stage:
        client = await stage.connect()
        await client.send(
            b"POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nAuthorization: Bearer t\r\n\r\n"
            b"GET /2 HTTP/1.1\r\nHost: h\r\n\r\n"
        )
        for _ in range(2):
            status, _, body = await client.answer()
            assert status == 200
            assert "authorization" not in dict(json.loads(body)["fields"])


async def test_expect_100_continue_is_answered_before_the_body_comes() -> None:
    async with serving() as stage:
        client = await stage.connect()
        await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert (await client.answer())[0] == 100
        await client.send(b"ok")
        assert (await client.answer())[0] == 200


async def test_a_client_of_http_1_0_that_expects_100_continue_gets_none() -> None:
    async with serving() as stage:
        client = await stage.connect()
        await client.send(b"POST / HTTP/1.0\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        await client.send(b"ok")
        assert (await client.answer())[0] == 200


async def test_a_body_announced_as_too_large_is_refused_instead_of_100_continue() -> None:
    async with serving() as stage:
        client = await stage.connect()
        await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n")
        assert (await client.answer())[0] == 413
        assert await client.closed()


async def test_a_client_that_sends_a_hundred_megabytes_still_sees_the_413() -> None:
    async with serving() as stage:
        client = await stage.connect()
        await client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                await client.send(b"%x\r\n" % MIB + b"x" * MIB + b"\r\n")
        assert (await client.answer())[0] == 413


async def test_the_rest_of_an_unwanted_body_may_not_trickle_for_ever() -> None:
    async with serving(drain_timeout_s=0.2) as stage:
        client = await stage.connect()
        await client.send(b"POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n")
        assert (await client.answer())[0] == 200

        async def trickle() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    await client.send(b"a")
                    await asyncio.sleep(0.02)

        trickling = asyncio.create_task(trickle())
        assert await client.closed()
        trickling.cancel()


async def test_an_unwanted_body_that_comes_whole_leaves_the_connection_usable_and_then_idle() -> None:
    async with serving(idle_timeout_s=0.3) as stage:
        client = await stage.connect()
        await client.send(b"POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe")
        assert (await client.answer())[0] == 200
        await client.send(b"lloGET /2 HTTP/1.1\r\nHost: h\r\n\r\n")
        assert json.loads((await client.answer())[2])["path"] == "/2"
        await client.send(b"POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n")
        assert (await client.answer())[0] == 200
        await client.send(b"hello")
        assert await client.closed()


async def test_a_client_that_does_not_read_its_answer_is_cut_off() -> None:
    async with serving(stall_timeout_s=0.2) as stage:
        client = await stage.connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
        await until(lambda: bool(stage.app.seen) and not stage.server.server_state.connections)


async def test_a_client_that_reads_slowly_but_steadily_gets_all_of_it() -> None:
    async with serving(stall_timeout_s=0.3) as stage:
        client = await stage.connect()
        await client.send(b"GET /big HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        got = 0
        async with asyncio.timeout(30):
            while piece := await client.reader.read(2 * MIB):
                got += len(piece)
                await asyncio.sleep(0.01)
        assert got > 64 * MIB


async def test_an_upgrade_is_declined_by_serving_the_request_and_those_that_follow() -> None:
    async with serving() as stage:
        client = await stage.connect()
        await client.send(
            b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n\r\n"
        )
        assert (await client.answer())[0] == 200
        await client.send(b"GET /2 HTTP/1.1\r\nHost: h\r\n\r\n")
        assert json.loads((await client.answer())[2])["path"] == "/2"


@pytest.mark.parametrize("cut", [1, 7, 10_000])
@pytest.mark.parametrize(
    "body", [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("connection", [b"Upgrade", b"Upgrade, close"])
async def test_a_post_that_asks_to_upgrade_is_served_with_its_body(connection: bytes, body: bytes, cut: int) -> None:
    request = b"POST /1 HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: " + connection + b"\r\n" + body
    data = request + request.replace(b"POST /1", b"POST /2")
    async with serving() as stage:
        client = await stage.connect()
        for at in range(0, len(data), cut):
            await client.send(data[at : at + cut])
        for path in ("/1",) if b"close" in connection else ("/1", "/2"):
            status, _, answered = await client.answer()
            assert (status, json.loads(answered)["body"], json.loads(answered)["path"]) == (200, 5, path)
        if b"close" in connection:
            assert await client.closed()


async def test_http_1_0_and_connection_close_end_the_connection_at_once() -> None:
    async with serving() as stage:
        for head in (b"GET / HTTP/1.0\r\nHost: h\r\n\r\n", b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"):
            client = await stage.connect()
            await client.send(head + b"GET /more HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (await client.answer())[0] == 200
            assert await client.closed()
        assert {scope["path"] for scope in stage.app.seen} == {"/"}


async def test_after_every_refusal_the_server_serves_on() -> None:
    async with serving() as stage:
        for _ in range(20):
            client = await stage.connect()
            await client.send(b"GET / HTTP/1.1\r\n\r\n")
            assert (await client.answer())[0] == 400
        client = await stage.connect()
        await client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await client.answer())[0] == 200
