"""A worker's next run, sent while it still works on the one before, so that R need not wait for it. Pure.

From one answer until the next request has come through the supervisor and httpuv R would do nothing for a fifth of a short call's
time. It is done only where it costs nobody anything:

* for rows that may share a run with none: others had better wait for company;
* while all slots are taken and no other version has work, so that nobody else would have been next;
* for runs that are known to be short, of a version that may be repeated. Where the one before takes longer than expected, what was
  sent after it waits for the other workers as well (`overtake`), and the answer that comes second is thrown away.

A worker that dies takes only the run before with it: the next one had not begun and waits again, unblamed. R may have begun it all
the same, and have died of it before the answer of the one before was out; so nothing follows a run that is tried again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from scorer.core.calls import Key, Run
from scorer.core.effects import Send
from scorer.core.limits import PoolLimits
from scorer.core.line import Line
from scorer.core.slots import Slots
from scorer.core.states import WorkerState
from scorer.core.worker_table import Worker, WorkerTable

_SHORT_S = 0.02  # a run that is expected to last no longer
_LATE_TIMES, _LATE_S = 2, 0.02  # one takes too long after so many times what was expected, and so much more


class Ahead:
    """What workers have been sent beyond what they work on."""

    def __init__(self, limits: PoolLimits, lines: Mapping[Key, Line], workers: WorkerTable, slots: Slots) -> None:
        self._limits = limits
        self._lines = lines
        self._workers = workers
        self._slots = slots

    def send(self, now: float) -> list[Send]:
        """What can be sent ahead now: to whoever is done first."""
        lines = [line for line in self._lines.values() if line.has_work()]
        if len(lines) != 1 or not self._may_go(lines[0]) or self._slots.free(lines[0].key, now) > 0:
            return []
        line, effects = lines[0], []
        workers = [worker for worker in self._workers.of(line.key) if self._may_take(worker, now)]
        for worker in sorted(workers, key=lambda w: self._slots.left_s(w, now)):
            if not (line.has_work() and self._may_go(line)):
                break
            portion = line.waiting.popleft()
            worker.ahead = Run(line.key, (portion,), portion.frame, now)
            effects.append(Send(worker.number, worker.ahead, ahead=True))
        return effects

    def overtake(self, now: float) -> None:
        """What waits behind a run that takes too long may start elsewhere."""
        for worker in self._workers.busy():
            if worker.ahead is not None and not worker.ahead.twice and self._takes_too_long(worker, now):
                worker.ahead.twice = True
                self._lines[worker.key].waiting.extendleft(replace(p) for p in worker.ahead.portions)

    def lost(self, worker: Worker) -> None:
        """It died: what it had not begun waits again, first."""
        run, worker.ahead = worker.ahead, None
        if run is not None and not run.twice:
            self._lines[run.key].waiting.extendleft(run.portions)

    def _may_go(self, line: Line) -> bool:
        if not line.retry or line.apart or line.large or not line.waiting:
            return False
        first = line.waiting[0]
        return line.runs_alone(first) and line.cost.learned and line.cost.predict_s(first.frame.rows) <= _SHORT_S

    def _may_take(self, worker: Worker, now: float) -> bool:
        """It goes on as it is, and need not be idle soon to be measured."""
        if worker.state is not WorkerState.BUSY or worker.run is None or worker.ahead is not None:
            return False
        changes = worker.retire or worker.renew is not None or worker.yields or worker.run.large
        changes = changes or any(portion.kills for portion in worker.run.portions)
        return (
            not changes and now - worker.measured_s < self._limits.measure_s and not self._takes_too_long(worker, now)
        )

    def _takes_too_long(self, worker: Worker, now: float) -> bool:
        assert worker.run is not None  # noqa: S101
        expected_s = self._lines[worker.key].cost.predict_s(worker.run.frame.rows)
        return expected_s > _SHORT_S or now - worker.run.started_s > _LATE_TIMES * expected_s + _LATE_S
