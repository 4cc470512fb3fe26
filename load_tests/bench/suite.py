"""Every benchmark by name, what it shows and how long it takes; and running some of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from load_tests.bench.added import added
from load_tests.bench.guarded import guarded
from load_tests.bench.plan import Plan
from load_tests.bench.report import Result
from load_tests.bench.servers import say


@dataclass(frozen=True, slots=True)
class Benchmark:
    """`quick` and `full` are about how long it takes, for people."""

    name: str
    run: Callable[[Plan], Result]
    shows: str
    quick: str
    full: str


BENCHMARKS = (
    Benchmark("guarded", guarded, "throughput and p99 at 64 connections against HAProxy over plain Plumber", "1 min", "2 min"),
    Benchmark("added", added, "what one caller's request takes more than straight to R, and than by HAProxy", "1 min", "1 min"),
)
BY_NAME = {benchmark.name: benchmark for benchmark in BENCHMARKS}


def run(names: Sequence[str], plan: Plan) -> bool:
    """Run them one after the other, print and write each; whether every bound is met. Raises KeyError for no such name."""
    met = True
    chosen = [BY_NAME[name] for name in names] or list(BENCHMARKS)
    for benchmark in chosen:
        say(f"--- {benchmark.name}: {benchmark.shows}")
        result = benchmark.run(plan)
        print(f"\n== {benchmark.name}: {benchmark.shows}\n\n{result.text()}\n", flush=True)
        say(f"written to {result.write()}")
        met = met and result.met
    return met
