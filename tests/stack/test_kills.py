"""Workers killed and stopped under load, and the whole scorer: nobody loses a request, and nothing outlives it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client.openloop import Report
from load_tests.bench.robustness import Kills
from tests.stack import chaos
from tests.stack.stack import Stack
from tests.support import eventually

RATE_PER_S = 60
NewStack = Callable[..., Stack]


@pytest.fixture(scope="module")
def pod(hostile_store: str) -> Iterator[Stack]:
    """Two workers."""
    options = ("--store", hostile_store, "--scorer-workers", "2", "--rate", "1000000/minute")
    running = Stack.up(*options, **chaos.SETTINGS)
    yield running
    running.close()


async def while_one_is(stack: Stack, number: signal.Signals, every_s: float, seconds: float) -> tuple[Report, int]:
    """The load, and how many workers of the healthy model were sent the signal meanwhile."""
    kills = Kills(stack.addresses["scorer_internal_url"], chaos.HEALTHY)
    async with chaos.gun(stack) as gun, kills.every(every_s, number):
        report = await gun.fire(chaos.healthy(stack), rate_per_s=RATE_PER_S, seconds=seconds)
    return report, kills.count


async def test_no_request_fails_while_a_worker_is_killed_every_second(pod: Stack) -> None:
    folder = chaos.run_dir(pod)
    report, killed = await while_one_is(pod, signal.SIGKILL, 1.0, 8.0)
    assert killed >= 6
    assert not report.failures, report.failures
    assert report.right == report.intended
    eventually(lambda: chaos.settled(pod, folder), what="the workers are back")


async def test_no_request_fails_while_a_worker_is_stopped_every_few_seconds(pod: Stack) -> None:
    folder = chaos.run_dir(pod)
    report, stopped = await while_one_is(pod, signal.SIGSTOP, 2.0, 8.0)
    assert stopped >= 3
    assert not report.failures, report.failures
    assert report.right == report.intended
    eventually(lambda: chaos.settled(pod, folder), what="the workers are back, the stopped ones gone")


async def test_all_workers_killed_at_once_cost_no_more_than_a_request_that_both_had(pod: Stack) -> None:
    folder = chaos.run_dir(pod)
    async with chaos.gun(pod) as gun:
        load = asyncio.create_task(gun.fire(chaos.healthy(pod), rate_per_s=RATE_PER_S, seconds=3))
        for worker in chaos.inside(pod)["workers"]:
            os.kill(worker["pid"], signal.SIGKILL)
        report = await load
    # A request alone in its run whose worker is killed twice in a row is refused (docs/explanation/robustness.md): here, one
    # that went from one worker to the other between the two signals.
    assert report.failures.total() <= 1, report.failures
    assert all("worker_crashed" in failure for failure in report.failures), report.failures
    eventually(lambda: chaos.settled(pod, folder), what="the workers are back")


def scorer_process(stack: Stack) -> int:
    return int(chaos.inside(stack)["pid"])


def gone(pid: int) -> bool:
    """Whether a process has ended (its parent, the stack's supervisor, may not have looked yet)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _has_open_calls(stack: Stack, number: int) -> None:
    eventually(lambda: chaos.inside(stack)["open_calls"] >= number, what=f"it has {number}")


async def test_sigterm_under_load_answers_what_is_in_flight_and_leaves_nothing(
    new_stack: NewStack, hostile_store: str
) -> None:
    stack = new_stack("--store", hostile_store, "--scorer-workers", "2", "--rate", "1000000/minute", **chaos.SETTINGS)
    folder, pid = chaos.run_dir(stack), scorer_process(stack)
    nap = chaos.shot(chaos.HOSTILE, [{"x": 4, "act": "nap"}], [8.0])
    async with chaos.gun(stack) as gun:
        assert await gun.pull(chaos.shot(chaos.HOSTILE, [{"x": 1, "act": "children"}], [2.0])) is None
        in_flight = []
        for number in (1, 2):  # one after the other: what comes in one moment leaves in one call
            in_flight.append(asyncio.create_task(gun.pull(nap)))
            await asyncio.to_thread(_has_open_calls, stack, number)
        load = asyncio.create_task(gun.fire(chaos.healthy(stack), rate_per_s=RATE_PER_S, seconds=2))
        answered = chaos.metric(stack, "scorer_requests_total", model=chaos.HEALTHY)
        await asyncio.to_thread(
            lambda: eventually(
                lambda: chaos.metric(stack, "scorer_requests_total", model=chaos.HEALTHY) > answered, what="under load"
            )
        )
        os.kill(pid, signal.SIGTERM)
        report = await load
        assert await asyncio.gather(*in_flight) == [None, None], "what it had taken is answered"
    eventually(lambda: gone(pid), within_s=5, what="it has ended")
    eventually(lambda: not chaos.of_r(folder), within_s=2, what="no R process is left")
    # What came later is refused clearly, by a gateway that still stands.
    assert all(text.startswith(("503", "502")) for text in report.failures), report.failures
    assert "scorer.stopped" in "\n".join(stack.logged("scorer"))
    assert [path for path in folder.glob("**/*") if path.is_socket()] == []


async def test_sigkill_with_workers_busy_in_c_leaves_no_r_process_two_seconds_later(
    new_stack: NewStack, hostile_store: str
) -> None:
    settings = chaos.SETTINGS | {"SCORER_MAX_PREDICT_S": "60"}
    stack = new_stack("--store", hostile_store, "--scorer-workers", "2", "--rate", "1000000/minute", **settings)
    folder, pid = chaos.run_dir(stack), scorer_process(stack)
    busy_in_c = chaos.shot(chaos.HOSTILE, [{"x": 1, "act": "loop_in_c"}], [])
    with_children = chaos.shot(chaos.HOSTILE, [{"x": 1, "act": "children"}], [2.0])
    async with chaos.gun(stack) as gun:
        assert await gun.pull(with_children) is None
        calls = [asyncio.create_task(gun.pull(busy_in_c)) for _ in range(2)]
        await asyncio.to_thread(
            lambda: eventually(lambda: [w for w in chaos.inside(stack)["workers"] if w["state"] == "busy"])
        )
        assert len(chaos.of_r(folder)) >= 4
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(
            lambda: eventually(lambda: not chaos.of_r(folder), within_s=2, what="no R process is left")
        )
        assert all(said is not None and said.startswith(("502", "503", "504")) for said in await asyncio.gather(*calls))
    eventually(lambda: not list(folder.glob("z*")), within_s=2, what="no socket, no file of a worker is left")
