"""How many predictions may run now, of whom: the pod's slots, shared so that a slow version never takes them all. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from scorer.core.calls import Key, Run
from scorer.core.limits import PoolLimits
from scorer.core.line import Line
from scorer.core.worker_table import Worker, WorkerTable

OVERDUE_S, _OVERDUE_TIMES = 0.5, 8  # a run is overdue after this long, and after this many times what was expected
_SMALL_LATELY_S = 0.1  # after a small call another one may be near
_SHORT_S, _LONG_S = 0.03, 0.06  # expected to last at most this; lasts, or is expected to last, at least this


class Slots:
    """At most `limits.slots` predictions at once."""

    def __init__(self, limits: PoolLimits, lines: Mapping[Key, Line], workers: WorkerTable) -> None:
        self._limits = limits
        self._lines = lines
        self._workers = workers
        self._small_s = -math.inf

    def small_came(self, now: float) -> None:
        """A call that is not cut."""
        self._small_s = now

    def shorten(self, now: float, free: int = 1) -> bool:
        """Whether a piece that takes one of so many `free` slots is to be short: small calls come, and would find none."""
        return free <= 1 and now - self._small_s < _SMALL_LATELY_S

    def pieces_are_short(self, now: float) -> bool:
        """Whether pieces to come are likely to be, for they may hold all slots."""
        return self._limits.large_workers >= self._limits.slots and self.shorten(now)

    def free(self, key: Key, now: float) -> int:
        """Slots that this version may take now: what overdue runs hold is not lost to it, of its own as many as there are slots;
        and, if its next run is short, what others' long runs hold beyond their share is not either."""
        busy = [w for w in self._workers.busy() if not self.is_overdue(w, now)]
        beyond = max(0, self.own_overdue(key, now) - self._limits.slots)
        free = self._limits.slots - len(busy) - beyond
        if free > 0 or not self._next_is_short(key):
            return free
        own = sum(w.key == key for w in busy) + beyond
        passed = sum(w.key != key and self._is_long(w, now) for w in busy)
        versions = {w.key for w in busy} | {key}
        fair = max(1, self._limits.slots // len(versions))
        return max(free, min(passed, fair - own))

    def room_for_pieces(self) -> int:
        """How many more pieces may run now."""
        running = sum(worker.run is not None and worker.run.large for worker in self._workers.rows.values())
        return self._limits.large_workers - running

    def left_s(self, worker: Worker, now: float) -> float:
        """Predicted seconds until the worker's run ends; 0 if it should have."""
        return 0.0 if worker.run is None else max(0.0, worker.run.started_s + self._expected_s(worker.run) - now)

    def is_overdue(self, worker: Worker, now: float, least_s: float = OVERDUE_S) -> bool:
        """Whether its run takes far longer than was expected, and `least_s`."""
        if worker.run is None:
            return False
        return now - worker.run.started_s > max(least_s, _OVERDUE_TIMES * self._expected_s(worker.run))

    def own_overdue(self, key: Key, now: float) -> int:
        """How many of a version's runs are overdue."""
        return sum(worker.key == key and self.is_overdue(worker, now) for worker in self._workers.busy())

    def _next_is_short(self, key: Key) -> bool:
        line = self._lines[key]
        queues = (line.apart[0] if line.apart else ()), line.waiting
        first = next((portion for queue in queues for portion in queue), None)
        return line.cost.predict_s(first.frame.rows if first is not None else 1) <= _SHORT_S

    def _is_long(self, worker: Worker, now: float) -> bool:
        if worker.run is None or worker.run.large:
            return False
        return max(self._expected_s(worker.run), now - worker.run.started_s) >= _LONG_S

    def _expected_s(self, run: Run) -> float:
        """What it should take from beginning to end; nothing is expected of a version that is forgotten."""
        line = self._lines.get(run.key)
        return line.cost.predict_s(run.frame.rows) if line is not None else 0.0
