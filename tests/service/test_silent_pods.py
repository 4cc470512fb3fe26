"""A pod that falls silent while it owes an answer: noticed by pings, its work tried elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from gateway.shell import pings
from gateway.shell.pings import Owed, SilentError
from tests.service.gateway_alone import FakePod, becomes_true, running
from tests.service.test_gateway_stages import client


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Suspicion after hundredths of a second, so that the tests need not wait."""
    monkeypatch.setattr(pings, "SUSPECT_S", 0.02)
    monkeypatch.setattr(pings, "_LOOK_S", 0.005)


@contextlib.asynccontextmanager
async def looking(
    ping: Callable[[str], Awaitable[bool]], *, others: bool = True
) -> AsyncIterator[tuple[Owed, list[str]]]:
    silent: list[str] = []

    def fell_silent(address: str) -> bool:
        silent.append(address)
        return others

    owed = Owed(ping, fell_silent)
    owed.start()
    yield owed, silent
    await owed.close()


async def test_what_a_silent_pod_owes_is_lost_after_two_pings() -> None:
    asked: list[str] = []

    async def ping(address: str) -> bool:
        asked.append(address)
        return False

    async with looking(ping) as (owed, silent):
        answer = asyncio.get_running_loop().create_future()
        owed.leaves("a", answer)
        with pytest.raises(SilentError):
            async with asyncio.timeout(5):
                await answer
        owed.back("a", answer, answered=False)
    assert (asked, silent) == (["a", "a"], ["a"])


async def test_a_pod_that_answers_pings_may_take_as_long_as_it_likes() -> None:
    asked: list[float] = []
    often = asyncio.Event()

    async def ping(_: str) -> bool:
        asked.append(time.monotonic())
        if len(asked) == 5:
            often.set()
        return True

    async with looking(ping) as (owed, silent):
        answer = asyncio.get_running_loop().create_future()
        owed.leaves("a", answer)
        async with asyncio.timeout(5):
            await often.wait()
        owed.back("a", answer, answered=True)
        assert not answer.done()
    assert silent == []
    assert all(later - earlier >= 0.02 for earlier, later in itertools.pairwise(asked))


async def test_only_the_pod_that_owes_is_asked() -> None:
    asked: list[str] = []
    done = asyncio.Event()

    async def ping(address: str) -> bool:
        asked.append(address)
        done.set()
        return True

    async with looking(ping) as (owed, _):
        answer, other = (asyncio.get_running_loop().create_future() for _ in range(2))
        owed.leaves("a", answer)
        owed.back("a", answer, answered=True)
        owed.leaves("b", other)
        async with asyncio.timeout(5):
            await done.wait()
        owed.back("b", other, answered=True)
    assert set(asked) == {"b"}


async def test_the_only_pod_is_waited_for_however_silent() -> None:
    often = asyncio.Event()
    asked: list[str] = []

    async def ping(address: str) -> bool:
        asked.append(address)
        if len(asked) == 6:
            often.set()
        return False

    async with looking(ping, others=False) as (owed, silent):
        answer = asyncio.get_running_loop().create_future()
        owed.leaves("a", answer)
        async with asyncio.timeout(5):
            await often.wait()
        owed.back("a", answer, answered=True)
        assert not answer.done()
    assert len(silent) >= 2


async def test_a_version_is_not_ready_while_none_of_its_pods_answers_and_is_again_when_one_does(tmp_path: Path) -> None:
    async with running(tmp_path, FakePod(), catalogue_poll_s=0.05) as gateway, client(gateway.url) as http:
        pods = gateway.gateway.entry.pods.pods
        assert (await http.get("/v2/models/m/ready")).status_code == 200
        [pod] = pods.by_address.values()
        pods.failed(pod, time.monotonic())
        away = await http.get("/v2/models/m/ready")
        assert (away.status_code, away.headers["retry-after"]) == (503, "1")
        await becomes_true(lambda: not pod.failures)
        assert (await http.get("/v2/models/m/versions/1/ready")).status_code == 200
