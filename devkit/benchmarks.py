"""Every benchmark by name, what it shows and how long it takes; and running some of them.

A benchmark is the function of its own name in the module of its own name under `load_tests/bench`, imported when it runs:
`./dev --help` shall be quick, and the stand-in's container has no load tests.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from load_tests.bench.plan import Plan
    from load_tests.bench.report import Result


@dataclass(frozen=True, slots=True)
class Benchmark:
    """`quick` and `full` are about how many minutes it takes, for people."""

    name: str
    shows: str
    quick: float
    full: float

    def load(self) -> Callable[[Plan], Result]:
        """What runs it."""
        run: Callable[[Plan], Result] = getattr(importlib.import_module(f"load_tests.bench.{self.name}"), self.name)
        return run


BENCHMARKS = (
    Benchmark("guarded", "throughput and p99 at 64 connections against HAProxy over plain Plumber", 1, 2.5),
    Benchmark("added", "what one caller's request takes more than straight to R, and than by HAProxy", 0.5, 1),
    Benchmark("ceiling", "one gateway process against a Starlette that does nothing, and without its guards", 1, 4),
    Benchmark("overload", "five times the peak in an open loop, with a quiet caller beside the flood", 1.5, 3),
    Benchmark("pods", "three scorers: even shares; one killed and one stopped under load, and both back", 1.5, 2.5),
    Benchmark("soak", "memory, open files and failures at 70 % of the peak, for --seconds", 1.5, 11),
    Benchmark("compare", "all five side by side: models, rows, connections, CPU of each process", 4, 60),
)
BY_NAME = {benchmark.name: benchmark for benchmark in BENCHMARKS}


def listed() -> str:
    """For a help text in Markdown."""
    return "\n\n".join(f"* `{b.name}`: {b.shows} ({b.quick:g} min, --full {b.full:g})" for b in BENCHMARKS)


def run(names: Sequence[str], plan: Plan) -> bool:
    """Run them one after the other, print and write each; whether every bound is met. Raises KeyError for no such name."""
    met = True
    for benchmark in [BY_NAME[name] for name in names] or BENCHMARKS:
        print(f"--- {benchmark.name}: {benchmark.shows}", file=sys.stderr, flush=True)
        result = benchmark.load()(plan)
        print(f"\n== {benchmark.name}: {benchmark.shows}\n\n{result.text()}\n", flush=True)
        print(f"written to {result.write()}", file=sys.stderr, flush=True)
        met = met and result.met
    return met
