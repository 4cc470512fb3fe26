"""The connection between our own processes, and the gateway's kept connections, against a server that does as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from devkit import certificates
from gateway.shell import hop
from gateway.shell.hop import Hop
from shared.http_client import Connection, LostError, Reply

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Rows: 1\r\n\r\nok"
ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Server:
    """Answers each request with the next of `answers`; None closes the connection instead, "" says nothing."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.heard: list[bytes] = []
        self.connections: list[asyncio.StreamWriter] = []
        self.left = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                self.heard.append(await reader.readuntil(b"\r\n\r\n"))
                answer = self.answers.pop(0)
                if answer is None:
                    break
                writer.write(answer)
        self.left.set()
        writer.close()


@contextlib.asynccontextmanager
async def listening(
    *answers: bytes | None, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[Server, str, int]]:
    server = Server(*answers)
    running = await asyncio.start_server(server.serve, host, 0, ssl=tls)
    port = running.sockets[0].getsockname()[1]
    try:
        async with asyncio.timeout(20):
            yield server, f"{'https' if tls else 'http'}://{host}:{port}", port
    finally:
        running.close()
        for writer in server.connections:
            writer.close()
        for _ in range(5):  # what was closed on either side ends in the next turns of the loop
            await asyncio.sleep(0)


async def until(fact: Callable[[], object]) -> None:
    """Under the deadline of `listening`."""
    while not fact():  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(0)


async def test_one_connection_carries_one_request_after_another() -> None:
    async with listening(OK, OK) as (server, _, port):
        connection = await Connection.to_host("127.0.0.1", port, 100)
        first, second = await connection.ask(ASK), await connection.ask(ASK)
        assert (first.status, first.headers[b"x-rows"], first.body, second.body) == (200, b"1", b"ok", b"ok")
        assert connection.free
        assert len(server.connections) == 1
        connection.close()


async def test_an_answer_in_pieces_is_one_answer() -> None:
    async with listening(b"") as (server, _, port):
        connection = await Connection.to_host("127.0.0.1", port, 100)
        asking = asyncio.create_task(connection.ask(ASK))
        await until(lambda: server.heard)
        for at in range(len(OK)):
            server.connections[0].write(OK[at : at + 1])
            await server.connections[0].drain()
        assert (await asking).body == b"ok"
        connection.close()


async def test_one_request_at_a_time() -> None:
    async with listening(b"") as (_, _, port):
        connection = await Connection.to_host("127.0.0.1", port, 100)
        heard: list[Reply | LostError] = []
        connection.send(ASK, heard.append)
        with pytest.raises(RuntimeError):
            connection.send(ASK, heard.append)
        connection.close()
        await until(lambda: heard)
        assert isinstance(heard[0], LostError)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(None, id="closed instead"),
        pytest.param(b"nonsense\r\n\r\n", id="no HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + 101 * b"x", id="longer than allowed"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n" + b"".join(b"X: %b\r\n" % (1000 * b"x") for _ in range(70)), id="long head"
        ),
    ],
)
async def test_what_is_no_answer_loses_the_connection(answer: bytes | None) -> None:
    async with listening(answer) as (_, _, port):
        connection = await Connection.to_host("127.0.0.1", port, 100)
        with pytest.raises(LostError):
            await connection.ask(ASK)
        assert not connection.free


async def test_a_connection_that_is_to_close_is_not_used_again() -> None:
    closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with listening(closing, OK) as (server, address, _):
        pods = Hop()
        for _ in range(2):
            reply = await pods.get(address, "/", {}, within_s=5, connect_s=5)
            assert reply.body == b"ok"
        assert len(server.connections) == 2
        pods.close()


async def test_a_connection_that_was_answered_is_used_again_and_one_that_was_closed_meanwhile_is_not() -> None:
    async with listening(OK, OK, OK) as (server, address, _):
        pods = Hop()
        for _ in range(2):
            await pods.get(address, "/", {"A": "b"}, within_s=5, connect_s=5)
        assert len(server.connections) == 1
        assert b"\r\nA: b\r\n" in server.heard[0]
        server.connections[0].close()
        connection = pods._idle[address][0][1]
        await until(lambda: not connection.free)
        await pods.get(address, "/", {}, within_s=5, connect_s=5)
        assert len(server.connections) == 2
        pods.close()


