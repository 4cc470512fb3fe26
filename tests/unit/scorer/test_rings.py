"""What a request made is let go by its last reference when the request ends: the cyclic collection comes far too seldom for it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from scorer.core.calls import Call, Failure, Run
from scorer.core.effects import Answer, Effect, Fork, Send
from scorer.core.limits import PoolLimits
from scorer.core.pool import Pool
from scorer.routes import infer
from scorer.routes.infer import Infer, deliver
from scorer.shell.metrics import ScorerMetrics
from shared.cost import Cost
from shared.deadline import DEADLINE_HEADER
from shared.errors import VersionDownError
from shared.messages import encode_request
from shared.signature import Field, Signature, Type
from shared.wire import Frame, tensor_specs

ECHO = Signature(inputs=(Field(name="x", type=Type.DOUBLE),), outputs=(Field(name="prediction", type=Type.DOUBLE),))
KEY = ("a", "1")
REQUESTS = 20


class Workers:
    """The real pool; its one worker answers with `reply`, or never where that is None."""

    def __init__(self, reply: Callable[[Frame], Frame | Failure] | None) -> None:
        self.pool = Pool(PoolLimits(1))
        self.now = 0.0
        self._reply = reply
        self.perform(self.pool.add_version(KEY, ECHO, batchable=True, cost=Cost(), now=0.0))

    def submit(self, call: Call) -> None:
        self.perform(self.pool.submit(call, self._tick()))

    def perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Answer():
                    deliver(effect)
                case Fork():
                    self.perform(self.pool.worker_ready(effect.worker, self._tick()))
                case Send() if self._reply is not None:
                    asyncio.get_running_loop().call_soon(
                        self._done, effect.worker, effect.run, self._reply(effect.run.frame)
                    )

    def _done(self, worker: int, run: Run, result: Frame | Failure) -> None:
        self.perform(self.pool.run_done(worker, run, result, self._tick()))

    def _tick(self) -> float:
        return 0.0

    def forget(self) -> None:
        """What its worker was given is over."""
        for worker in self.pool.workers.values():
            if worker.run is not None:
                self.perform(self.pool.run_done(worker.number, worker.run, Failure("prediction_failed", "late"), 0.0))


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def alive() -> list[object]:
    return [thing for thing in gc.get_objects() if isinstance(thing, (Call, Answer))]


async def ask(
    workers: Workers, *, timeout_ms: int = 30_000, leaves: bool = False, cancel: bool = False, broken: bool = False
) -> int:
    """The status of one request's answer; 0 if none was begun."""
    head, body = encode_request(tensor_specs(ECHO.inputs), Frame(1, (array("d", [3.0]).tobytes(),)), [1])
    headers = [(b"inference-header-content-length", b"%d" % head), (DEADLINE_HEADER.encode(), b"%d" % timeout_ms)]
    scope = {"path_params": {"model": KEY[0], "version": KEY[1]}, "headers": headers, "state": {"body": body}}
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        if leaves:
            return {"type": "http.disconnect"}
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))
        if broken:
            raise ConnectionResetError

    answering = asyncio.create_task(Infer(workers, ScorerMetrics(), 1_000_000)(scope, receive, send))  # type: ignore[arg-type]
    if cancel:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        answering.cancel()
    await asyncio.wait({answering})
    if not answering.cancelled():
        answering.exception()  # looked at, not raised: that would be a ring of its own
    return max(statuses, default=0)


async def left_over(workers: Workers, status: int, **how: Any) -> list[object]:
    """What is left of some requests that all end with this status."""
    with no_collection(), capture_logs():
        for _ in range(REQUESTS):
            assert await ask(workers, **how) == status
        workers.forget()
        await asyncio.sleep(0)  # watching tasks that were cancelled end
        await asyncio.sleep(0)
        return alive()


async def test_of_an_answered_request_nothing_is_left() -> None:
    assert await left_over(Workers(lambda frame: frame), 200) == []


async def test_of_one_whose_rows_failed_nothing_is_left() -> None:
    assert await left_over(Workers(lambda _: Failure("prediction_failed", "no")), 200) == []


async def test_of_one_whose_answer_could_not_be_sent_nothing_is_left() -> None:
    assert await left_over(Workers(lambda frame: frame), 200, broken=True) == []


async def test_of_one_that_is_refused_as_it_comes_nothing_is_left() -> None:
    workers = Workers(None)
    workers.pool.lines[KEY].upkeep.down = "no worker stays up"
    assert await left_over(workers, VersionDownError.status) == []


async def test_of_one_that_is_refused_while_it_waits_nothing_is_left() -> None:
    class GoesDown(Workers):
        def submit(self, call: Call) -> None:
            super().submit(call)
            asyncio.get_running_loop().call_soon(
                lambda: (self.perform(self.pool.leave(call, 0.0)), deliver(Answer(call, refused=VersionDownError())))
            )

    assert await left_over(GoesDown(None), VersionDownError.status) == []


async def test_of_one_that_meets_a_bug_nothing_is_left() -> None:
    class Breaks(Workers):
        def submit(self, _: Call) -> None:
            raise ZeroDivisionError

    assert await left_over(Breaks(None), 500) == []


async def test_of_one_past_its_deadline_nothing_is_left() -> None:
    assert await left_over(Workers(None), 504, timeout_ms=5) == []


async def test_of_one_whose_caller_left_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infer, "_WATCH_AFTER_S", 0.0)
    assert await left_over(Workers(None), 0, leaves=True) == []


async def test_of_one_that_was_cancelled_nothing_is_left() -> None:
    assert await left_over(Workers(None), 0, cancel=True) == []
