"""Who predicts what, when: the queue and the dispatch of one pod. Pure: `now` comes in, effects go out, nothing is awaited.

    submit ─▶ waiting ─▶ run on an idle worker ─▶ answered
                 ▲            │ error, crash, hang
                 └────────────┘ in smaller parts (`answers`)

Rules kept here and in the modules it puts together: at most `slots` predictions at once, but those that take far longer than
expected hold none, of one version as many as there are slots, and leave the processor to others who want it, so that one which
loops does not take the pod from the others until it is killed; and where that loses nothing it is killed before (`hangs`). Short
runs of another version pass long ones up to its fair share of the slots (`slots`); a worker is busy from the moment it is chosen,
and may be sent its next run before that ends (`ahead`); waiting calls of one batchable version go together up to `max_run_rows`
(`line`); versions share the slots by time used; the queue is bounded in rows and bytes, and by what can still be done before a
call's deadline (`waiting_room`); each version keeps one worker, grows while work waits, and idle ones go (`staffing`). At a call's
deadline it is answered and the run goes on.

A version whose workers die before they have answered anything, five in a row, is down (`upkeep`): calls are refused, those
that wait too, and one worker is tried now and then.

A call of very many rows is cut into pieces that last about `large_piece_s` each (`pieces`), less where small calls come in between
(`line`); at most `large_workers` of them run at once, and between two of a version its other calls have their turn. A worker that
has grown or run often is replaced, the new one first (`renewal`).
"""

from __future__ import annotations

import itertools
import math

from scorer.core.ahead import Ahead
from scorer.core.answers import Answers
from scorer.core.calls import Call, Failure, Key, Portion, Run
from scorer.core.demand import Demand
from scorer.core.effects import ORDERLY, Answer, Cause, Down, Effect, Send, Up, Yield
from scorer.core.hangs import Hangs
from scorer.core.limits import PoolLimits
from scorer.core.line import Line
from scorer.core.pieces import pieces
from scorer.core.renewal import Renewal
from scorer.core.slots import Slots
from scorer.core.staffing import Staffing
from scorer.core.states import WorkerState
from scorer.core.upkeep import Upkeep
from scorer.core.waiting_room import WaitingRoom
from scorer.core.worker_table import Worker, WorkerTable
from shared.cost import Cost
from shared.errors import (
    DeadlineExceededError,
    OverdueError,
    ScoregateError,
    SetAsideError,
    UnavailableError,
    VersionDownError,
    VersionNotHereError,
    WorkerCrashedError,
)
from shared.messages import ALONE
from shared.signature import Signature
from shared.wire import Frame, merge, split, tensor_specs

_ZYGOTE_PAUSE_S = 0.5
_A_MOMENT_S = 1.0
_BLAMED_S = 0.25  # a run that is shorter is not overdue at its call's deadline
_LISTENS = frozenset({WorkerState.IDLE, WorkerState.BUSY, WorkerState.CHECKED})


