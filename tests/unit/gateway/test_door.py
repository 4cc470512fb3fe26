"""Who waits at the door of a flooded gateway, and who is forgotten there."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from gateway.metrics import Metrics
from gateway.routes import door as module
from gateway.routes.door import Door
from shared.errors import OverloadedError

ASKED: Any = SimpleNamespace(
    caller=SimpleNamespace(key="loud"), grant=None, served=SimpleNamespace(entry=SimpleNamespace(model="m"))
)
REQUEST = b"POST /v1/models/m/score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\nContent-Length: 2\r\n\r\n{}"


class FullEntry:
    """As `Entry`, of a gateway that takes nothing."""

    def timeout_ms(self, *_: Any) -> int:
        """A minute."""
        return 60_000

    def may_enter(self, *_: Any) -> None:
        """Nobody may."""
        raise OverloadedError(retry_after_ms=1000)


class Connection:
    """As `ProtectProtocol`: one that waits, and may be lost."""

    def __init__(self) -> None:
        self.visit: Any = None
        self.refused = 0
        self.closed = False
        self.transport = self
        self.entered: list[bytes] = []
        self.door: Door | None = None

    def close(self) -> None:
        """It ends."""
        self.closed = True

    def enter(self, data: bytes) -> None:
        """The usual way."""
        self.entered.append(data)

    def data_received(self, data: bytes) -> None:
        """More of it."""
        assert self.door is not None
        if not self.door.takes(self, data):  # type: ignore[arg-type]
            self.enter(data)

    def refused_at_the_door(self, _answer: list[bytes], _caller: str) -> None:
        """It is told."""
        self.refused += 1


async def test_connections_that_were_lost_while_they_waited_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_S", 0.0)
    monkeypatch.setattr(module, "SHARE", 0.0)  # time for one in a turn, as in a flood
    door = Door(FullEntry(), Metrics(), lambda *_: None)  # type: ignore[arg-type]
    door.remember(b"Bearer t", b"/v1/models/m/score", ASKED)
    connections = [Connection() for _ in range(1000)]
    for connection in connections:
        assert door.takes(connection, REQUEST)  # type: ignore[arg-type]
    for lost in connections[:990]:
        lost.visit = None
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(door) == 0
    assert [connection.refused for connection in connections] == [0] * 990 + [1] * 10


async def test_of_requests_that_came_together_each_is_refused_here_and_what_is_none_goes_the_usual_way() -> None:
    door = Door(FullEntry(), Metrics(), lambda *_: None)  # type: ignore[arg-type]
    door.remember(b"Bearer t", b"/v1/models/m/score", ASKED)
    connection = Connection()
    connection.door = door
    half = REQUEST[:-1]
    connection.data_received(REQUEST * 3 + half)
    for _ in range(10):
        await asyncio.sleep(0)
    assert connection.refused == 3
    assert connection.entered == [half]


async def test_who_is_let_in_takes_along_what_came_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = FullEntry()
    monkeypatch.setattr(entry, "may_enter", lambda *_: None)
    door = Door(entry, Metrics(), lambda *_: None)  # type: ignore[arg-type]
    door.remember(b"Bearer t", b"/v1/models/m/score", ASKED)
    connection = Connection()
    connection.door = door
    connection.data_received(REQUEST * 2)
    await asyncio.sleep(0)
    assert connection.entered == [REQUEST * 2]


async def test_a_mistake_about_one_visitor_is_logged_and_closes_its_connection_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Mistaken(FullEntry):
        """As it, but that it fails once."""

        failures = 1

        def may_enter(self, *_: Any) -> None:
            """Nobody may; the first cannot be told so."""
            if self.failures:
                self.failures -= 1
                raise KeyError("ours")
            super().may_enter()

    monkeypatch.setattr(module, "LEAST_S", 0.0)
    monkeypatch.setattr(module, "SHARE", 0.0)
    door = Door(Mistaken(), Metrics(), lambda *_: None)  # type: ignore[arg-type]
    door.remember(b"Bearer t", b"/v1/models/m/score", ASKED)
    connections = [Connection() for _ in range(3)]
    with structlog.testing.capture_logs() as lines:
        for connection in connections:
            assert door.takes(connection, REQUEST)  # type: ignore[arg-type]
        for _ in range(10):
            await asyncio.sleep(0)
        late = Connection()
        assert door.takes(late, REQUEST)  # type: ignore[arg-type]
        for _ in range(10):
            await asyncio.sleep(0)
    assert [connection.closed for connection in [*connections, late]] == [True, False, False, False]
    assert [connection.refused for connection in [*connections, late]] == [0, 1, 1, 1]
    assert [(line["event"], line["log_level"]) for line in lines] == [("gateway.door.failed", "error")]


def test_tokens_whose_time_is_over_are_forgotten_with_the_next_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    door = Door(FullEntry(), Metrics(), lambda *_: None)  # type: ignore[arg-type]

    def kept() -> list[bytes]:
        return [authorization for authorization, _ in door._refused]

    door.remember(b"one", b"/", ASKED)
    door.remember(b"two", b"/", ASKED)
    clock.now += module.REMEMBER_S
    door.remember(b"one", b"/", ASKED)
    clock.now += module.REMEMBER_S + 0.1
    door.remember(b"three", b"/", ASKED)
    assert kept() == [b"one", b"three"]
    for number in range(2 * module.MAX_REMEMBERED):
        door.remember(b"%d" % number, b"/", ASKED)
    assert len(kept()) == module.MAX_REMEMBERED
