"""Side by side: scoregate, HAProxy over plain Plumber, one plain Plumber, one worker's socket, and a Starlette that does nothing.

Each cell is asked of all five in turn, so that what the machine does meanwhile meets them alike; medians over rounds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import uvloop

from client.openloop import Gun, Report
from load_tests.bench import servers
from load_tests.bench.figures import median_of
from load_tests.bench.ground import Asked, Ground, figures, ground
from load_tests.bench.plan import Plan
from load_tests.bench.processes import Used, per_thousand
from load_tests.bench.report import Result
from load_tests.bench.servers import KINDS, say
from load_tests.bench.verdicts import none_wrong

CONNECTIONS = (1, 16, 64, 256)
ROWS = (1, 10, 1000)
#: How many different requests of so many rows: each row's right answer is asked of R alone.
_COUNT = {1: 64, 10: 16, 1000: 2}
Figures = dict[str, float]
#: Runs one cell: figures, CPU seconds per thousand requests, failures, requests.
Run = Callable[[int, float], tuple[Figures, Figures, int, int]]


def cells(full: bool) -> dict[tuple[str, int], tuple[int, ...]]:
    """The connections to measure, by kind of model and rows: everything, or what differs most from what."""
    if full:
        return {(kind, rows): CONNECTIONS for kind in KINDS for rows in ROWS}
    return {("rf", 1): CONNECTIONS, ("rf", 10): (64,), ("rf", 1000): (64,), ("lm", 1): (64,), ("ranger", 1): (64,)}


def compare(plan: Plan) -> Result:
    """Throughput, latency and CPU of all five, for forests and lines, 1 to 1,000 rows, 1 to 256 connections."""
    seconds, rounds = plan.seconds_or(3, 5), plan.rounds_or(1, 3)
    wanted = cells(plan.full)
    speed: list[dict[str, Any]] = []
    cost: list[dict[str, Any]] = []
    failed = asked = 0
    for kind in dict.fromkeys(kind for kind, _ in wanted):
        with _all_of(plan, f"boston-{kind}") as (gate, others, folder):
            for rows in [rows for one, rows in wanted if one == kind]:
                place = ground(gate, f"boston-{kind}", rows, _COUNT[rows], folder)
                ways = _ways(place, others)
                for connections in wanted[kind, rows]:
                    cell = {"model": kind, "rows": rows, "conns": connections}
                    runs: dict[str, list[tuple[Figures, Figures]]] = {name: [] for name in ways}
                    for number in range(rounds):
                        say(f"{kind}, {rows} rows, {connections} connections: round {number + 1} of {rounds}")
                        for name, run in ways.items():
                            found, used, wrong, requests = run(connections, seconds)
                            runs[name].append((found, used))
                            if name == "scoregate":
                                failed, asked = failed + wrong, asked + requests
                    for name, both in runs.items():
                        speed.append({"": name, **cell, **median_of([found for found, _ in both])})
                        cost.append({"": name, **cell, **median_of([used for _, used in both])})
    return Result(
        "compare",
        [(f"medians of {rounds} rounds", speed), ("CPU seconds per thousand requests", cost)],
        [none_wrong(failed, asked)],
    )


@contextmanager
def _all_of(plan: Plan, model: str) -> Iterator[tuple[servers.Scoregate, dict[str, servers.Other], Path]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        models = servers.store()
        gate = stack.enter_context(servers.scoregate(models, workers=plan.workers))
        behind = stack.enter_context(servers.plumber(models, model, plan.workers, folder))
        others = {
            "haproxy": stack.enter_context(servers.haproxy(behind, gate.entra_key(), folder)),
            "plumber": behind[0],
            "starlette": stack.enter_context(servers.noop(folder)),
        }
        yield gate, others, folder


def _ways(place: Ground, others: dict[str, servers.Other]) -> dict[str, Run]:
    """Plumber alone is asked over a new connection each time: over a kept one it waits 40 ms for an acknowledgement."""
    return {
        "scoregate": _closed(place.ours()),
        "haproxy": _closed(place.other("haproxy", others["haproxy"])),
        "plumber": _closed(place.other("plumber", others["plumber"], Connection="close")),
        "worker": _straight(place),
        "starlette": _closed(place.nothing(others["starlette"])),
    }


def _closed(asked: Asked) -> Run:
    def run(connections: int, seconds: float) -> tuple[Figures, Figures, int, int]:
        ran, used = asked.run(connections, seconds)
        return figures(ran), used, ran.failed, ran.requests

    return run


def _straight(place: Ground) -> Run:
    shots = place.straight()

    async def flood(socket: str, connections: int, seconds: float) -> Report:
        async with Gun(socket) as gun:
            return await gun.flood(shots, callers=connections, seconds=seconds)

    def run(connections: int, seconds: float) -> tuple[Figures, Figures, int, int]:
        before = Used.now(place.gate.roles)
        report = uvloop.run(flood(place.gate.worker_socket(place.model), connections, seconds))
        used = Used.now(place.gate.roles).since(before)
        found = {f"p{p} ms": report.percentile_ms(p) for p in (50, 90, 99)}
        speed = {"per s": report.right / report.took_s, **found}
        return speed, per_thousand(used, report.right), report.failed, report.intended

    return run
