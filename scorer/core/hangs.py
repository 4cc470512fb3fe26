"""Which runs are ended before their time is up, so that a row over which R hangs costs nobody but its caller. Pure.

A run that takes far longer than was expected (`slots`) is ended where that loses nothing:

* nobody waits for it any more;
* its rows are those of several requests: they are given back, as `overdue`, or as `set_aside` where they are of several calls. The
  gateway knows whose they are and sends each caller's apart from the others'.

A call of one request may be slow by right: it has until its deadline or `max_predict_s`. But while other work of its version
waits, or work of another that finds no slot, at most as many runs of the pod may be overdue as there are slots, which is how many
take nothing from the others; beyond, the oldest of the version that has most are ended.

What may not be repeated is left to its time while somebody waits for it, and a time in which this process itself did not run counts
for nothing: then it is the machine that is slow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from scorer.core.calls import Key
from scorer.core.limits import PoolLimits
from scorer.core.line import Line
from scorer.core.slots import OVERDUE_S, Slots
from scorer.core.states import WorkerState
from scorer.core.worker_table import Worker, WorkerTable

#: The pod looks a few times a second. One that could not for so long knows nothing of how long a run took.
STALL_S: Final = 1.0
#: Between two looks, if this process runs; what is longer is not known to be R's time until the next look.
LOOKS_S: Final = 0.25
#: The first run of a worker may take longer than others: so many times.
FIRST_RUN: Final = 2


class Hangs:
    """Looks at the runs of a pod."""

    def __init__(self, limits: PoolLimits, lines: Mapping[Key, Line], workers: WorkerTable, slots: Slots) -> None:
        self._limits = limits
        self._lines = lines
        self._workers = workers
        self._slots = slots
        self._looked_s = self._stalled_s = 0.0

    def look(self, now: float) -> list[Worker]:
        """The workers to be ended."""
        if now - self._looked_s > STALL_S:
            self._stalled_s = now
        self._looked_s = now
        overdue = [worker for worker in self._workers.busy() if self.is_overdue(worker, now)]
        lost = [worker for worker in overdue if self._is_lost(worker)]
        rest = [w for w in overdue if w not in lost and self._lines[w.key].retry]
        beyond = len(rest) - self._limits.slots
        if beyond > 0 and self._others_wait(rest, now):
            by_age = sorted(rest, key=lambda worker: worker.since_s)
            for _ in range(beyond):
                most, _ = Counter(worker.key for worker in by_age).most_common(1)[0]
                oldest = next(worker for worker in by_age if worker.key == most)
                by_age.remove(oldest)
                lost.append(oldest)
        return lost

    def is_overdue(self, worker: Worker, now: float, least_s: float = OVERDUE_S) -> bool:
        """Whether R takes far too long over the worker's run, by time in which this process ran itself; a piece never does."""
        if worker.state is not WorkerState.BUSY or worker.run is None or worker.run.large:
            return False
        until_s = min(now, self._looked_s + LOOKS_S) if self._looked_s else now
        took_s = until_s - max(worker.run.started_s, self._stalled_s)
        return self._slots.is_overdue(
            worker, worker.run.started_s + took_s / (1 if worker.runs else FIRST_RUN), least_s
        )

    def _others_wait(self, overdue: list[Worker], now: float) -> bool:
        keys = {worker.key for worker in overdue}
        return any(
            line.has_work() and (key in keys or self._slots.free(key, now) <= 0) for key, line in self._lines.items()
        )

    def _is_lost(self, worker: Worker) -> bool:
        """Whether nobody waits for its run, or rows of others wait for it too."""
        assert worker.run is not None  # noqa: S101
        waiting = [portion.call for portion in worker.run.portions if portion.call.open]
        if not waiting:
            return True
        return self._lines[worker.run.key].retry and (worker.run.items > 1 or len(waiting[0].items) > 1)