class Pool:
    """The pod's versions, workers and queue. Every method changes the state in one step and returns what is to be done."""

    def __init__(self, limits: PoolLimits) -> None:
        self.limits = limits
        self.lines: dict[Key, Line] = {}
        self.demand = Demand(limits.slots)
        self._used_s = 0.0  # worker-seconds of runs that have ended
        self._shut = False
        self._table = WorkerTable()
        self._answers = Answers(self.lines)
        self._slots = Slots(limits, self.lines, self._table)
        self._room = WaitingRoom(limits, self.lines, self._table, self._slots)
        self._renewal = Renewal(limits, self.lines, self._table)
        self._staffing = Staffing(limits, self.lines, self._table, self._slots)
        self._ahead = Ahead(limits, self.lines, self._table, self._slots)
        self._hangs = Hangs(limits, self.lines, self._table, self._slots)

    # versions

    def add_version(
        self,
        key: Key,
        signature: Signature,
        *,
        batchable: bool,
        cost: Cost,
        now: float,
        retry: bool = True,
        growth_bytes: float = math.inf,
        loaded_bytes: float = 0.0,
    ) -> list[Effect]:
        """Serve it from now on. For one that is already served: take what may have changed, replace its workers one by one.

        `growth_bytes`: private memory a worker may have beyond a warm one's before it is forked anew. `loaded_bytes`: what the
        model takes in the zygote, and its workers share.
        """
        line = self.lines.get(key)
        if line is None:
            inputs, outputs = tensor_specs(signature.inputs), tensor_specs(signature.outputs)
            line = self.lines[key] = Line(key, inputs, outputs, batchable, cost, Upkeep(self.limits.upkeep), retry)
        else:
            if line.leaving or line.upkeep.down is not None:
                line.upkeep = Upkeep(self.limits.upkeep)
            line.batchable, line.leaving = batchable, False
            line.upkeep.try_now()
            for worker in self._table.of(key):
                worker.retire = True
        line.loaded_bytes, line.growth_bytes = loaded_bytes, growth_bytes
        line.forked_bytes, line.warm_bytes, line.lasts_runs = 0.0, None, math.inf
        return self._plan(now)

    def remove_version(self, key: Key, now: float) -> list[Effect]:
        """Take no more calls; what waits is answered, then its workers end."""
        if key in self.lines:
            self.lines[key].leaving = True
        return self._plan(now)

    # calls

    def hold(self, size: int, now: float) -> None:
        """Before a request of so many bytes is read; `release` once it is answered. Raises OverloadedError beyond the limit."""
        self._room.hold(size, now)

    def release(self, size: int) -> None:
        """The end of what `hold` began."""
        self._room.release(size)

    def submit(self, call: Call, now: float) -> list[Effect]:
        """Take a call. Raises VersionNotHereError, VersionDownError; OverloadedError where the queue is full or its deadline
        out of reach; DeadlineExceededError; UnavailableError once it is shut."""
        if self._shut:
            raise UnavailableError("this pod is shutting down")
        line = self.line_of(call.key)
        if line.upkeep.down is not None:
            raise VersionDownError(line.upkeep.down)
        if call.deadline_s <= now:
            raise DeadlineExceededError
        self._room.check(line, call, now)
        if not line.has_work():  # back from having none: no credit for the time it did not ask
            active = [other.used_s for other in self.lines.values() if other is not line and other.has_work()]
            line.used_s = max(line.used_s, min(active, default=0.0))
        if line.batchable and call.frame.rows > self.limits.large_rows:
            line.large.extend(pieces(line, call, self.limits))
        else:
            self._slots.small_came(now)
            self._wait(line, call)
        self._answers.opened(call, now)
        return self._plan(now)

    def line_of(self, key: Key) -> Line:
        """The line of a version that takes calls, if only to refuse them while it is down. Raises VersionNotHereError."""
        line = self.lines.get(key)
        if line is None or line.leaving:
            raise VersionNotHereError(f"{key[0]} {key[1]} is not served by this pod")
        return line

    def leave(self, call: Call, now: float) -> list[Effect]:
        """Nobody waits for this call any more: what of it has not started never will."""
        self._answers.close(call)
        return self._plan(now)

    def expire(self, call: Call, now: float) -> list[Effect]:
        """The call's deadline has come: answer it, with what there is or as a whole. Repeats change nothing."""
        return [self._answers.give_up(call, self._blamed(call, now))] if call.open else []

    def shut(self, now: float) -> list[Effect]:
        """Answer every call that is still open: the pod goes. Nothing is begun any more, no worker ordered."""
        self._shut = True
        effects: list[Effect] = []
        for call in list(self._answers.open_calls):
            self._answers.close(call)
            effects.append(Answer(call, refused=UnavailableError("this pod is shutting down")))
        for worker in list(self.workers.values()):
            effects += self.end_worker(worker.number, Cause.RETIRED, now)
        return effects

    # workers

    def worker_ready(self, number: int, now: float) -> list[Effect]:
        """It listens."""
        if (worker := self.workers.get(number)) is not None and worker.state is WorkerState.STARTING:
            worker.become(WorkerState.IDLE, now)
            worker.listens_s = now
            for old in self._table.of(worker.key):
                old.retire = old.retire or old.replacement == number
        return self._plan(now)

    def no_zygote(self, number: int, now: float) -> list[Effect]:
        """It could not be ordered: the version's zygote is being loaded anew. That is no death of a worker."""
        if (worker := self.workers.pop(number, None)) is not None and (line := self.lines.get(worker.key)) is not None:
            line.upkeep.put_off(_ZYGOTE_PAUSE_S, now)
        return self._plan(now)

    def try_now(self, key: Key, now: float) -> list[Effect]:
        """Try a worker of a version that is down without waiting for the end of its pause."""
        if (line := self.lines.get(key)) is not None and line.upkeep.down is not None:
            line.upkeep.try_now()
        return self._plan(now)

    def worker_gone(
        self, number: int, now: float, *, how: str = "died", outside: bool = False, jitter: float = 0.5
    ) -> list[Effect]:
        """Its death was seen, wanted or not; `how` it died, `outside`: most likely by somebody else's hand.

        `jitter` (0 to 1) spreads the back-off of versions that die at once.
        """
        worker = self.workers.pop(number, None)
        if worker is None:
            return []
        self._renewal.gone(number)
        if worker.run is not None:
            self._used_s += max(0.0, now - worker.run.started_s)
        line = self.lines.get(worker.key)
        effects: list[Effect] = []
        self._ahead.lost(worker)
        if line is not None and worker.run is not None:
            effects += self._answers.retry_apart(line, worker.run, hung=worker.cause is Cause.HUNG, outside=outside)
        elif line is not None and not worker.stays and worker.cause not in ORDERLY:
            line.upkeep.died(how, now, jitter)
            listening = any(w.state in _LISTENS for w in self._table.of(line.key))
            if not listening and line.upkeep.gives_up(now):
                effects += self._take_down(line)
        return effects + self._plan(now)

    def end_worker(self, number: int, cause: Cause, now: float) -> list[Effect]:
        """Have it killed; it counts until its death is seen. Repeats change nothing."""
        return [*self._table.end(number, cause, now)]

    def check(self, number: int, now: float) -> bool:
        """Whether the worker is idle and may be pinged now; it gets no work until `checked`."""
        worker = self.workers.get(number)
        if worker is None or worker.state is not WorkerState.IDLE:
            return False
        worker.set_aside(now, now)
        return True

    def checked(self, number: int, now: float, *, renew: bool = False) -> list[Effect]:
        """It answered the ping. `renew`: as of `run_done`."""
        effects: list[Effect] = []
        if (worker := self.workers.get(number)) is not None and worker.state is WorkerState.CHECKED:
            worker.back(now)
            if renew:
                self._renewal.asks(worker)
            if now - worker.listens_s >= self.limits.upkeep.stays_up_s:
                effects += self._stays(worker)
        return effects + self._plan(now)

    def retire_worker(self, number: int, now: float) -> list[Effect]:
        """Have it replaced: it ends once it is idle and another of its version listens. Repeats change nothing."""
        if (worker := self.workers.get(number)) is not None:
            worker.retire = True
        return self._plan(now)

    def measured(self, number: int, private_bytes: float | None, now: float) -> list[Effect]:
        """What a `Measure` found, None if nothing. One that has grown too far is replaced."""
        self._renewal.measured(number, private_bytes, now)
        return self._plan(now)

    def run_done(
        self, number: int, run: Run, result: Frame | Failure, now: float, *, retire: bool = False, renew: bool = False
    ) -> list[Effect]:
        """The worker answered this run. `retire`: it asked to be replaced; `renew`: in its turn, before its R collects fully."""
        worker = self.workers.get(number)
        if (
            worker is None
            or worker.state is not WorkerState.BUSY
            or (run is not worker.run and run is not worker.ahead)
        ):
            return []
        after = worker.ahead
        if run is after and (after := worker.run) is not None:  # R took it first, for both had come before it looked
            self._begin(run, after.started_s)
        worker.run, worker.ahead = after, None
        self._used_s += max(0.0, now - run.started_s)
        self._renewal.worked(worker)
        if renew:
            self._renewal.asks(worker)
        worker.retire = worker.retire or retire or worker.yields
        if worker.run is None:
            worker.become(WorkerState.IDLE, now)
        else:
            self._begin(worker.run, now)
        line = self.lines[run.key]
        effects = self._stays(worker)
        if isinstance(result, Frame) and result.rows != run.frame.rows:
            result = Failure("wrong_length", f"R answered {result.rows} rows for {run.frame.rows}")
        if isinstance(result, Failure):
            effects += self._answers.retry_halves(line, run, result)
        else:
            line.cost.learn(run.frame.rows, now - run.started_s)
            effects += self._answers.deliver(line, run, result)
        effects += self._renewal.measure(worker, now)
        return self._plan(now) + effects  # what R is to do next first: to write an answer takes as long as R would wait

    def tick(self, now: float) -> list[Effect]:
        """Time has passed: workers idle for long, forks that were put off. Call it a few times a second."""
        if self._shut:
            return []
        effects: list[Effect] = []
        self.demand.observe(self.used_s(now), self._room.waiting_s(now), now)
        for worker in list(self.workers.values()):
            effects += self._renewal.measure(worker, now)
        self._ahead.overtake(now)
        for worker in self._hangs.look(now):
            effects += self.end_worker(worker.number, Cause.HUNG, now)
        for worker in self._table.busy():
            if not worker.yields and self._slots.is_overdue(worker, now) and self._others_want(worker.key, now):
                worker.yields = True
                effects.append(Yield(worker.number))
        for line in self.lines.values():
            effects += self._renewal.replace(line, now)
            effects += self._staffing.shrink(line, now)
        return effects + self._plan(now)

    # figures

    @property
    def workers(self) -> dict[int, Worker]:
        """All that are not seen dead, by number."""
        return self._table.rows

    @property
    def late(self) -> int:
        """Answers of R for calls that had gone."""
        return self._answers.late

    @property
    def busy(self) -> int:
        """Predictions that run now, those of workers being killed included."""
        return len(self._table.busy())

    @property
    def waiting_rows(self) -> int:
        """Rows that wait for a worker."""
        return self._room.rows

    @property
    def held_bytes(self) -> int:
        """Of requests that are being read, wait, run or are answered."""
        return self._room.held_bytes

    @property
    def open_calls(self) -> int:
        """Calls without an answer."""
        return len(self._answers.open_calls)

    def backlog_s(self, now: float) -> float:
        """Worker-seconds of what waits and of what still runs."""
        return self._room.waiting_s(now) + self._room.running_s(now)

    def used_s(self, now: float) -> float:
        """Worker-seconds of predictions since the start, those that run included."""
        running = (now - w.run.started_s for w in self.workers.values() if w.run is not None)
        return self._used_s + sum(max(0.0, seconds) for seconds in running)

    # --- inside

    def _wait(self, line: Line, call: Call) -> None:
        """In one piece, or each item by itself where they may not share a run."""
        if (line.batchable and call.share != ALONE) or len(call.items) == 1:
            line.waiting.append(Portion(call, 0, len(call.items), call.frame))
        else:
            frames = split(line.inputs, call.frame, call.items)
            line.waiting.extend(Portion(call, index, 1, frame) for index, frame in enumerate(frames))

    def _plan(self, now: float) -> list[Effect]:
        """Assign what can be assigned, order what is lacking, let go what is too much."""
        if self._shut:
            return []
        effects: list[Effect] = [*self._staffing.retire(now)]
        if any(line.has_work() for line in self.lines.values()):
            effects += self._assign_waiting(now)
            effects += self._ahead.send(now)
        effects += self._staffing.grow(now)
        return effects + self._staffing.clear(now)

    def _blamed(self, call: Call, now: float) -> dict[int, ScoregateError]:
        """Items of the call that R takes far too long over just now, and those that ended a worker alone."""
        blamed: dict[int, ScoregateError] = {}
        for worker in self._table.busy():
            if worker.run is None or worker.run.large:
                continue
            overdue = self._hangs.is_overdue(worker, now, _BLAMED_S)
            error = OverdueError() if len({portion.call for portion in worker.run.portions}) == 1 else SetAsideError()
            for portion in worker.run.portions:
                if portion.call is call and portion.killed_alone:
                    blamed[portion.first] = WorkerCrashedError("R crashed while it scored these rows")
                elif portion.call is call and overdue:
                    blamed |= dict.fromkeys(range(portion.first, portion.first + portion.count), error)
        if (line := self.lines.get(call.key)) is not None:
            for portion in itertools.chain.from_iterable(line.apart):
                if portion.call is call and portion.killed_alone:
                    blamed[portion.first] = WorkerCrashedError("R crashed while it scored these rows")
        return blamed

    def _others_want(self, key: Key, now: float) -> bool:
        """Whether a core is of use to another version, or to other runs of this one: it has work, or had some a moment ago."""
        others = [
            worker for worker in self.workers.values() if worker.key != key or not self._slots.is_overdue(worker, now)
        ]
        works = any(w.run is not None or (w.runs and now - w.since_s < _A_MOMENT_S) for w in others)
        return works or any(line.has_work() for line in self.lines.values())

    def _assign_waiting(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        idle: dict[Key, list[Worker]] = {}
        for worker in self.workers.values():
            if worker.state is WorkerState.IDLE:
                idle.setdefault(worker.key, []).append(worker)
        while True:
            room = self._slots.room_for_pieces() > 0
            waiting = [self.lines[k] for k, workers in idle.items() if workers and self.lines[k].can_start(large=room)]
            ready = [line for line in waiting if self._slots.free(line.key, now) > 0]
            if not ready:
                break
            line = min(ready, key=lambda item: item.used_s)
            worker = max(idle[line.key], key=lambda w: w.since_s)  # the warmest; those idle for long can go
            idle[line.key].remove(worker)
            effects.append(self._assign(line, worker, now, large=room))
        return effects

    def _assign(self, line: Line, worker: Worker, now: float, *, large: bool) -> Send:
        short = self._slots.shorten(now, self._slots.free(line.key, now))
        busy = [w for w in self._table.busy() if w.key == line.key and not self._slots.is_overdue(w, now)]
        suspects = any(p.kills for w in busy if w.run is not None for p in w.run.portions)
        portions, is_large = line.take(self.limits.max_run_rows, large=large, short=short, suspect=not suspects)
        run = Run(line.key, portions, merge([portion.frame for portion in portions]), now, is_large)
        worker.run = run
        worker.become(WorkerState.BUSY, now)
        self._begin(run, now)
        return Send(worker.number, run)

    def _begin(self, run: Run, now: float) -> None:
        """R works on it from now on."""
        run.started_s = now
        if run.begun:
            return
        run.begun = True
        line = self.lines[run.key]
        line.used_s += line.cost.predict_s(run.frame.rows)
        for portion in run.portions:
            call = portion.call
            if call.started_s is None:
                call.started_s = now
            if call.open and not run.twice:
                self._answers.count_waiting(call, -portion.frame.rows)

    def _stays(self, worker: Worker) -> list[Effect]:
        """It has answered: whatever happens to it later, it is not because it could not start."""
        if worker.stays:
            return []
        worker.stays = True
        line = self.lines.get(worker.key)
        return [Up(worker.key)] if line is not None and line.upkeep.stays() else []

    def _take_down(self, line: Line) -> list[Effect]:
        """Refuse what waits: nothing of it runs, for no worker listens."""
        reason = line.upkeep.down or ""
        open_calls = [call for call in self._answers.open_calls if call.key == line.key]
        for call in open_calls:
            self._answers.close(call)
        return [Down(line.key, reason), *(Answer(call, refused=VersionDownError(reason)) for call in open_calls)]
