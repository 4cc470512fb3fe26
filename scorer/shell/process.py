"""A forked worker as a process and a socket, and what it may use. Decides nothing: `Workers` does with it what the pool says."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from dataclasses import dataclass, field
from pathlib import Path

from scorer.core.calls import Key
from scorer.shell.memory import Memory
from scorer.shell.processes import Plight, Watched
from scorer.shell.worker import WorkerConnection
from scorer.shell.zygote import Zygote


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What one worker may use, and for how long."""

    start_s: float  # from the order until it listens
    predict_s: float  # for one run
    grace_s: float  # beyond that, before it is killed
    ping_s: float  # between two pings while it is idle, and for the answer to one (a second at least)
    headroom_bytes: int  # of address space beyond what it has at the fork; 0: no limit
    file_bytes: int  # of each file it writes
    answer_bytes: int  # of one answer

    def set_on(self, pid: int) -> None:
        """Have the kernel hold this process to them; nothing happens if it is gone."""
        with contextlib.suppress(OSError, ValueError):
            resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (self.file_bytes, self.file_bytes))
            if self.headroom_bytes:
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
                most = pages * resource.getpagesize() + self.headroom_bytes
                resource.prlimit(pid, resource.RLIMIT_AS, (most, most))


@dataclass(slots=True, eq=False)
class Process:
    """A forked worker as a process and a socket."""

    number: int
    key: Key
    zygote: Zygote
    folder: Path
    watched: Watched | None = None
    connections: tuple[WorkerConnection, ...] = ()  # two: what is sent ahead comes over the other one
    timer: asyncio.TimerHandle | None = None  # until it is killed for what it does now: start, predict, answer a ping
    ordered_s: float = 0.0
    last_ping_s: float = 0.0  # or when it was last given rows, or answered
    memory: Memory | None = None  # when it was measured last
    plight: Plight | None = None  # at the last look
    children_s: float = 0.0  # when its children were looked for
    resident_bytes: int = 0  # when it came to listen
    weighed_s: float = 0.0  # when that was looked at again
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def pid(self) -> int | None:
        """None until the zygote has told it."""
        return self.watched.pid if self.watched else None

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.folder / "s"
