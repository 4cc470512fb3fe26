"""Callers whose rows crash R, or hang in it, again and again, beside others of the same version: those lose nothing but time."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator

import pytest

from client.openloop import Gun, Shot
from tests.stack import chaos
from tests.stack.stack import Stack

#: Of them no answer is wrong, so that the report counts them.
CALLERS = 16
SECONDS = 20


@pytest.fixture(scope="module")
def stack(hostile_store: str) -> Iterator[Stack]:
    """As it is delivered, but for the rate."""
    running = Stack.up("--store", hostile_store, "--scorer-workers", "2", "--rate", "1000000/minute")
    yield running
    running.close()


def asks(act: str, **headers: str) -> Shot:
    """A row that does it; what is answered counts as a failure under its status and code."""

    def said(status: int, body: bytes) -> str:
        return f"{status} {json.loads(body).get('code')}"

    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Shot("/v1/models/misbehaves/score", json.dumps({"rows": [{"x": 1, "act": act}]}).encode(), said, named)


def gun(stack: Stack, app: str) -> Gun:
    """Fires as an app of its own."""
    return Gun(stack.gateway_url, {"Authorization": f"Bearer {stack.token(app)}", "Content-Type": "application/json"})


@pytest.mark.parametrize(
    ("app", "act", "timeout_ms", "refused"),
    [
        ("all-v1", "signal", "10000", "500 worker_crashed"),
        ("user", "loop", "10000", "504 deadline_exceeded"),
    ],
)
async def test_others_of_the_version_are_answered_and_the_one_caller_is_refused(
    stack: Stack, app: str, act: str, timeout_ms: str, refused: str
) -> None:
    good = [chaos.shot("misbehaves", [{"x": n + 0.1, "act": "none"}], [2 * (n + 0.1)]) for n in range(CALLERS)]
    async with gun(stack, "all") as others, gun(stack, app) as harmful:
        flood = asyncio.create_task(others.flood(good, callers=CALLERS, seconds=SECONDS))
        report = await harmful.fire([asks(act, X_Request_Timeout_Ms=timeout_ms)], rate_per_s=10, seconds=SECONDS)
        lost = await flood
        after = await others.flood(good, callers=CALLERS, seconds=2)
    assert lost.failures == Counter()
    assert lost.right > 1000
    assert after.failures == Counter()
    assert set(report.failures) <= {refused, "429 harmful_rows", "503 overloaded"}
    assert report.failures[refused] >= 1
    assert report.failures["429 harmful_rows"] > 0.5 * report.intended
    assert stack.errors_logged("gateway") == []
