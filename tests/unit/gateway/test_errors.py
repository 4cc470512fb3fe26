"""The edge that answers for errors: what a request held goes with its refusal."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from gateway.middleware.errors import Errors
from gateway.shell.body import ClientDisconnectedError
from shared.errors import DeadlineExceededError


class Rows:
    """What a request holds."""


@pytest.mark.parametrize("error", [DeadlineExceededError, ClientDisconnectedError])
async def test_a_refused_request_is_freed_at_once_and_not_by_the_garbage_collector(error: type[Exception]) -> None:
    held: list[weakref.ref[Rows]] = []

    async def app(*_: Any) -> None:
        rows = Rows()
        held.append(weakref.ref(rows))
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        answer.set_exception(error())
        await answer

    async def send(_: Any) -> None:
        """Taken."""

    gc.collect()
    gc.disable()
    try:
        scope = {"type": "http", "path": "/", "state": {}}
        await Errors(app)(scope, send, send)  # type: ignore[arg-type]
        assert [one() for one in held] == [None]
    finally:
        gc.enable()
