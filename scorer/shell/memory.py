"""What the machine lets this pod hold, and what a process holds. Reads /proc and the cgroup, decides nothing.

Facts that force what is here. Forks share pages until one writes, so RSS counts everything N times: a worker's own memory is
Private_Clean + Private_Dirty of smaps_rollup, its fair share Pss. Reading that walks the page table (2 to 3 ms per 100 MB), so it
is never done in the event loop.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Memory:
    """One process: what it shares with others counts in part in `pss_bytes`, not at all in `private_bytes`."""

    pss_bytes: int
    private_bytes: int


def memory_of(pid: int) -> Memory | None:
    """None if the process is gone, or the kernel does not tell."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return None
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    if "Pss" not in kib:
        return None
    return Memory(1024 * kib["Pss"], 1024 * (kib.get("Private_Clean", 0) + kib.get("Private_Dirty", 0)))


def allowed_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes this pod may hold: the cgroup's limit (v2 or v1), at most the machine's memory."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes", "memory.limit_in_bytes"):
        try:
            limit = (cgroup / name).read_text().strip()
        except OSError:
            continue
        return min(machine, int(limit)) if limit.isdigit() else machine
    return machine
