"""Workers that have grown or run often: when to look at their memory, whom to replace. Pure.

What makes a worker grow at once is R's full collection, which writes into every object of the model. A worker counts its R's
collections and asks to be replaced before that one. Model code may have it come sooner (`gc()`), after about as many runs in each
worker. So where a warm one was well at its last measurement and has grown at this one, the version's others are replaced before
they have run as often, one after the other, instead of all at once when each holds the model for itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from scorer.core.calls import Key
from scorer.core.effects import Cause, Fork, Measure
from scorer.core.limits import PoolLimits
from scorer.core.line import Line
from scorer.core.states import WorkerState
from scorer.core.worker_table import Worker, WorkerTable

_WARM_RUNS, _WARM_BYTES = 100, 128 * 1024 * 1024  # after so many runs a worker is warm; at most so much that adds to it

_TELLS_RUNS = 200  # one that was well after so many says how long others last; sooner, it may have been a large request
_EARLY, _LONGER = 0.8, 1.02  # of what one lasted; a little later each time, in case it had grown for another reason


class Renewal:
    """One worker is measured at a time, and one replaced at a time in each version, the new one first."""

    def __init__(self, limits: PoolLimits, lines: Mapping[Key, Line], workers: WorkerTable) -> None:
        self._limits = limits
        self._lines = lines
        self._workers = workers
        self._measuring: int | None = None

    def measure(self, worker: Worker, now: float) -> list[Measure]:
        """Have an idle worker measured that has worked since the last time, or never; one at a time."""
        if self._measuring is not None or worker.state is not WorkerState.IDLE or worker.retire or worker.renew:
            return []
        first = not worker.runs and worker.measured_runs < 0
        if worker.runs <= worker.measured_runs or not (first or now - worker.measured_s >= self._limits.measure_s):
            return []
        worker.set_aside(math.inf, now)  # it owes no ping
        worker.measured_s, worker.measured_runs = now, worker.runs
        self._measuring = worker.number
        return [Measure(worker.number)]

    def measured(self, number: int, private_bytes: float | None, now: float) -> None:
        """What a `Measure` found, None if nothing. One that has grown too far is replaced."""
        self.gone(number)
        worker = self._workers.rows.get(number)
        if worker is None or worker.state is not WorkerState.CHECKED:
            return
        worker.back(now)
        if private_bytes is None:
            return
        line = self._lines[worker.key]
        if not worker.runs:
            line.forked_bytes = private_bytes
        elif worker.runs >= _WARM_RUNS:
            line.warm_bytes = min(private_bytes, line.warm_bytes or math.inf)
        # Compiling, buffers and R's young objects make any worker grow at first, by how much depends on the packages.
        usual = min(line.forked_bytes + _WARM_BYTES, line.warm_bytes or math.inf)
        if not worker.runs or private_bytes - usual <= line.growth_bytes:
            worker.well_runs = worker.runs
            return
        worker.renew = worker.renew or Cause.GROWN
        if worker.well_runs >= _TELLS_RUNS:
            line.lasts_runs = _EARLY * worker.well_runs

    def asks(self, worker: Worker) -> None:
        """Its R is about to collect fully: a reason to replace it where that may unshare more than it may grow by."""
        line = self._lines[worker.key]
        if line.loaded_bytes > line.growth_bytes:
            worker.renew = worker.renew or Cause.WORN

    def worked(self, worker: Worker) -> None:
        """It has had one more run."""
        worker.runs += 1
        worn = 0 < self._limits.max_runs <= worker.runs
        if worn or worker.runs >= self._lines[worker.key].lasts_runs:
            worker.renew = worker.renew or Cause.WORN

    def replace(self, line: Line, now: float) -> list[Fork]:
        """Order who is to take a worn worker's place: one at a time in each version."""
        own = self._workers.of(line.key)
        if line.leaving or now < line.upkeep.fork_at_s or any(w.replacement in self._workers.rows for w in own):
            return []
        for worker in sorted(own, key=lambda w: w.renew is not Cause.GROWN):
            if worker.renew is None or worker.retire or worker.state is WorkerState.ENDING:
                continue
            if now - worker.born_s >= self._limits.renew_age_s:
                fork = self._workers.order(line.key, now)
                worker.replacement = fork.worker
                if worker.renew is Cause.WORN:
                    line.lasts_runs *= _LONGER
                return [fork]
        return []

    def gone(self, number: int) -> None:
        """This worker is no more: nobody waits for its figure."""
        if self._measuring == number:
            self._measuring = None
