"""Three scorers behind one gateway: even shares, one killed and one stopped under load, and both used again once they are back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from client.openloop import Gun, Report
from devkit.state import ROOT
from load_tests.bench import servers
from load_tests.bench.figures import spread_percent
from load_tests.bench.ground import ANOTHER, RF, Ground, ground
from load_tests.bench.plan import Plan
from load_tests.bench.report import Result
from load_tests.bench.servers import say
from load_tests.bench.verdicts import at_least, at_most, none_wrong

PODS = 3
SHARE = 0.5
_BACK_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Pod:
    """One scorer process by its addresses."""

    url: str
    internal_url: str

    def pid(self) -> int:
        """Its process. Raises OSError while it is away."""
        return int(json.loads(self._get("/status"))["pid"])

    def items(self) -> float:
        """Callers' requests that its workers have run since it was started. Raises OSError while it is away."""
        lines = self._get("/metrics").splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("scorer_run_items_sum"))

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(self.internal_url + path, timeout=2) as answer:  # noqa: S310 - our own address
            return str(answer.read().decode())

    def environment(self) -> dict[str, str]:
        """What its process was started with, but for its ports, which are those that it has now."""
        entries = Path(f"/proc/{self.pid()}/environ").read_bytes().decode().split("\0")
        found = dict(entry.split("=", 1) for entry in entries if "=" in entry)
        ports = {
            "SCORER_PORT": self.url.rpartition(":")[2],
            "SCORER_INTERNAL_PORT": self.internal_url.rpartition(":")[2],
        }
        return found | ports


def pods_of(status: dict[str, Any]) -> list[Pod]:
    """Those of a stack, from `./dev status --json`."""
    return [Pod(*urls) for urls in zip(status["scorer_urls"], status["scorer_internal_urls"], strict=True)]


@contextmanager
def started_again(environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A scorer in the place of one that was killed; stopped when the block ends."""
    argv = [sys.executable, "-m", "scorer"]
    with log.open("wb") as said, subprocess.Popen(argv, env=environment, cwd=ROOT, stdout=said, stderr=said) as one:  # noqa: S603
        try:
            yield one
        finally:
            one.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.wait(20)
            one.kill()


def pods(plan: Plan) -> Result:
    """Half of the peak in an open loop over three scorers with one worker each; no request may fail, whatever happens to two."""
    seconds = plan.seconds_or(8, 20)
    with (
        tempfile.TemporaryDirectory() as name,
        servers.scoregate(servers.store(), workers=1, options=("--scorers", str(PODS))) as gate,
    ):
        place = ground(gate, RF, 1, 64, Path(name))
        all_pods = pods_of(gate.status)
        stopped: list[int] = []
        try:
            even, trouble, after, rows = uvloop.run(_live(place, all_pods, seconds, stopped, Path(name)))
        finally:
            for pid in stopped:  # a stopped process would not hear that it shall end
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
    reports = {"all three": even, "one killed, one stopped": trouble, "back again": after}
    another = sum(report.failures[ANOTHER] for report in reports.values())
    return Result(
        "pods",
        [
            ("load", [{"": name, **report.figures()} for name, report in reports.items()]),
            ("callers' requests run by each scorer", rows),
        ],
        [
            at_most("furthest from an even share", spread_percent([row["all three"] for row in rows]), 10, " %"),
            at_most("requests that failed with one killed and one stopped", trouble.failed, 0),
            at_most("requests that failed before and after", even.failed + after.failed, 0),
            at_least("requests run by the least used once back", min(row["back again"] for row in rows), 1),
            none_wrong(another, sum(report.right for report in reports.values())),
        ],
    )


async def _live(
    place: Ground, all_pods: Sequence[Pod], seconds: float, stopped: list[int], folder: Path
) -> tuple[Report, Report, Report, list[dict[str, Any]]]:
    shots = place.shots()
    rows: list[dict[str, Any]] = [{"": pod.url} for pod in all_pods]
    async with Gun(place.gate.url) as gun:
        await gun.flood(shots, callers=32, seconds=2)
        most = await gun.flood(shots, callers=32, seconds=3)
        rate = SHARE * most.right / most.took_s
        say(f"peak {most.right / most.took_s:.0f}/s; now {rate:.0f}/s for {seconds:g} s on all three")
        before = [pod.items() for pod in all_pods]
        even = await gun.fire(shots, rate_per_s=rate, seconds=seconds)
        for row, pod, was in zip(rows, all_pods, before, strict=True):
            row["all three"] = pod.items() - was

        killed, still = all_pods[1], all_pods[2]
        environment, pid = killed.environment(), still.pid()
        say(f"the same for {3 * seconds:g} s: one is killed after {seconds / 2:g} s, one stopped after {seconds:g} s")
        load = asyncio.create_task(gun.fire(shots, rate_per_s=rate, seconds=3 * seconds))
        await asyncio.sleep(seconds / 2)
        os.kill(killed.pid(), signal.SIGKILL)
        await asyncio.sleep(seconds / 2)
        os.kill(pid, signal.SIGSTOP)
        stopped.append(pid)
        trouble = await load

        say("both are started again")
        with started_again(environment, folder / "scorer.log"):
            os.kill(pid, signal.SIGCONT)
            stop = asyncio.Event()
            load = asyncio.create_task(gun.fire(shots, rate_per_s=rate, seconds=_BACK_WITHIN_S + seconds, stop=stop))
            was = still.items()
            await asyncio.to_thread(_until, lambda: killed.items() > 0 and still.items() > was)
            before = [pod.items() for pod in all_pods]
            await asyncio.sleep(seconds)
            for row, pod, was in zip(rows, all_pods, before, strict=True):
                row["back again"] = pod.items() - was
            stop.set()
            after = await load
    return even, trouble, after, rows


def _until(fact: Callable[[], bool]) -> None:
    """Waits for a fact; after a minute it goes on all the same, and what is measured then says so."""
    until = time.monotonic() + _BACK_WITHIN_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            if fact():
                return
        time.sleep(0.1)
