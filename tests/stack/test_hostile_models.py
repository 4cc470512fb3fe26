"""Models that do the worst, each beside a healthy one under steady load: it loses nothing and its answers stay the same."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from client.openloop import Gun, Shot
from tests.stack import chaos
from tests.stack.stack import Stack
from tests.support import eventually

RATE_PER_S = 25
#: Act -> what a caller who asks for it is answered.
REFUSED = {
    "error": (422, "prediction_failed"),
    "quit": (422, "prediction_failed"),
    "connections": (422, "prediction_failed"),
    "disk": (500, "worker_crashed"),  # the kernel's answer to a file beyond the limit
    "signal": (500, "worker_crashed"),
    "segfault": (500, "worker_crashed"),
    "stop_self": (500, "worker_crashed"),
    "loop": (504, "deadline_exceeded"),
    "loop_in_c": (504, "deadline_exceeded"),
}
#: R's own way out may hang instead, and a slow disk be slower than the limit: either refusal is clear.
MAY_HANG = {"quit_for_good", "disk"}
LEAVES = {"500 worker_crashed", "504 deadline_exceeded"}
ANSWERED = ("nap", "leak", "stdout", "stderr", "session", "children", "twin")
DEADLINE_S = 30.0  # what each costs takes seconds of it; with other work on the machine, several times that


@pytest.fixture(scope="module")
def beside(hostile_store: str) -> Iterator[Stack]:
    """Two workers for a healthy model and for one that misbehaves."""
    options = ("--store", hostile_store, "--scorer-workers", "2", "--rate", "1000000/minute")
    running = Stack.up(*options, **chaos.SETTINGS)
    yield running
    running.close()


@pytest.fixture(scope="module")
def folder(beside: Stack) -> Path:
    """Where its R processes live."""
    return chaos.run_dir(beside)


@asynccontextmanager
async def undisturbed(gun: Gun, shots: list[Shot]) -> AsyncIterator[None]:
    """The healthy model under load for as long as the block lasts; afterwards it has lost nothing."""
    stop = asyncio.Event()
    load = asyncio.create_task(gun.fire(shots, rate_per_s=RATE_PER_S, seconds=60, stop=stop))
    try:
        yield
    finally:
        stop.set()
        report = await load
        assert not report.failures, report.failures
    assert report.right > 0


def asks(act: str) -> Shot:
    """A call that asks for it. What is "wrong" about its answer is what was answered, for the test to judge."""

    def said(status: int, body: bytes) -> str:
        answer = json.loads(body)
        return f"{status} {answer.get('code') or answer.get('predictions')}"

    body = json.dumps({"rows": [{"x": 21, "act": act}]}).encode()
    return Shot("/v1/models/misbehaves/score", body, said, {"X-Request-Timeout-Ms": str(int(1000 * DEADLINE_S))})


@pytest.mark.parametrize("act", [*REFUSED, *ANSWERED, "quit_for_good"])
async def test_a_healthy_model_loses_nothing_beside_one_that_does(act: str, beside: Stack, folder: Path) -> None:
    status, code = REFUSED.get(act, (200, "[42.0]"))
    good = chaos.shot("misbehaves", [{"x": 0.1, "act": "none"}, {"x": -3, "act": "none"}], [0.2, -6.0])
    async with chaos.gun(beside) as gun:
        async with undisturbed(gun, chaos.healthy(beside)):
            began = time.monotonic()
            said = await asyncio.gather(*(gun.pull(asks(act)) for _ in range(4)))
            assert time.monotonic() - began < DEADLINE_S
            said += [await gun.pull(asks(act))]
            assert set(said) <= (LEAVES if act in MAY_HANG else {f"{status} {code}"})
            assert await gun.pull(good) is None
        eventually(lambda: chaos.settled(beside, folder), within_s=10, what="workers are back, nothing is left over")
        assert await gun.pull(good) is None
    assert beside.errors_logged("gateway") == []


async def test_a_model_that_leaks_fifty_megabytes_a_call_is_forked_anew_before_it_matters(
    beside: Stack, folder: Path
) -> None:
    seen: dict[int, float] = {}
    async with chaos.gun(beside) as gun, undisturbed(gun, chaos.healthy(beside)):
        for _ in range(40):
            assert await gun.pull(asks("leak")) == "200 [42.0]"
            for pid in chaos.of_r(folder):
                seen[pid] = max(seen.get(pid, 0.0), chaos.resident_mib(pid))
    assert max(seen.values()) < 1000
