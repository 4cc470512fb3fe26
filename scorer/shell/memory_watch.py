"""What workers and zygotes hold: read in a thread, for it takes milliseconds, and remembered for who asks for metrics."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor

from scorer.core.calls import Key
from scorer.shell import processes
from scorer.shell.memory import Memory, memory_of
from scorer.shell.process import Process
from scorer.shell.zygote import Zygote

_MIB = 1024 * 1024
_ZYGOTES_EVERY_S = 10.0
_WEIGHED_EVERY_S = 0.01
# Too large to wait for the measurement of private memory: so many times what a worker may grow, and at least so much.
_FAR_TOO_LARGE, _FAR_TOO_LARGE_BYTES = 4, 256 * _MIB


class MemoryWatch:
    """Build it inside the running loop: what it reads comes back there."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader: Executor = ThreadPoolExecutor(1, "memory")
        self._zygotes_read_s = 0.0
        self._zygotes: dict[Zygote, Memory] = {}

    def read(self, pid: int, then: Callable[[Memory | None], None]) -> None:
        """Read a process's memory; `then` is called in the loop, with None if it is gone."""
        reading = self._loop.run_in_executor(self._reader, memory_of, pid)
        reading.add_done_callback(lambda done: None if done.cancelled() else then(done.result()))

    def tick(self, zygotes: Iterable[Zygote], now: float) -> None:
        """Read those that live, once in ten seconds."""
        if now - self._zygotes_read_s < _ZYGOTES_EVERY_S:
            return
        self._zygotes_read_s = now
        living = {zygote for zygote in zygotes if zygote.alive}
        self._zygotes = {zygote: memory for zygote, memory in self._zygotes.items() if zygote in living}
        for zygote in living:
            self.read(zygote.pid, functools.partial(self._weighed, zygote))

    def _weighed(self, zygote: Zygote, memory: Memory | None) -> None:
        if memory is not None and zygote.alive:
            self._zygotes[zygote] = memory

    def held(self, workers: Iterable[Process], zygotes: Iterable[Zygote]) -> Iterable[tuple[Key, str, Memory]]:
        """Version, process and what it held when it was read last: `zygote`, or a number among the version's workers."""
        places: dict[Key, int] = {}
        for process in sorted(workers, key=lambda p: p.number):
            if process.memory is not None:
                place = places[process.key] = places.get(process.key, -1) + 1
                yield process.key, str(place), process.memory
        for zygote in zygotes:
            if (memory := self._zygotes.get(zygote)) is not None:
                yield zygote.key, "zygote", memory


def far_too_large(process: Process, growth_bytes: float, now: float) -> bool:
    """Whether it leaks so fast that the next measurement would come late. Resident memory costs a look of 20
    microseconds, once in 10 ms; what it shared with the zygote when it was forked is in it from the start."""
    if process.pid is None or not process.resident_bytes or now - process.weighed_s < _WEIGHED_EVERY_S:
        return False
    process.weighed_s = now
    grown = processes.resident_bytes(process.pid) - process.resident_bytes
    return grown > max(_FAR_TOO_LARGE_BYTES, _FAR_TOO_LARGE * growth_bytes)
