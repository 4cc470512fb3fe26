"""A request as the scorer counts it: `ok` is what was answered, and nothing else."""

from __future__ import annotations

import asyncio
import json
from array import array
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from scorer.core.calls import Call
from scorer.core.effects import Answer
from scorer.core.limits import PoolLimits
from scorer.core.pool import Pool
from scorer.routes.infer import Infer, deliver
from scorer.shell.metrics import ScorerMetrics
from shared.cost import Cost
from shared.messages import encode_request
from shared.signature import Field, Signature, Type
from shared.wire import Frame, tensor_specs

ECHO = Signature(inputs=(Field(name="x", type=Type.DOUBLE),), outputs=(Field(name="prediction", type=Type.DOUBLE),))
KEY = ("a", "1")


class Workers:
    """Of one version, whose calls meet with this."""

    def __init__(self, submit: Callable[[Call], None]) -> None:
        self.pool = Pool(PoolLimits(1))
        self.pool.add_version(KEY, ECHO, batchable=True, cost=Cost(), now=0.0)
        self.submit = submit

    def perform(self, effects: list[object]) -> None:
        """Nothing of it matters here."""


class Request:
    """One request, by hand."""

    def __init__(self, submit: Callable[[Call], None]) -> None:
        self.metrics = ScorerMetrics()
        self.workers = Workers(submit)
        self.sent: list[dict[str, Any]] = []
        head, body = encode_request(tensor_specs(ECHO.inputs), Frame(1, (array("d", [3.0]).tobytes(),)), [1])
        headers = [(b"inference-header-content-length", b"%d" % head), (b"x-request-id", b"r-1")]
        self.scope = {
            "path_params": {"model": KEY[0], "version": KEY[1]}, "headers": headers, "state": {"body": body},
        }  # fmt: skip

    async def receive(self) -> dict[str, Any]:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def run(self) -> None:
        await Infer(self.workers, self.metrics, 1_000_000)(self.scope, self.receive, self.send)  # type: ignore[arg-type]

    def codes(self) -> list[str]:
        text = self.metrics.render().decode()
        return [line for line in text.splitlines() if line.startswith("scorer_requests_total{")]


def counted(code: str) -> list[str]:
    return [f'scorer_requests_total{{code="{code}",model="a",version="1"}} 1.0']


def breaks(_: Call) -> None:
    raise ZeroDivisionError


def answers(call: Call) -> None:
    deliver(Answer(call, frame=call.frame, sizes=(1,)))


async def test_an_answer_is_ok() -> None:
    request = Request(answers)
    await request.run()
    assert request.sent[0]["status"] == 200
    assert request.codes() == counted("ok")


async def test_a_bug_is_answered_with_500_logged_with_its_trace_and_counted_as_one() -> None:
    request = Request(breaks)
    with capture_logs() as logs:
        await request.run()
    assert request.sent[0]["status"] == 500
    assert json.loads(request.sent[1]["body"])["code"] == "internal_error"
    assert request.codes() == counted("internal_error")
    assert [(line["event"], line["request_id"]) for line in logs] == [
        ("scorer.request.broken", "r-1"),
        ("scorer.request.failed", "r-1"),
    ]
    assert logs[0]["exc_info"]


async def test_an_answer_that_breaks_off_is_not_ok_and_no_second_one_is_begun() -> None:
    request = Request(answers)

    async def send(message: Any) -> None:
        request.sent.append(message)
        raise RuntimeError

    request.send = send  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        await request.run()
    assert [message["status"] for message in request.sent] == [200]
    assert request.codes() == counted("internal_error")


async def test_a_request_that_is_cancelled_is_counted_as_that() -> None:
    submitted = asyncio.Event()
    request = Request(lambda _: submitted.set())
    task = asyncio.create_task(request.run())
    await submitted.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert request.sent == []
    assert request.codes() == counted("cancelled")
