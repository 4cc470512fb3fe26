"""Connections that come while the event loop is busy are all taken in its next turns, not one per turn."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvloop

from shared import serving
from shared.accept import MOST_PER_TURN, Acceptor


@asynccontextmanager
async def listening(make: type[asyncio.Protocol]) -> AsyncIterator[tuple[Acceptor, tuple[str, int]]]:
    """A listener of the loop's own with an acceptor beside it, as `serving` has them."""
    sock = serving.listen("127.0.0.1", 0)
    server = await asyncio.get_running_loop().create_server(make, sock=sock, backlog=2048)
    acceptor = Acceptor(sock, make)
    acceptor.start()
    try:
        yield acceptor, sock.getsockname()
    finally:
        acceptor.stop()
        acceptor.stop()
        server.close()
        await server.wait_closed()


def test_connections_that_wait_are_taken_many_at_a_time() -> None:
    made: list[asyncio.BaseTransport] = []

    class Made(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(transport)

    async def turns() -> int:
        async with listening(Made) as (_, address):
            clients = [socket.create_connection(address) for _ in range(2 * MOST_PER_TURN)]
            taken = 0
            async with asyncio.timeout(20):
                while len(made) < len(clients):
                    await asyncio.sleep(0)
                    taken += 1
            for client in clients:
                client.close()
            return taken

    assert uvloop.run(turns()) < MOST_PER_TURN


def test_without_a_free_descriptor_they_wait_and_are_taken_later(monkeypatch: pytest.MonkeyPatch) -> None:
    class Made(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            done.set_result(transport)

    class Full:
        """The listening socket of a process that has no descriptor left, three times."""

        def __init__(self, sock: socket.socket) -> None:
            self.sock, self.failed = sock, 0

        def fileno(self) -> int:
            return self.sock.fileno()

        def close(self) -> None:
            self.sock.close()

        def accept(self) -> tuple[socket.socket, object]:
            if self.failed < 3:
                self.failed += 1
                raise OSError(24, "Too many open files")
            return self.sock.accept()

    async def served() -> int:
        global done  # noqa: PLW0603  the protocol is made by the loop
        done = asyncio.get_running_loop().create_future()
        monkeypatch.setattr("shared.accept._PAUSE_S", 0.001)
        sock = serving.listen("127.0.0.1", 0)
        acceptor = Acceptor(sock, Made)
        full = Full(acceptor._sock)
        acceptor._sock = full  # type: ignore[assignment]
        acceptor.start()
        with socket.create_connection(sock.getsockname()):
            await asyncio.wait_for(done, 20)
        acceptor.stop()
        sock.close()
        return full.failed

    assert uvloop.run(served()) == 3


done: asyncio.Future[asyncio.BaseTransport]
