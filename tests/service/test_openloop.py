"""The open-loop generator against a server of a few lines: what it sends, when, and what it says came of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from client.openloop import NO_ANSWER, NOT_SENT, Gun, Shot, due


def right_is(expected: bytes) -> Callable[[int, bytes], str | None]:
    return lambda status, body: None if (status, body) == (200, expected) else f"{status} {body.decode()}"


class Server:
    """Answers each body with itself; `how` may change an answer's status, or hold it back for ever (0)."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.connections = 0
        self.how: Callable[[bytes], int] = lambda _: 200
        self._serving: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._serving[asyncio.current_task()] = writer
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                self.heads.append(head)
                status = self.how(body)
                if not status:
                    await asyncio.Event().wait()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)))
                await asyncio.sleep(0)
                writer.write(body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass

    @asynccontextmanager
    async def listening(self, path: str | None = None) -> AsyncIterator[str]:
        """On a unix socket, or on a TCP port; where that is."""
        if path:
            server = await asyncio.start_unix_server(self.serve, path)
        else:
            server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        try:
            async with server:
                yield path or f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            for task, writer in self._serving.items():
                if task:
                    task.cancel()
                writer.close()
            await asyncio.gather(*(task for task in self._serving if task), return_exceptions=True)
            await asyncio.gather(*(w.wait_closed() for w in self._serving.values()), return_exceptions=True)


async def test_every_request_leaves_in_its_turn_and_each_answer_is_compared() -> None:
    server = Server()
    shots = [Shot("/a", b"one", right_is(b"one"), {"X-Of": "shot"}), Shot("/b", b"two", right_is(b"another"))]
    async with server.listening() as url, Gun(url, {"X-All": "yes"}) as gun:
        report = await gun.fire(shots, rate_per_s=200, seconds=0.5)
    assert (report.intended, report.right) == (100, 50)
    assert dict(report.failures) == {"200 two": 50}
    assert len(report.failed_s["200 two"]) == 50
    assert sum(head.startswith(b"POST /a HTTP/1.1\r\n") for head in server.heads) == 50
    assert all(b"X-All: yes" in head for head in server.heads)
    assert 0.4 < report.took_s < 5
    assert server.connections < 100


async def test_a_connection_is_used_again_and_as_many_are_opened_as_callers_wait() -> None:
    server = Server()
    shots = [Shot("/", b"x", right_is(b"x"))]
    async with server.listening() as url, Gun(url) as gun:
        report = await gun.flood(shots, callers=5, seconds=0.2)
    assert report.right == report.intended > 20
    assert server.connections == 5


async def test_a_pool_is_kept_and_used_in_turn_and_what_finds_none_free_waits() -> None:
    server, shot = Server(), Shot("/", b"x", right_is(b"x"))
    async with server.listening() as url, Gun(url, pool=3) as gun:
        assert await asyncio.gather(*(gun.pull(shot) for _ in range(20))) == [None] * 20
        for _ in range(6):
            assert await gun.pull(shot) is None
        assert server.connections == 3
        for writer in list(server._serving.values()):
            writer.close()
        async with asyncio.timeout(10):
            while server.connections < 6:  # noqa: ASYNC110  what the server has closed is opened again
                await asyncio.sleep(0.01)
        assert await gun.pull(shot) is None


async def test_without_a_server_all_that_wait_for_a_pool_are_told() -> None:
    async with Gun("http://127.0.0.1:1", pool=2) as gun:
        said = await asyncio.gather(*(gun.pull(Shot("/", b"x", right_is(b"x"))) for _ in range(5)))
    assert all(wrong and "ConnectionRefusedError" in wrong for wrong in said)


async def test_what_is_not_answered_in_time_is_said_and_does_not_hold_the_others() -> None:
    server = Server()
    server.how = lambda body: 0 if body == b"stuck" else 200
    shots = [Shot("/", b"stuck", right_is(b"stuck")), Shot("/", b"x", right_is(b"x"))]
    async with server.listening() as url, Gun(url, timeout_s=0.3) as gun:
        report = await gun.fire(shots, rate_per_s=100, seconds=0.1)
    assert dict(report.failures) == {NO_ANSWER: 5}
    assert report.right == 5


async def test_more_than_may_be_unanswered_at_once_are_not_sent() -> None:
    server = Server()
    server.how = lambda _: 0
    async with server.listening() as url, Gun(url, timeout_s=0.3, at_once=3) as gun:
        report = await gun.fire([Shot("/", b"x", right_is(b"x"))], rate_per_s=1000, seconds=0.01)
    assert dict(report.failures) == {NOT_SENT: 7, NO_ANSWER: 3}


async def test_a_server_that_is_away_is_a_failure_of_each_request() -> None:
    async with Gun("http://127.0.0.1:1") as gun:
        wrong = await gun.pull(Shot("/", b"", right_is(b"")))
    assert wrong is not None
    assert "refused" in wrong.lower() or "111" in wrong


async def test_it_speaks_over_a_unix_socket(tmp_path: Path) -> None:
    server = Server()
    async with server.listening(str(tmp_path / "s")) as path, Gun(path) as gun:
        assert await gun.pull(Shot("/", b"x", right_is(b"x"))) is None


def test_it_fires_at_this_machine_only_and_only_when_entered() -> None:
    with pytest.raises(ValueError, match="not this machine"):
        Gun("http://192.0.2.1")


@pytest.mark.parametrize(("elapsed_s", "left"), [(0.0, 1), (0.0099, 1), (0.01, 2), (0.5, 51), (9.0, 100)])
def test_the_schedule_is_set_beforehand(elapsed_s: float, left: int) -> None:
    assert due(100, elapsed_s, 100) == left
