"""How many workers each version has: one always, more while work waits, none once it has left; idle ones go. Pure."""

from __future__ import annotations

from scorer.core.calls import Key
from scorer.core.effects import Cause, Effect, End
from scorer.core.limits import PoolLimits
from scorer.core.line import Line
from scorer.core.slots import Slots
from scorer.core.states import WorkerState
from scorer.core.worker_table import Worker, WorkerTable


class Staffing:
    """Orders workers, and lets them go."""

    def __init__(self, limits: PoolLimits, lines: dict[Key, Line], workers: WorkerTable, slots: Slots) -> None:
        self._limits = limits
        self._lines = lines
        self._workers = workers
        self._slots = slots

    def grow(self, now: float) -> list[Effect]:
        """Order what is lacking."""
        effects: list[Effect] = []
        for line in self._lines.values():
            if not (line.apart or line.waiting or line.large) and (line.leaving or self._has_one(line.key, now)):
                continue
            own = [w for w in self._workers.of(line.key) if w.may_serve(now)]
            starting = sum(w.state is WorkerState.STARTING for w in own)
            idle = sum(w.state in {WorkerState.IDLE, WorkerState.CHECKED} for w in own)
            pieces = min(len(line.large), self._slots.room_for_pieces()) if line.large else 0
            runs = len(line.apart) + len(line.waiting) + pieces if line.has_work() else 0
            wanted = min(runs, self._slots.free(line.key, now)) - starting - idle
            overdue = min(self._slots.own_overdue(line.key, now), self._limits.slots)
            wanted = min(wanted, self._limits.slots + overdue - len(own))
            if not own and not (line.leaving and not runs):
                wanted = max(wanted, 1)
            if wanted <= 0 or now < line.upkeep.fork_at_s:
                continue
            for _ in range(wanted):
                if own and not self._room_for_extra(line, now, effects):
                    break
                fork = self._workers.order(line.key, now)
                own.append(self._workers.rows[fork.worker])
                effects.append(fork)
        return effects

    def _has_one(self, key: Key, now: float) -> bool:
        return any(worker.key == key and worker.may_serve(now) for worker in self._workers.rows.values())

    def _room_for_extra(self, line: Line, now: float, effects: list[Effect]) -> bool:
        """Workers beyond each version's first are at most `slots`, and as many again in the place of overdue ones; the one idle
        longest elsewhere makes room."""
        overdue = min(self._limits.slots, sum(self._slots.own_overdue(key, now) for key in self._lines))
        live: dict[Key, list[Worker]] = {}
        for worker in self._workers.rows.values():
            if worker.state is not WorkerState.ENDING:
                live.setdefault(worker.key, []).append(worker)
        if sum(len(workers) - 1 for workers in live.values()) < self._limits.slots + overdue:
            return True
        spare = [
            worker
            for key, workers in live.items()
            if key != line.key and len(workers) > 1 and not self._lines[key].has_work()
            for worker in workers
            if worker.state is WorkerState.IDLE
        ]
        if not spare:
            return False
        effects += self._workers.end(min(spare, key=lambda w: w.since_s).number, Cause.RETIRED, now)
        return True

    def clear(self, now: float) -> list[Effect]:
        """Versions that leave: once nothing of theirs waits or runs, their workers end and they are forgotten."""
        effects: list[Effect] = []
        leaving = [(key, line) for key, line in self._lines.items() if line.leaving and not line.has_work()]
        for key, _ in leaving:
            own = self._workers.of(key)
            for worker in own:
                if worker.run is None:
                    effects += self._workers.end(worker.number, Cause.RETIRED, now)
            if not own:
                del self._lines[key]
        return effects

    def _may_retire(self, worker: Worker) -> bool:
        """Replacement first: only when another of its version is there, or nobody wants the version."""
        others = [w for w in self._workers.of(worker.key) if w is not worker and not w.retire]
        listening = any(w.state not in {WorkerState.STARTING, WorkerState.ENDING} for w in others)
        return self._lines[worker.key].leaving or listening

    def retire(self, now: float) -> list[End]:
        """End those that are idle and were to go."""
        effects: list[End] = []
        going = [w for w in self._workers.rows.values() if w.retire and w.state is WorkerState.IDLE]
        for worker in going:
            if self._may_retire(worker):
                effects += self._workers.end(worker.number, worker.renew or Cause.RETIRED, now)
        return effects

    def shrink(self, line: Line, now: float) -> list[End]:
        """End those of a version that have been idle for long, but one."""
        effects: list[End] = []
        own = self._workers.of(line.key)
        spare = [w for w in own if w.state is WorkerState.IDLE and now - w.since_s >= self._limits.idle_s]
        keep = 0 if line.leaving else 1
        staying = sum(w.state not in {WorkerState.STARTING, WorkerState.ENDING} and not w.retire for w in own)
        for worker in sorted(spare, key=lambda w: w.since_s):
            if staying <= keep or line.has_work():
                break
            effects += self._workers.end(worker.number, Cause.RETIRED, now)
            staying -= 1
        return effects
