"""Long work in steps ends with the deadline of its request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator

import pytest

from gateway.routes.pipeline import in_steps
from shared.errors import DeadlineExceededError


def steps(number: int, took_s: float) -> Generator[None, None, str]:
    for _ in range(number):
        done_s = time.monotonic() + took_s
        while time.monotonic() < done_s:
            pass
        yield
    return "done"


async def test_others_run_between_the_steps() -> None:
    order: list[str] = []
    other = asyncio.create_task(asyncio.sleep(0))
    other.add_done_callback(lambda _: order.append("other"))
    assert await in_steps(steps(5, 0.0), time.monotonic() + 10) == "done"
    order.append("done")
    assert order == ["other", "done"]


async def test_what_is_not_done_in_time_is_given_up_a_step_later_at_most() -> None:
    began_s = time.monotonic()
    with pytest.raises(DeadlineExceededError):
        await in_steps(steps(10_000, 0.001), began_s + 0.01)
    assert time.monotonic() < began_s + 5


async def test_what_is_done_with_its_last_step_is_no_failure() -> None:
    assert await in_steps(steps(0, 0.0), time.monotonic() - 1) == "done"