async def test_a_request_that_is_given_up_closes_its_connection_so_its_answer_can_reach_nobody() -> None:
    async with listening(b"") as (server, address, _):
        pods = Hop()
        with pytest.raises(TimeoutError):
            await pods.get(address, "/", {}, within_s=0.05, connect_s=5)
        await server.left.wait()
        assert not any(pods._idle.values())


@pytest.mark.parametrize(
    "more", [OK, b"HTTP/1.1 200 OK\r\nX-Stray: 1\r\n", b"HTT", b"\0"], ids=["whole", "half", "begun", "junk"]
)
async def test_what_comes_behind_an_answer_is_in_no_other(more: bytes) -> None:
    async with listening(OK + more, OK) as (server, address, _):
        pods = Hop()
        for _ in range(2):
            reply = await pods.get(address, "/", {}, within_s=5, connect_s=5)
            assert (reply.status, reply.body, b"x-stray" in reply.headers) == (200, b"ok", False)
        assert len(server.connections) == 2
        pods.close()


async def test_whoever_is_told_may_send_the_next_request() -> None:
    async with listening(OK, OK) as (_, _, port):
        connection = await Connection.to_host("127.0.0.1", port, 100)
        heard: list[Reply | LostError] = []

        def again(reply: Reply | LostError) -> None:
            heard.append(reply)
            connection.send(ASK, heard.append)

        connection.send(ASK, again)
        await until(lambda: len(heard) == 2)
        assert [isinstance(reply, Reply) and reply.body for reply in heard] == [b"ok", b"ok"]
        connection.close()


async def test_what_nobody_asked_for_closes_the_connection() -> None:
    async with listening(OK + OK) as (server, address, _):
        pods = Hop()
        await pods.get(address, "/", {}, within_s=5, connect_s=5)
        await server.left.wait()
        assert not any(connection.free for _, connection in pods._idle.get(address, []))


async def test_idle_connections_are_closed_after_a_while() -> None:
    async with listening(OK, b"") as (server, address, _):
        pods = Hop()
        await pods.get(address, "/", {}, within_s=5, connect_s=5)
        pods.sweep(time.monotonic())
        assert len(pods._idle[address]) == 1
        (_, connection), *_ = pods._idle[address]
        pods._idle[address] = [(time.monotonic() - hop.IDLE_S, connection)]
        with pytest.raises(TimeoutError):
            await pods.get(address, "/", {}, within_s=0.05, connect_s=5)  # over another, which nobody answers
        assert not connection.free
        pods._idle[address] = [(time.monotonic(), connection)]
        pods.sweep(time.monotonic() + hop.IDLE_S)
        await server.left.wait()
        assert pods._idle == {}


async def test_nobody_listening_is_an_error_at_once() -> None:
    async with listening() as (_, address, _):
        pass
    with pytest.raises(OSError, match=r"refused|Connect"):
        await Hop().get(address, "/", {}, within_s=5, connect_s=5)


async def test_a_unix_socket_is_as_good(tmp_path: Path) -> None:
    server = Server(OK)
    running = await asyncio.start_unix_server(server.serve, tmp_path / "s")
    connection = await Connection.to_socket(tmp_path / "s", 100)
    assert (await connection.ask(ASK)).body == b"ok"
    connection.close()
    await server.left.wait()
    running.close()
    with pytest.raises(OSError, match=r"No such file|refused"):
        await Connection.to_socket(tmp_path / "none", 100)


def certified(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's side for localhost, and the authority to trust."""
    made = certificates.ensure(folder, "scorer")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.cert_file, made.key_file)
    return context, made.ca_file


async def test_a_scorer_behind_tls_is_asked_by_who_trusts_its_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, ca_file = certified(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    pool = Hop()
    async with listening(OK, OK, tls=context) as (server, address, _):
        for _ in range(2):
            assert (await pool.get(address, "/", {}, within_s=10, connect_s=10)).body == b"ok"
        assert len(server.connections) == 1
        pool.close()


@pytest.mark.parametrize(("trusts", "host"), [(False, "127.0.0.1"), (True, "127.0.0.2")])
async def test_who_cannot_prove_to_be_the_scorer_is_told_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, trusts: bool, host: str
) -> None:
    context, ca_file = certified(tmp_path)
    if trusts:  # the certificate is for another address
        monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    async with listening(OK, tls=context, host=host) as (server, address, _):
        with pytest.raises(ssl.SSLCertVerificationError):
            await Hop().get(address, "/", {"Authorization": "Bearer secret"}, within_s=10, connect_s=10)
        assert not server.heard
