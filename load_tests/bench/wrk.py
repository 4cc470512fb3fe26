"""wrk (Debian) as closed-loop generator: so many connections, each asks again as soon as it is answered; every answer compared.

A closed loop asks for what a system can do at most, and its latencies are those of callers who wait for one another. How late
answers are at a given rate is `openloop`'s question.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from load_tests.bench.questions import Question

_SCRIPT = Path(__file__).with_suffix(".lua")
_TIMEOUT_S = 60


class Ran(msgspec.Struct, frozen=True):
    """One run. `right` + `wrong` + `refused` are the answers that came; `lost` connections broke, `late` took over a minute."""

    requests: int
    seconds: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    right: int
    wrong: int
    refused: int
    lost: int
    late: int
    sample: str = ""
    #: CPU of wrk itself, in seconds.
    cpu_s: float = 0.0

    @property
    def per_s(self) -> float:
        """Right answers a second."""
        return self.right / self.seconds

    @property
    def failed(self) -> int:
        """What was not answered as it should."""
        return self.wrong + self.refused + self.lost + self.late


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of a server of this machine: the question file is written once, for all runs."""

    url: str
    file: Path

    @classmethod
    def of(cls, url: str, question: Question, folder: Path) -> Load:
        """Raises ValueError for another machine's address."""
        if not url.startswith("http://127.0.0.1:"):
            raise ValueError(f"{url} is not this machine: load goes to the loopback interface only")
        with tempfile.NamedTemporaryFile("w", suffix=".lua", dir=folder, delete=False, encoding="utf-8") as file:
            file.write(question.as_lua())
        return cls(url, Path(file.name))

    def run(self, connections: int, seconds: float) -> Ran:
        """Ask for `seconds` over so many connections. Raises RuntimeError with what wrk said if it did not run."""
        argv = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", f"--timeout={_TIMEOUT_S}s"]
        argv += ["-s", str(_SCRIPT), self.url, "--", str(self.file)]
        before = os.times()
        done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 2 * _TIMEOUT_S, check=False)  # noqa: S603
        after = os.times()
        if done.returncode:
            raise RuntimeError(f"wrk: {done.stdout}{done.stderr}")
        ran = msgspec.json.decode(done.stdout.rstrip().rpartition("\n")[2], type=Ran)
        used = after.children_user + after.children_system - before.children_user - before.children_system
        return msgspec.structs.replace(ran, cpu_s=used)
