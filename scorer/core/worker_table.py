"""The workers of a pod, each with its state: who they are, who is born, who is told to end, who owes a ping. Pure."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from scorer.core.calls import Key, Run
from scorer.core.effects import Cause, End, Fork
from scorer.core.states import WORKER_MOVES, WorkerState, move

_PROMPT_S = 0.1  # a ping is answered in a millisecond; later than this, work does not wait for the one who owes it


@dataclass(slots=True, eq=False)
class Worker:
    """One row of the worker table."""

    number: int
    key: Key
    state: WorkerState
    since_s: float
    run: Run | None = None
    ahead: Run | None = None  # what it was sent beyond that (`ahead`)
    runs: int = 0
    checked_s: float = 0.0  # when the ping left that it has to answer
    retire: bool = False  # ends as soon as it is idle
    yields: bool = False  # it was told to leave the processor to others, which cannot be taken back
    cause: Cause | None = None  # why it was told to end
    born_s: float = 0.0
    listens_s: float = math.inf  # since when
    stays: bool = False  # it has answered
    measured_s: float = 0.0
    measured_runs: int = -1
    well_runs: int = 0  # when it had not grown too far yet
    renew: Cause | None = None  # why it is to be replaced
    replacement: int | None = None  # who is to take its place

    def may_serve(self, now: float) -> bool:
        """Whether work can be kept for it: it stays, and owes no ping for long (then it may be stopped or hung)."""
        silent = self.state is WorkerState.CHECKED and now - self.checked_s > _PROMPT_S
        return not (silent or self.retire or self.state is WorkerState.ENDING)

    def become(self, state: WorkerState, now: float) -> None:
        """Move along the table."""
        self.state = move(WORKER_MOVES, self.state, state)
        self.since_s = now

    def set_aside(self, checked_s: float, now: float) -> None:
        """It gets no work until `back`; `checked_s`: when a ping left that it owes. It goes on being idle, for that is no work."""
        since = self.since_s
        self.become(WorkerState.CHECKED, now)
        self.since_s, self.checked_s = since, checked_s

    def back(self, now: float) -> None:
        """Idle, and for as long as before it was set aside."""
        since = self.since_s
        self.become(WorkerState.IDLE, now)
        self.since_s = since


class WorkerTable:
    """All workers that are not seen dead, by number."""

    def __init__(self) -> None:
        self.rows: dict[int, Worker] = {}
        self._numbers = itertools.count(1)

    def of(self, key: Key) -> list[Worker]:
        """A version's."""
        return [worker for worker in self.rows.values() if worker.key == key]

    def order(self, key: Key, now: float) -> Fork:
        """One more."""
        worker = Worker(next(self._numbers), key, WorkerState.STARTING, now, born_s=now)
        self.rows[worker.number] = worker
        return Fork(key, worker.number)

    def end(self, number: int, cause: Cause, now: float) -> list[End]:
        """Have it killed; it counts until its death is seen. Repeats change nothing."""
        worker = self.rows.get(number)
        if worker is None or worker.state is WorkerState.ENDING:
            return []
        worker.cause = cause
        worker.become(WorkerState.ENDING, now)
        return [End(number, cause)]

    def busy(self) -> list[Worker]:
        """Those that predict, those being killed included."""
        return [worker for worker in self.rows.values() if worker.run is not None]
