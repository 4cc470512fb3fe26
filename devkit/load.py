"""`./dev load SHAPE`: a Locust run with a shape, thresholds and a report, against a local stack or any gateway."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from devkit.state import DEV, ROOT

#: The last line of a run, by its exit code: what was broken is said before Locust's tables, far above.
VERDICTS = {
    0: "passed: every threshold was held",
    1: "FAILED: a threshold was broken; above, `load test:` says which",
}


@dataclass(frozen=True, slots=True)
class Load:
    """One run. `seconds` 0: the shape's own length. `host` None: the local stack `stack`."""

    shape: str
    users: int
    seconds: int
    stack: str
    host: str | None
    models: str
    rows: int
    callers: str
    user_rate: float
    max_failures: float
    max_p95_ms: float
    web: bool
    report: Path | None = None

    def argv(self, report: Path) -> list[str]:
        """Locust's command line."""
        run = ["--web-host", "127.0.0.1"] if self.web else ["--headless", "--only-summary", "--html", str(report)]
        files = ["load_tests/locustfile.py"] if self.web else ["load_tests/locustfile.py,load_tests/shaped.py"]
        shape = ["--shape", self.shape, "--most-users", str(self.users), "--shape-seconds", str(self.seconds)]
        return [
            *(sys.executable, "-m", "locust", "-f", *files, *run),
            *([] if self.web else shape),
            *(["--host", self.host] if self.host else []),
            *("--model", self.models, "--rows", str(self.rows), "--callers", self.callers),
            *("--user-rate", f"{self.user_rate:g}"),
            *("--max-failures", f"{self.max_failures:g}", "--max-p95-ms", f"{self.max_p95_ms:g}"),
            *("--stop-timeout", "65"),
        ]


def run(load: Load) -> tuple[int, Path]:
    """Runs it to its end. Exit code (0 passed, 1 a threshold broken, 2 could not start), and where the report is."""
    report = load.report or DEV / "load" / f"{load.shape}-{time.strftime('%Y%m%d-%H%M%S')}.html"
    report.parent.mkdir(parents=True, exist_ok=True)
    env = dict(os.environ)
    if load.host is None:
        env["SCOREGATE_STACK"] = load.stack
        env.pop("SCOREGATE_URL", None)
    locust = subprocess.Popen(load.argv(report.resolve()), cwd=ROOT, env=env)
    while True:
        try:
            return locust.wait(), report
        except KeyboardInterrupt:
            continue  # it had the same signal: it stops its users and writes the report
