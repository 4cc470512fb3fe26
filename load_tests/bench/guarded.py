"""The guarded path against the bare one: 64 callers of Boston's forest through everything scoregate does, and through HAProxy."""

from __future__ import annotations

import statistics

from load_tests.bench.figures import median_of
from load_tests.bench.ground import beside_haproxy, figures, in_turns
from load_tests.bench.plan import Plan
from load_tests.bench.report import Result
from load_tests.bench.verdicts import at_least, at_most, none_wrong

CONNECTIONS = 64


def guarded(plan: Plan) -> Result:
    """Throughput and p99 at 64 connections against HAProxy over the same number of plain Plumber, interleaved."""
    seconds, rounds = plan.seconds_or(5, 10), plan.rounds_or(3, 5)
    with beside_haproxy(plan) as (_, both):
        runs = in_turns(both, CONNECTIONS, seconds, rounds)
    ours, theirs = [ran for ran, _ in runs["scoregate"]], [ran for ran, _ in runs["haproxy"]]
    pairs = list(zip(ours, theirs, strict=True))
    median = {name: median_of([figures(ran) for ran, _ in found]) for name, found in runs.items()}
    costs = {name: median_of([cost for _, cost in found]) for name, found in runs.items()}
    return Result(
        "guarded",
        [
            (
                f"{CONNECTIONS} connections, one row each, medians of {rounds}",
                [{"": n, **f} for n, f in median.items()],
            ),
            ("CPU seconds per thousand requests", [{"": name, **cost} for name, cost in costs.items()]),
        ],
        [
            at_least("throughput over HAProxy's", statistics.median(a.per_s / b.per_s for a, b in pairs), 12, "x", 15),
            at_most("p99 over HAProxy's", statistics.median(a.p99_ms / b.p99_ms for a, b in pairs), 0.2, "x"),
            none_wrong(sum(ran.failed for ran in ours), sum(ran.requests for ran in ours)),
        ],
    )
