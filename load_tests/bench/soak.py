"""A fixed 70 % of the peak for a long time: what grows that should not."""

from __future__ import annotations

import asyncio
import math
import tempfile
from pathlib import Path

import uvloop

from client.openloop import Gun, Report
from load_tests.bench import servers
from load_tests.bench.ground import ANOTHER, RF, Ground, ground
from load_tests.bench.plan import Plan
from load_tests.bench.processes import Roles, open_files
from load_tests.bench.report import Result
from load_tests.bench.servers import say
from load_tests.bench.verdicts import at_most, none_wrong
from load_tests.bench.watch import Held, watching

SHARE = 0.7
#: Connections that clients keep: as many all the time, so that memory which grows is not theirs.
POOL = 256
MORE_FILES = 2
#: Connections between the services that are kept close after half a minute.
_QUIET_WITHIN_S = 45.0


def soak(plan: Plan) -> Result:
    """`--seconds` of 70 % of what it can do (60; --full: 600): memory and open files of each process, failures, latencies."""
    seconds = plan.seconds or (600 if plan.full else 60)
    after_s = min(60.0, seconds / 4)
    with tempfile.TemporaryDirectory() as name, servers.scoregate(servers.store(), workers=plan.workers) as gate:
        place = ground(gate, RF, 1, 64, Path(name))
        rate, report, held, gained = uvloop.run(_steady(place, seconds))
    figures = report.figures()
    grown = max((held.growth(pid, after_s) for pid in held.lasting(after_s)), default=math.nan)
    files = max(gained.values(), default=math.nan)
    replaced = len(held.samples) - len(held.lasting(after_s))
    return Result(
        "soak",
        [
            (f"{rate:.0f} requests a second, {100 * SHARE:.0f} % of the peak, for {seconds:g} s", [figures]),
            (f"processes, after the first {after_s:g} s ({replaced} came or went)", held.rows(after_s)),
        ],
        [
            at_most("growth of the process that grew most", grown, 2, " %"),
            at_most("descriptors more, once quiet again, of the process that gained most", files, MORE_FILES),
            at_most("requests that failed", report.failed, 0),
            none_wrong(report.failures[ANOTHER], report.right),
        ],
    )


async def _steady(place: Ground, seconds: float) -> tuple[float, Report, Held, dict[int, int]]:
    """The rate, what came of it, what was held meanwhile, and descriptors gained by each process once all is quiet again."""
    shots = place.shots()
    roles = place.gate.roles
    async with Gun(place.gate.url) as gun:
        await gun.flood(shots, callers=64, seconds=2)
        most = await gun.flood(shots, callers=64, seconds=5)
    async with Gun(place.gate.url, pool=POOL) as gun:  # what as many requests at once take is there from the start
        await gun.flood(shots, callers=POOL, seconds=3)
    before = await asyncio.to_thread(_files, roles)
    rate = SHARE * most.right / most.took_s
    say(f"peak {most.right / most.took_s:.0f}/s; now {rate:.0f}/s for {seconds:g} s")
    async with Gun(place.gate.url, pool=POOL) as gun, watching(roles, 5 if seconds > 120 else 1) as held:
        report = await gun.fire(shots, rate_per_s=rate, seconds=seconds)
    until = asyncio.get_running_loop().time() + _QUIET_WITHIN_S
    while True:
        after = await asyncio.to_thread(_files, roles)
        gained = {pid: files - before[pid] for pid, files in after.items() if pid in before}
        if max(gained.values(), default=0) <= MORE_FILES or asyncio.get_running_loop().time() > until:
            return rate, report, held, gained
        await asyncio.sleep(1)


def _files(roles: Roles) -> dict[int, int]:
    return {pid: open_files(pid) for pids in roles().values() for pid in pids}
