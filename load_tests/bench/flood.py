"""The open-loop generator of `flood.c`: for rates at which Python would be late, and would take the core that is measured.

Compiled when it is first needed. One request at a time on each of its
connections; each answer is compared with the right one. It runs at a higher priority where it may, and tells how late it was.
"""

from __future__ import annotations

import asyncio
import hashlib
import resource
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from client.openloop import NO_ANSWER, NOT_SENT, Report, is_here, percentile
from devkit import system
from devkit.state import DEV
from load_tests.bench.ground import ANOTHER

_SOURCE = Path(__file__).with_suffix(".c")
_RECORD = struct.Struct("=hff")
_WHAT = {-1: ANOTHER, -2: NOT_SENT, -3: NO_ANSWER, -4: "closed without an answer", -5: "not connected"}


@dataclass(frozen=True, slots=True)
class Flooded:
    """What came of it, how late requests left, and the generator's own CPU seconds."""

    report: Report
    late_s: list[float]
    cpu_s: float

    def late_ms(self, percent: float) -> float:
        """How late requests left that `percent` of them did not exceed."""
        return 1000 * percentile(self.late_s, percent)


@dataclass(frozen=True, slots=True)
class Flood:
    """Whole requests to one server of this machine, each with the body of its right answer."""

    url: str
    shots: Sequence[tuple[bytes, bytes]]

    async def fire(self, *, rate_per_s: float, seconds: float, at_once: int, timeout_s: float = 10.0) -> Flooded:
        """Send them in turn at this rate. Raises ValueError for another machine's address, RuntimeError if it did not run."""
        if not is_here(self.url):
            raise ValueError(f"{self.url} is not this machine: load goes to the loopback interface only")
        program = await asyncio.to_thread(_compiled)
        given = (urlsplit(self.url).port, rate_per_s, seconds, at_once, timeout_s)
        pipe = asyncio.subprocess.PIPE
        before = _children_s()
        running = await asyncio.create_subprocess_exec(
            str(program), *map(str, given), stdin=pipe, stdout=pipe, stderr=pipe
        )
        sent = b"".join(struct.pack("=I", len(part)) + part for shot in self.shots for part in shot)
        try:
            async with asyncio.timeout(seconds + 3 * timeout_s + 30):
                said, errors = await running.communicate(sent)
        except TimeoutError:
            running.kill()
            await running.wait()
            raise RuntimeError("the flood did not end") from None
        if running.returncode:
            raise RuntimeError(f"flood: {errors.decode(errors='replace')}")
        return Flooded(*await asyncio.to_thread(_told, said, rate_per_s), _children_s() - before)


def _told(said: bytes, rate_per_s: float) -> tuple[Report, list[float]]:
    report, late_s, last_s = Report(), [], 0.0
    counts: Counter[str] = Counter()
    for number, (what, late, latency_s) in enumerate(_RECORD.iter_unpack(said)):
        report.intended += 1
        if what == 0:
            report.latencies_s.append(latency_s)
        else:
            wrong = _WHAT.get(what) or str(what)
            counts[wrong] += 1
            report.failed_s.setdefault(wrong, []).append(latency_s)
        if what != -2:
            late_s.append(late)
        last_s = max(last_s, number / rate_per_s + latency_s)
    report.failures = counts
    report.took_s, report.latest_start_s = last_s, max(late_s, default=0.0)
    return report, late_s


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _compiled() -> Path:
    """The program, made once for each content of its source. Raises RuntimeError with what the compiler said, MissingError
    where there is none and it cannot be installed."""
    system.install_packages("g++")  # with it come cc and libc's headers, which gcc alone only recommends
    compiler = shutil.which("cc") or "cc"
    program = DEV / "bench" / f"flood-{hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]}"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        made = program.with_suffix(".new")
        argv = [compiler, "-O2", "-Wall", "-o", str(made), str(_SOURCE)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603 - our own source
        if done.returncode:
            raise RuntimeError(f"cc: {done.stderr}")
        made.rename(program)
    return program
