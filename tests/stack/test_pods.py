"""Three scorers behind one gateway, one killed and one stopped under load: nobody loses a request; back, they are used."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

from client.openloop import Report
from load_tests.bench.pods import Pod, pods_of, started_again
from tests.stack import chaos
from tests.stack.conftest import publish
from tests.stack.stack import ROOT, Stack
from tests.support import eventually

RATE_PER_S = 60
NewStack = Callable[..., Stack]


async def shot_at(stack: Stack, until: asyncio.Event) -> Report:
    """Load from now on, until told to stop."""
    async with chaos.gun(stack) as gun:
        return await gun.fire(chaos.healthy(stack), rate_per_s=RATE_PER_S, seconds=120, stop=until)


async def all_run_more(pods: list[Pod]) -> None:
    """Waits until each of them has run requests that it had not before."""
    before = {pod: pod.items() for pod in pods}
    for pod in pods:
        await asyncio.to_thread(
            lambda pod=pod: eventually(lambda: pod.items() > before[pod], what=f"{pod.url} is used")
        )


async def test_no_request_fails_with_a_scorer_killed_and_another_stopped_and_all_are_used_when_they_are_back(
    new_stack: NewStack, tmp_path: Path
) -> None:
    publish(tmp_path / "store", ROOT / "examples" / "models" / chaos.HEALTHY / "train.R")
    stack = new_stack(
        "--scorers", "3", "--scorer-workers", "1", "--rate", "1000000/minute", "--store", (tmp_path / "store").as_uri()
    )  # fmt: skip
    pods = pods_of(stack.addresses)
    killed = pods[1]
    assert len(stack.status()["processes"]["scorer"]) >= 3
    environment, stopped = killed.environment(), pods[2].pid()
    until = asyncio.Event()
    load = asyncio.create_task(shot_at(stack, until))
    try:
        await all_run_more(pods)
        os.kill(killed.pid(), signal.SIGKILL)
        await all_run_more([pods[0], pods[2]])
        os.kill(stopped, signal.SIGSTOP)  # what it owes is sent elsewhere once it has not answered two pings
        await all_run_more([pods[0]])
        os.kill(stopped, signal.SIGCONT)
        await all_run_more([pods[0], pods[2]])
        with started_again(environment, tmp_path / "scorer.log"):
            await asyncio.to_thread(lambda: eventually(lambda: killed.items() > 0, within_s=60, what="started again"))
            await all_run_more(pods)
            until.set()
            report = await load
    finally:
        until.set()
        await load
    assert not report.failures, report.failures
    assert report.right == report.intended
