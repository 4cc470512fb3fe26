"""How near one gateway process comes to a Starlette that does nothing, and what its guards take of its throughput."""

from __future__ import annotations

import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from load_tests.bench import servers
from load_tests.bench.figures import median_of
from load_tests.bench.ground import RF, figures, ground, in_turns
from load_tests.bench.plan import Plan
from load_tests.bench.report import Result
from load_tests.bench.verdicts import at_least, at_most, none_wrong
from load_tests.bench.without import GUARDS

CONNECTIONS = 64
#: Where R takes so little that the gateway is what is measured.
LM = "boston-lm"


def ceiling(plan: Plan) -> Result:
    """64 connections, one row: the whole gateway, before a forest and a linear model, without its guards (`--full`: each), and
    the bare one."""
    seconds, rounds = plan.seconds_or(4, 8), plan.rounds_or(3, 5)
    off: dict[str, tuple[str, ...]] = {"without guards": GUARDS}
    if plan.full:
        off |= {f"without {guard}": (guard,) for guard in GUARDS}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        gate = stack.enter_context(servers.scoregate(servers.store(), workers=plan.workers))
        place = ground(gate, RF, 1, 64, folder)
        ways = [place.ours(), replace(ground(gate, LM, 1, 64, folder).ours(), name="scoregate, lm")]
        ways += [
            place.through(n, stack.enter_context(servers.without(gate, guards, folder))) for n, guards in off.items()
        ]
        ways.append(place.nothing(stack.enter_context(servers.noop(folder))))
        runs = in_turns(ways, CONNECTIONS, seconds, rounds)
    per_s = {name: [ran.per_s for ran, _ in found] for name, found in runs.items()}

    def share(name: str, of: str) -> float:
        return 100 * statistics.median(a / b for a, b in zip(per_s[name], per_s[of], strict=True))

    rows: list[dict[str, Any]] = [
        {"": name, **median_of([figures(ran) for ran, _ in found]), "% of bare": share(name, "starlette")}
        for name, found in runs.items()
    ]
    checked = [ran for name, found in runs.items() for ran, _ in found if name != "starlette"]
    return Result(
        "ceiling",
        [
            (f"{CONNECTIONS} connections, one row, medians of {rounds}", rows),
            (
                "CPU seconds per thousand requests",
                [{"": name, **median_of([cost for _, cost in found])} for name, found in runs.items()],
            ),
        ],
        [
            at_least("throughput over bare Starlette's", share("scoregate", "starlette"), 25, " %", 35),
            at_least("the same with the linear model", share("scoregate, lm", "starlette"), 25, " %", 35),
            at_most("what the guards take of the throughput", 100 - share("scoregate", "without guards"), 20, " %"),
            none_wrong(sum(ran.failed for ran in checked), sum(ran.requests for ran in checked)),
        ],
    )
