"""Workers without R: what the zygote says, in an order that a test chooses."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from scorer.core.effects import Answer, Cause
from scorer.core.limits import PoolLimits
from scorer.core.pool import Pool
from scorer.shell.metrics import ScorerMetrics
from scorer.shell.process import WorkerLimits
from scorer.shell.workers import Workers
from shared.cost import Cost
from shared.signature import Field, Signature, Type

ECHO = Signature(inputs=(Field(name="x", type=Type.DOUBLE),), outputs=(Field(name="prediction", type=Type.DOUBLE),))
KEY = ("a", "1")
LIMITS = WorkerLimits(
    start_s=60, predict_s=60, grace_s=1, ping_s=60, headroom_bytes=0, file_bytes=1_000_000, answer_bytes=1_000_000
)


class Zygote:
    """Takes orders, and says of them what it is told to say."""

    alive, misses = True, 0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.orders: list[tuple[int, Path, Callable[[str, list[str]], None]]] = []

    def fork(self, worker: int, folder: Path, listener: Callable[[str, list[str]], None]) -> None:
        self.orders.append((worker, folder, listener))

    def forget(self, worker: int) -> None:
        """No news of it is told after this."""

    def missed(self) -> None:
        """It counts them; nothing here does."""


class Made:
    """Workers of one version that wait for their zygote, which has one order."""

    def __init__(self, folder: Path) -> None:
        folder = folder if len(str(folder)) < 90 else Path(os.path.relpath(folder))  # a socket's path is short
        self.ready: list[tuple[str, str]] = []
        answers: list[Answer] = []
        self.workers = Workers(Pool(PoolLimits(1)), LIMITS, ScorerMetrics(), answers.append)
        self.workers.on_ready = self.ready.append
        zygote = Zygote(folder)
        self.workers.zygotes[KEY] = zygote  # type: ignore[assignment]
        self.workers.perform(self.workers.pool.add_version(KEY, ECHO, batchable=True, cost=Cost(), now=0.0))
        [(self.number, self.folder, self.says)] = zygote.orders
        self.process = self.workers.processes[self.number]

    def forked(self) -> None:
        """As a process that does nothing."""
        self.says("forked", [str(os.posix_spawn("/bin/sleep", ["sleep", "60"], {}))])

    async def connected(self) -> None:
        """Until what "listening" has begun is over."""
        await asyncio.gather(*self.process.tasks)


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Made]:
    made = Made(tmp_path)
    made.forked()
    open_ones: list[asyncio.StreamWriter] = []
    server = await asyncio.start_unix_server(lambda _, writer: open_ones.append(writer), made.folder / "s")
    yield made
    made.workers.end(made.number, Cause.RETIRED)
    async with asyncio.timeout(10):
        while made.number in made.workers.processes:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0)
    server.close()
    for writer in open_ones:
        writer.close()


async def test_a_worker_that_listens_makes_its_version_ready(made: Made) -> None:
    made.says("listening", [])
    await made.connected()
    assert made.ready == [KEY]


async def test_a_worker_that_was_told_to_end_before_it_was_connected_makes_no_version_ready(made: Made) -> None:
    made.says("listening", [])
    made.workers.end(made.number, Cause.UNANSWERED)
    await made.connected()
    assert made.ready == []
