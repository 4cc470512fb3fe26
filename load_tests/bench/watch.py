"""What processes hold while a load runs: memory and open files, sampled in the background."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from load_tests.bench.figures import growth_percent
from load_tests.bench.processes import Roles, open_files, pss_mib

#: Shells that only guard others hold less, and a page more of theirs is no growth.
_LEAST_MIB = 1.0


@dataclass
class Held:
    """Samples of each process: (seconds since the start, MiB, descriptors)."""

    role: dict[int, str] = field(default_factory=dict)
    samples: dict[int, list[tuple[float, float, int]]] = field(default_factory=dict)
    seconds: float = 0.0

    def growth(self, pid: int, after_s: float) -> float:
        """Of its memory, in percent."""
        return growth_percent([(at, mib) for at, mib, _ in self.samples[pid]], after_s)

    def lasting(self, after_s: float) -> list[int]:
        """Processes that lived from then to the end."""
        end = 0.9 * self.seconds
        return [pid for pid, taken in self.samples.items() if taken[0][0] <= after_s and taken[-1][0] >= end]

    def rows(self, after_s: float) -> list[dict[str, Any]]:
        """For a table."""
        return [
            {
                "": f"{self.role[pid]} {pid}",
                "MiB after start": next(mib for at, mib, _ in self.samples[pid] if at >= after_s),
                "MiB at the end": self.samples[pid][-1][1],
                "MiB at most": max(mib for at, mib, _ in self.samples[pid] if at >= after_s),
                "growth %": round(self.growth(pid, after_s), 2),
                "files": max(files for _, _, files in self.samples[pid]),
            }
            for pid in self.lasting(after_s)
        ]


@asynccontextmanager
async def watching(roles: Roles, every_s: float, ask_every_s: float = 20.0) -> AsyncIterator[Held]:
    """Samples until the block ends.

    `roles` is asked again when a process has ended, and every 20 s for those that came: a third of a second of CPU each time would
    be missing in what is measured.
    """
    held = Held()
    began = time.monotonic()

    def sample(found: Mapping[str, Sequence[int]]) -> bool:
        """Whether all of them live."""
        at = time.monotonic() - began
        all_live = True
        for role, pids in found.items():
            for pid in pids:
                mib = pss_mib(pid)
                all_live = all_live and mib > 0
                if mib >= _LEAST_MIB:
                    held.role[pid] = role
                    held.samples.setdefault(pid, []).append((at, mib, open_files(pid)))
        return all_live

    async def go_on() -> None:
        found, asked_s = await asyncio.to_thread(roles), time.monotonic()
        while True:
            if not await asyncio.to_thread(sample, found) or time.monotonic() - asked_s >= ask_every_s:
                found, asked_s = await asyncio.to_thread(roles), time.monotonic()
            await asyncio.sleep(every_s)

    task = asyncio.create_task(go_on())
    try:
        yield held
    finally:
        held.seconds = time.monotonic() - began
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
