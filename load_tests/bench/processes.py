"""What the processes of a benchmark cost: CPU seconds, memory and open files by role, from /proc (proc(5))."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

#: The living processes of each role, asked whenever something is counted: workers come and go.
Roles = Callable[[], Mapping[str, Sequence[int]]]


def cpu_seconds(stat: str) -> float:
    """User and system time of a process from its /proc/PID/stat, its children not counted."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


@dataclass(frozen=True, slots=True)
class Used:
    """CPU seconds of each process at one moment, by role."""

    by_role: dict[str, dict[int, float]]

    @classmethod
    def now(cls, roles: Roles) -> Used:
        """Of all that live; one that ends meanwhile is left out."""
        found: dict[str, dict[int, float]] = {}
        for role, pids in roles().items():
            found[role] = {}
            for pid in pids:
                with contextlib.suppress(OSError):
                    found[role][pid] = cpu_seconds(Path(f"/proc/{pid}/stat").read_text(errors="replace"))
        return Used(found)

    def since(self, earlier: Used) -> dict[str, float]:
        """CPU seconds by role between two moments. What a process used that has ended since is not known, and left out."""
        return {
            role: sum(used - earlier.by_role.get(role, {}).get(pid, 0.0) for pid, used in now.items())
            for role, now in self.by_role.items()
        }


def per_thousand(used: Mapping[str, float], requests: int) -> dict[str, float]:
    """CPU seconds per thousand requests."""
    return {role: 1000 * seconds / requests for role, seconds in used.items()} if requests else {}


def pss_mib(pid: int) -> float:
    """The process' share of memory (PSS), in MiB; 0 for one that has gone."""
    with contextlib.suppress(OSError):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except PermissionError:  # a scorer's supervisor shows it to root alone; it shares next to nothing
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024**2
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return 0.0


def open_files(pid: int) -> int:
    """Descriptors it holds; 0 for one that has gone."""
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - names only, and many
    return 0
