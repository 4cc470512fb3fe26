"""Prometheus metrics of one pod. A registry of its own, so that nothing is global."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from shared.metrics import Buckets, Counts

if TYPE_CHECKING:
    from scorer.core.calls import Key
    from scorer.core.pool import Pool
    from scorer.shell.memory import Memory

_SECONDS = (0.001, 0.002, 0.003, 0.005, 0.008, 0.012, 0.02, 0.035, 0.06, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024)


class ScorerMetrics:
    """Counted as things happen; the pool's own figures are read from it when metrics are asked for."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counts("scorer_requests", "Requests answered, by status", ("model", "version", "code"))
        self.request = _times("scorer_request_seconds", "Whole requests")
        self.queued = _times("scorer_queue_seconds", "From arrival to a worker")
        self.predict = _times("scorer_predict_seconds", "One run in R, there and back")
        self.runs = _times("scorer_runs_seconds", "From a call's first run to its last answer")
        self.run_items = Buckets("scorer_run_items", "Items in one run", bounds=_ITEMS)
        for metric in (self.requests, self.request, self.queued, self.predict, self.runs, self.run_items):
            self.registry.register(metric)
        self.fork = Histogram(
            "scorer_fork_seconds", "From the order to a connected worker", buckets=_SECONDS, registry=self.registry
        )
        self.ended = Counter(
            "scorer_workers_ended_total",
            "Workers that ended, by cause",
            ("model", "version", "cause"),
            registry=self.registry,
        )
        self.load = Histogram(
            "scorer_load_seconds", "From finding a version to the order of its first worker", registry=self.registry,
            buckets=(0.5, 1, 2, 4, 8, 15, 30, 60, 120),
        )  # fmt: skip

    def answered(self, key: Key, code: str) -> None:
        """One request, with what became of it."""
        self.requests.add((*key, code))

    def watch(self, pool: Pool, now: Callable[[], float]) -> None:
        """Show the pool's figures too."""
        self.registry.register(_PoolCollector(pool, now))

    def watch_memory(self, read: Callable[[], Iterable[tuple[Key, str, Memory]]]) -> None:
        """Show what each process held when it was measured last."""
        self.registry.register(_MemoryCollector(read))

    def render(self) -> bytes:
        """The text format."""
        return generate_latest(self.registry)


def _times(name: str, documentation: str) -> Buckets:
    return Buckets(name, documentation, ("model", "version"), bounds=_SECONDS)


class _PoolCollector:
    def __init__(self, pool: Pool, now: Callable[[], float]) -> None:
        self._pool, self._now = pool, now

    def collect(self) -> Iterable[Metric]:
        """Figures of this moment."""
        pool, now = self._pool, self._now()
        workers = GaugeMetricFamily("scorer_workers", "Workers by state", labels=("model", "version", "state"))
        for (key, state), count in Tally((w.key, str(w.state)) for w in pool.workers.values()).items():
            workers.add_metric([*key, state], count)
        waiting = GaugeMetricFamily("scorer_waiting_rows", "Rows that wait", labels=("model", "version"))
        age = GaugeMetricFamily("scorer_waiting_seconds", "Age of the oldest call", labels=("model", "version"))
        fixed = GaugeMetricFamily("scorer_cost_fixed_seconds", "Learned cost of a run", labels=("model", "version"))
        row = GaugeMetricFamily("scorer_cost_row_seconds", "Learned cost of a row", labels=("model", "version"))
        down = GaugeMetricFamily("scorer_version_down", "1: its workers do not stay up", labels=("model", "version"))
        for key, line in pool.lines.items():
            down.add_metric(list(key), line.upkeep.down is not None)
            waiting.add_metric(list(key), line.waiting_rows)
            age.add_metric(list(key), line.waits_s(now))
            fixed.add_metric(list(key), line.cost.fixed_s)
            row.add_metric(list(key), line.cost.row_s)
        yield from (workers, waiting, age, fixed, row, down)
        yield CounterMetricFamily("scorer_busy_seconds", "Worker-seconds of predictions", value=pool.used_s(now))
        yield GaugeMetricFamily("scorer_demand", "Busy workers and waiting seconds per worker", value=pool.demand.value)
        yield GaugeMetricFamily("scorer_slots", "Predictions at once", value=pool.limits.slots)
        yield GaugeMetricFamily("scorer_busy_workers", "Predictions that run", value=pool.busy)
        yield GaugeMetricFamily("scorer_open_calls", "Requests without an answer", value=pool.open_calls)
        yield GaugeMetricFamily("scorer_held_bytes", "Bytes of requests, read to answered", value=pool.held_bytes)
        yield GaugeMetricFamily("scorer_backlog_seconds", "Predicted work", value=pool.backlog_s(now))
        yield GaugeMetricFamily("scorer_late_answers", "Answers of R whose caller had gone", value=pool.late)


class _MemoryCollector:
    def __init__(self, read: Callable[[], Iterable[tuple[Key, str, Memory]]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """What was measured last; a version's sum is its processes'."""
        labels = ("model", "version", "process")
        share = GaugeMetricFamily("scorer_process_pss_bytes", "Memory, shared pages in part", labels=labels)
        own = GaugeMetricFamily("scorer_process_private_bytes", "Memory that nobody shares", labels=labels)
        for key, process, memory in self._read():
            share.add_metric([*key, process], memory.pss_bytes)
            own.add_metric([*key, process], memory.private_bytes)
        yield from (share, own)
