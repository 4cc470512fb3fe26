"""Five times what it can do, in an open loop: what is still answered, how fast the rest is refused, what a quiet caller notices."""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop

from client.openloop import NOT_SENT, Gun, Report, percentile
from load_tests.bench import servers
from load_tests.bench.flood import Flood, Flooded
from load_tests.bench.ground import ANOTHER, RF, Ground, ground
from load_tests.bench.plan import Plan
from load_tests.bench.processes import Used
from load_tests.bench.report import Result
from load_tests.bench.servers import say
from load_tests.bench.verdicts import at_least, at_most, none_wrong
from load_tests.bench.watch import Held, watching

TIMES = 5
DEADLINE_MS = 1000
QUIET_PER_S = 20
#: More than the gateway's own places; each is a connection of the generator's.
AT_ONCE = 6000
FLAT_PERCENT = 5
#: After a flood until its caller is one like any other again.
_SETTLES_S = 3.0


def overload(plan: Plan) -> Result:
    """A flood of one caller at five times the peak with a deadline of 1 s, and a quiet caller beside it. Two cases:

    *merged*: as it is. The gateway is what is full, and refusing costs what answering needs; the generator takes its share, too.
    *alone*: no request shares a call, one worker: R is what is full, and there are cores left to refuse with.

    The peak is measured before and after, and goodput held against the mean: the machine does not stay as fast as it was.
    """
    seconds = plan.seconds_or(15, 60)
    result = Result("overload")
    for case, coalesce, workers in (("merged", "shared", plan.workers), ("alone", "off", 1)):
        with (
            tempfile.TemporaryDirectory() as name,
            servers.scoregate(servers.store(), workers=workers, coalesce=coalesce) as gate,
        ):
            _case(case, ground(gate, RF, 1, 64, Path(name)), seconds, result)
    return result


def _case(case: str, place: Ground, seconds: float, result: Result) -> None:
    """Measures one and adds it to the result."""
    first = _peak(place)
    say(
        f"{case}: peak {first:.0f}/s; now {TIMES * first:.0f}/s for {seconds:g} s, and {QUIET_PER_S}/s of a quiet caller"
    )
    before = Used.now(place.gate.roles)
    flooded, quiet, held = uvloop.run(_both(place, TIMES * first, seconds))
    flood = flooded.report
    used = Used.now(place.gate.roles).since(before) | {"generator": flooded.cpu_s}
    say(f"{case}: the peak again")
    time.sleep(_SETTLES_S)
    again = _peak(place)
    peak = (first + again) / 2
    refused = [s for status in ("429", "503") for s in flood.failed_s.get(status, [])]
    after_s = seconds / 4
    rows: list[dict[str, Any]] = [
        {
            "": who,
            "asked per s": report.intended / seconds,
            "right per s": report.right / seconds,
            "p50 ms": report.percentile_ms(50),
            "p99 ms": report.percentile_ms(99),
            "not answered rightly": dict(report.failures),
        }
        for who, report in (("flood", flood), ("quiet", quiet))
    ]
    cores = {"": "cores in use"} | {role: seconds_used / flood.took_s for role, seconds_used in used.items()}
    growth = [held.growth(pid, after_s) for pid in held.lasting(after_s) if held.role[pid] in ("gateway", "scorer")]
    late = ", ".join(f"p{p:g} {flooded.late_ms(p):.1f}" for p in (50, 99, 99.9, 100))
    result.tables += [
        (
            f"{case}: {TIMES} times the peak ({first:.0f}/s, after it {again:.0f}/s) for {seconds:g} s; left late by, ms: {late}",
            rows,
        ),
        (f"{case}: CPU", [cores]),
        (f"{case}: memory", held.rows(after_s)),
    ]
    result.verdicts += [
        at_least(
            f"{case}: goodput over the peak of {peak:.0f}/s",
            100 * (flood.right + quiet.right) / seconds / peak,
            90,
            " %",
        ),
        at_most(f"{case}: accepted p99", flood.percentile_ms(99), DEADLINE_MS, " ms"),
        at_most(f"{case}: refusals p50", 1000 * percentile(refused, 50), 20, " ms"),
        at_most(f"{case}: neither right nor refused, of the flood", 100 * _neither(flood), 1, " %"),
        at_most(f"{case}: growth of gateway and scorer", max(growth, default=math.nan), FLAT_PERCENT, " %"),
        at_most(f"{case}: the quiet caller's losses", 100 * quiet.failed / max(1, quiet.intended), 1, " %"),
        none_wrong(flood.failures[ANOTHER] + quiet.failures[ANOTHER], flood.right + quiet.right),
    ]


def _peak(place: Ground) -> float:
    """Requests a second, closed loop, with as many connections as give most."""
    ours = place.ours()
    peak = 0.0
    for connections in (32, 64, 256):
        ours.run(connections, 1)
        peak = max(peak, ours.run(connections, 4)[0].per_s)
    return peak


async def _both(place: Ground, rate_per_s: float, seconds: float) -> tuple[Flooded, Report, Held]:
    timeout = {"X-Request-Timeout-Ms": str(DEADLINE_MS)}
    asked = replace(place.ours().question, headers={**place.ours().question.headers, **timeout})
    flood = Flood(place.gate.url, [(asked.raw(number), pair[1]) for number, pair in enumerate(asked.pairs)])
    soft = place.shots({**timeout, "Authorization": f"Bearer {await asyncio.to_thread(place.gate.token_of, 'all-v1')}"})
    async with Gun(place.gate.url, timeout_s=10) as asking, watching(place.gate.roles, 2) as held:
        flooded, quiet = await asyncio.gather(
            flood.fire(rate_per_s=rate_per_s, seconds=seconds, at_once=AT_ONCE),
            asking.fire(soft, rate_per_s=QUIET_PER_S, seconds=seconds),
        )
    return flooded, quiet, held


def _neither(report: Report) -> float:
    """The share that was neither answered rightly nor refused as full (429, 503) or too late (504); not sent is not answered."""
    clear = report.right + sum(report.failures[status] for status in ("429", "503", "504"))
    return 1 - clear / max(1, report.intended - report.failures[NOT_SENT])
