"""Which runs are ended before their time is up, so that a row over which R hangs costs nobody but its caller. Pure.

A run that takes far longer than was expected (`slots`) is ended where that loses nothing:

* nobody waits for it any more;
* its rows are those of several requests: they are given back, as `overdue`, or as `set_aside` where they are of several calls. The
  gateway knows whose they are and sends each caller's apart from the others'.

A call of one request may be slow by right: it has until its deadline or `max_predict_s`. But while
there is other work at most as many runs of a version may be overdue as there are slots, which is how many take nothing from the
others; beyond, the oldest are ended.

What may not be repeated is left to its time while somebody waits for it, and a time in which this process itself did not run counts
for nothing: then it is the machine that is slow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from scorer.core.calls import Key
from scorer.core.limits import PoolLimits
from scorer.core.line import Line
from scorer.core.slots import Slots
from scorer.core.states import WorkerState
from scorer.core.worker_table import Worker, WorkerTable

#: The pod looks a few times a second. One that could not for so long knows nothing of how long a run took.
STALL_S: Final = 1.0
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
        wanted = any(line.has_work() for line in self._lines.values())
        overdue = [worker for worker in self._workers.busy() if self._is_overdue(worker, now)]
        lost = [worker for worker in overdue if self._is_lost(worker)]
        for key, line in self._lines.items():
            if line.retry and wanted:
                own = [worker for worker in overdue if worker.key == key and worker not in lost]
                own.sort(key=lambda worker: worker.since_s)
                lost += own[: max(0, len(own) - self._limits.slots)]
        return lost

    def _is_overdue(self, worker: Worker, now: float) -> bool:
        if worker.state is not WorkerState.BUSY or worker.run is None or worker.run.large:
            return False
        took_s = now - max(worker.run.started_s, self._stalled_s)
        return self._slots.is_overdue(worker, worker.run.started_s + took_s / (1 if worker.runs else FIRST_RUN))

    def _is_lost(self, worker: Worker) -> bool:
        """Whether nobody waits for its run, or rows of others wait for it too."""
        assert worker.run is not None  # noqa: S101
        waiting = [portion.call for portion in worker.run.portions if portion.call.open]
        if not waiting:
            return True
        return self._lines[worker.run.key].retry and (worker.run.items > 1 or len(waiting[0].items) > 1)
