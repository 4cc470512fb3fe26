"""Who predicts what, when: the queue and the dispatch of one pod. Pure: `now` comes in, effects go out, nothing is awaited.

    submit ─▶ waiting ─▶ run on an idle worker ─▶ answered
                 ▲            │ R error: halves, down to items      (a failing item fails alone, with R's message)
                 └────────────┤ crash:   eighths, down to items     (an item that kills again alone is refused; so with a
                              │                                      worker stopped from outside)
                              └ hang:    each item alone            (an item that hangs alone is refused)

Rules kept here: at most `slots` predictions at once, but those that take far longer than expected hold slots of their own
version only, so that one which loops does not take the pod from the others until it is killed; short runs of another version
pass long ones up to its fair share of the slots, so that nobody waits for the end of a slow model's run; a worker is busy from the
moment it is chosen; waiting calls of one batchable version go together up to `max_run_rows`; versions share the slots by time
used; the queue is bounded in rows, and by what can still be done before a call's deadline; each version keeps one worker,
grows while work waits, and idle ones go. At a call's deadline it is answered and the run goes on: only `max_predict_s` ends
a worker.

A version whose workers die before they have answered anything, five in a row, is down (`upkeep`): calls are refused, those
that wait too, and one worker is tried now and then.

A call of very many rows is cut into pieces that last about `large_piece_s` each; at most `large_workers` of them run at once,
and between two of a version its other calls have their turn. A worker that has grown or run often is replaced, the new one first.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from scorer.core.demand import Demand
from scorer.core.states import WORKER_MOVES, WorkerState, move
from scorer.core.upkeep import Upkeep, UpkeepLimits
from shared.cost import Cost
from shared.errors import (
    DeadlineExceededError,
    OverloadedError,
    PredictionFailedError,
    ScoregateError,
    UnavailableError,
    VersionDownError,
    VersionNotHereError,
    WorkerCrashedError,
)
from shared.signature import Signature
from shared.wire import Frame, ItemError, TensorSpec, WireError, merge, split, tensor_specs

Key = tuple[str, str]
_LEAST_RETRY_AFTER_MS = 50
_LEAST_PIECE_ROWS = 64
_LEAST_PIECE_FIXED = 5  # times the fixed cost: a small call beside such pieces takes less than three times its own time
_WARM_RUNS, _WARM_BYTES = 100, 128 * 1024 * 1024  # after so many runs a worker is warm; at most so much that adds to it
_OVERDUE_S, _OVERDUE_TIMES = 0.5, 8  # a run is overdue after this long, and after this many times what was expected
_OUTSIDE_KILLS = 3  # so often an item alone is tried again when its worker was killed from outside
_SHORT_S, _LONG_S = 0.03, 0.06  # expected to last at most this; lasts, or is expected to last, at least this
_CRASH_PARTS = 8  # into so many runs goes what a crashed worker had
_ZYGOTE_PAUSE_S = 0.5
_PROMPT_S = 0.1  # a ping is answered in a millisecond; later than this, work does not wait for the one who owes it


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """`slots` predictions at once; rows that may wait; rows of one merged run; seconds until an extra idle worker goes.

    Calls above `large_rows` are cut. A worker is replaced after `max_runs` runs (0: never), or, once it is `renew_age_s` old, when
    it has grown too far, which is looked at every `measure_s`.
    """

    slots: int
    max_waiting_rows: int = 200_000
    max_run_rows: int = 4096
    idle_s: float = 60.0
    upkeep: UpkeepLimits = field(default_factory=UpkeepLimits)
    large_rows: int = 4096
    large_piece_s: float = 0.025
    large_workers: int = 2
    max_runs: int = 0
    measure_s: float = 2.0
    renew_age_s: float = 5.0


# --- work


@dataclass(slots=True, eq=False)
class Call:
    """One request of a gateway: items of one version, answered together, by `deadline_s` at the latest."""

    key: Key
    frame: Frame
    items: Sequence[int]
    deadline_s: float
    arrived_s: float = 0.0
    tag: object = None  # the shell's own: whom to answer
    open: bool = True
    started_s: float | None = None  # when its first run left
    waiting_rows: int = 0
    frames: dict[int, tuple[int, Frame]] = field(default_factory=dict)  # first item -> (how many, their rows)
    errors: dict[int, ItemError] = field(default_factory=dict)
    parts: dict[int, dict[int, Frame]] = field(default_factory=dict)  # item that was cut -> first row -> its answer

    @property
    def missing(self) -> int:
        """Items without an answer yet."""
        return len(self.items) - sum(count for count, _ in self.frames.values()) - len(self.errors)

    def add(self, portion: Portion, frame: Frame) -> None:
        """The answer to a portion. A piece waits for the item's others."""
        if portion.start is None:
            self.frames[portion.first] = (portion.count, frame)
            return
        parts = self.parts.setdefault(portion.first, {})
        parts[portion.start] = frame
        if sum(part.rows for part in parts.values()) == self.items[portion.first]:
            self.frames[portion.first] = (1, merge([part for _, part in sorted(parts.items())]))
            del self.parts[portion.first]


@dataclass(slots=True, eq=False)
class Portion:
    """Items `first` to `first + count` of a call, and their rows; or a piece of one item, from its row `start` on."""

    call: Call
    first: int
    count: int
    frame: Frame
    kills: int = 0
    start: int | None = None


@dataclass(slots=True, eq=False)
class Run:
    """What one worker predicts in one go."""

    key: Key
    portions: tuple[Portion, ...]
    frame: Frame
    started_s: float
    large: bool = False  # of a call that was cut

    @property
    def items(self) -> int:
        """How many items it holds."""
        return sum(portion.count for portion in self.portions)


class Cause(StrEnum):
    """Why a worker is no more."""

    DIED = "died"
    CRASHED = "crashed"  # killed: R's handler of a crash had begun and did not end
    HUNG = "hung"  # killed: its run was longer than allowed
    STOPPED = "stopped"  # killed: something had stopped it (SIGSTOP), which is not its rows' doing
    UNANSWERED = "unanswered"  # killed: it did not answer a ping, or its connection broke
    RETIRED = "retired"  # idle for long, replaced, or its version is gone
    GROWN = "grown"  # replaced: its own memory had grown too far
    WORN = "worn"  # replaced: after as many runs as one may have
    NOT_STARTED = "not_started"


ORDERLY = frozenset({Cause.RETIRED, Cause.GROWN, Cause.WORN})


@dataclass(frozen=True, slots=True)
class Failure:
    """The worker's answer where it is not rows: R's message, for callers only if the run had one item."""

    code: str
    message: str


# --- what the shell is to do


@dataclass(frozen=True, slots=True)
class Fork:
    """Order a worker of this version under this number."""

    key: Key
    worker: int


@dataclass(frozen=True, slots=True)
class Send:
    """Give the worker this run."""

    worker: int
    run: Run


@dataclass(frozen=True, slots=True)
class End:
    """Kill the worker; its death comes back as `worker_gone`."""

    worker: int
    cause: Cause


@dataclass(frozen=True, slots=True)
class Answer:
    """The call has its answer: rows of the items that succeeded, or an error for the whole."""

    call: Call
    frame: Frame | None = None
    sizes: tuple[int, ...] = ()
    errors: tuple[ItemError, ...] = ()
    refused: ScoregateError | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """Read the worker's private memory and call `measured`; it gets no work until then."""

    worker: int


@dataclass(frozen=True, slots=True)
class Down:
    """The version's workers cannot stay up: it is not served any more."""

    key: Key
    reason: str


@dataclass(frozen=True, slots=True)
class Up:
    """A worker of a version that was down has stayed."""

    key: Key


Effect = Fork | Send | End | Answer | Measure | Down | Up
_LISTENS = frozenset({WorkerState.IDLE, WorkerState.BUSY, WorkerState.CHECKED})


# --- state


@dataclass(slots=True, eq=False)
class Worker:
    """One row of the worker table."""

    number: int
    key: Key
    state: WorkerState
    since_s: float
    run: Run | None = None
    runs: int = 0
    checked_s: float = 0.0  # when the ping left that it has to answer
    retire: bool = False  # ends as soon as it is idle
    cause: Cause | None = None  # why it was told to end
    born_s: float = 0.0
    listens_s: float = math.inf  # since when
    stays: bool = False  # it has answered
    measured_s: float = 0.0
    measured_runs: int = -1
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


@dataclass(slots=True, eq=False)
class Line:
    """One version's queue and figures."""

    key: Key
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batchable: bool
    cost: Cost
    upkeep: Upkeep
    retry: bool = True  # whether rows may be scored again after a crash
    waiting: deque[Portion] = field(default_factory=deque)
    apart: deque[tuple[Portion, ...]] = field(default_factory=deque)  # runs to repeat in smaller parts, first
    large: deque[Portion] = field(default_factory=deque)  # pieces of calls that were cut
    after_piece: bool = False  # the last run was one: another call's turn
    growth_bytes: float = math.inf  # private memory a worker may have beyond one that is warm
    forked_bytes: float = 0.0  # what a new one has
    warm_bytes: float | None = None  # the least that one had after enough runs
    waiting_rows: int = 0
    waiting_calls: int = 0
    used_s: float = 0.0  # virtual time: who has used least goes next
    leaving: bool = False

    def has_work(self) -> bool:
        """Whether anything open waits; drops what nobody waits for any more."""
        while self.apart and not any(p.call.open for p in self.apart[0]):
            self.apart.popleft()
        for waiting in (self.waiting, self.large):
            while waiting and not waiting[0].call.open:
                waiting.popleft()
        return bool(self.apart or self.waiting or self.large)

    def can_start(self, *, large: bool) -> bool:
        """Whether something waits that may start now; `large`: whether another piece may."""
        return self.has_work() and bool(self.apart or self.waiting or (large and self.large))

    def waits_s(self, now: float) -> float:
        """How long ago the oldest call arrived that has not all of its runs."""
        waiting = [queue[0].call.arrived_s for queue in (self.waiting, self.large) if self.has_work() and queue]
        return max(0.0, now - min(waiting)) if waiting else 0.0

    def backlog_s(self, max_run_rows: int) -> float:
        """Worker-seconds that wait."""
        if not self.waiting_calls:
            return 0.0
        runs = math.ceil(self.waiting_rows / max_run_rows) if self.batchable else self.waiting_calls
        runs = max(runs, len(self.large))
        return self.cost.predict_s(self.waiting_rows, max(1, runs))


def _staggered(rows: int, most: int, workers: int) -> list[int]:
    """Where pieces of at most `most` rows begin, and where the last one ends.

    The first and the last ones rise and fall in steps, so that workers never end theirs at the same time, but the last: another
    call then waits for a part of a piece.
    """
    full = max(workers, math.ceil(rows / most)) - workers + 1
    steps = list(range(1, workers))
    weights = steps + [workers] * full + steps[::-1]
    ends = itertools.accumulate(weights, initial=0)
    total = sum(weights)
    return sorted({rows * end // total for end in ends})


class Pool:
    """The pod's versions, workers and queue. Every method changes the state in one step and returns what is to be done."""

    def __init__(self, limits: PoolLimits) -> None:
        self.limits = limits
        self.lines: dict[Key, Line] = {}
        self.workers: dict[int, Worker] = {}
        self.late = 0  # answers of R for calls that had gone
        self.demand = Demand(limits.slots)
        self._used_s = 0.0  # worker-seconds of runs that have ended
        self._measuring: int | None = None
        self._numbers = itertools.count(1)
        self._open_calls: set[Call] = set()

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
    ) -> list[Effect]:
        """Serve it from now on. For one that is already served: take what may have changed, replace its workers one by one.

        `growth_bytes`: private memory a worker may have beyond a warm one's before it is forked anew.
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
            for worker in self._of(key):
                worker.retire = True
        line.growth_bytes, line.forked_bytes, line.warm_bytes = growth_bytes, 0.0, None
        return self._plan(now)

    def remove_version(self, key: Key, now: float) -> list[Effect]:
        """Take no more calls; what waits is answered, then its workers end."""
        if key in self.lines:
            self.lines[key].leaving = True
        return self._plan(now)

    # calls

    def submit(self, call: Call, now: float) -> list[Effect]:
        """Take a call. Raises VersionNotHereError, VersionDownError; OverloadedError where the queue is full or its deadline
        out of reach; DeadlineExceededError."""
        line = self.lines.get(call.key)
        if line is None or line.leaving:
            raise VersionNotHereError(f"{call.key[0]} {call.key[1]} is not served by this pod")
        if line.upkeep.down is not None:
            raise VersionDownError(line.upkeep.down)
        if call.deadline_s <= now:
            raise DeadlineExceededError
        self._check_room(line, call, now)
        if not line.has_work():  # back from having none: no credit for the time it did not ask
            active = [other.used_s for other in self.lines.values() if other is not line and other.has_work()]
            line.used_s = max(line.used_s, min(active, default=0.0))
        if line.batchable and call.frame.rows > self.limits.large_rows:
            line.large.extend(self._pieces(line, call))
        elif line.batchable or len(call.items) == 1:
            line.waiting.append(Portion(call, 0, len(call.items), call.frame))
        else:
            frames = split(line.inputs, call.frame, call.items)
            line.waiting.extend(Portion(call, index, 1, frame) for index, frame in enumerate(frames))
        call.arrived_s = now
        call.waiting_rows = call.frame.rows
        line.waiting_rows += call.waiting_rows
        line.waiting_calls += 1
        self._open_calls.add(call)
        return self._plan(now)

    def leave(self, call: Call, now: float) -> list[Effect]:
        """Nobody waits for this call any more: what of it has not started never will."""
        self._close(call)
        return self._plan(now)

    def expire(self, call: Call) -> list[Effect]:
        """The call's deadline has come: answer it, with what there is or as a whole. Repeats change nothing."""
        return [self._give_up(call)] if call.open else []

    # workers

    def worker_ready(self, number: int, now: float) -> list[Effect]:
        """It listens."""
        if (worker := self.workers.get(number)) is not None and worker.state is WorkerState.STARTING:
            worker.become(WorkerState.IDLE, now)
            worker.listens_s = now
            for old in self._of(worker.key):
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
        if self._measuring == number:
            self._measuring = None
        if worker.run is not None:
            self._used_s += max(0.0, now - worker.run.started_s)
        line = self.lines.get(worker.key)
        effects: list[Effect] = []
        if line is not None and worker.run is not None:
            effects += self._retry_apart(line, worker.run, hung=worker.cause is Cause.HUNG, outside=outside)
        elif line is not None and not worker.stays and worker.cause not in ORDERLY:
            line.upkeep.died(how, now, jitter)
            listening = any(w.state in _LISTENS for w in self._of(line.key))
            if not listening and line.upkeep.gives_up(now):
                effects += self._take_down(line)
        return effects + self._plan(now)

    def _take_down(self, line: Line) -> list[Effect]:
        """Refuse what waits: nothing of it runs, for no worker listens."""
        reason = line.upkeep.down or ""
        open_calls = [call for call in self._open_calls if call.key == line.key]
        for call in open_calls:
            self._close(call)
        return [Down(line.key, reason), *(Answer(call, refused=VersionDownError(reason)) for call in open_calls)]

    def _stays(self, worker: Worker) -> list[Effect]:
        """It has answered: whatever happens to it later, it is not because it could not start."""
        if worker.stays:
            return []
        worker.stays = True
        line = self.lines.get(worker.key)
        return [Up(worker.key)] if line is not None and line.upkeep.stays() else []

    def end_worker(self, number: int, cause: Cause, now: float) -> list[Effect]:
        """Have it killed; it counts until its death is seen. Repeats change nothing."""
        worker = self.workers.get(number)
        if worker is None or worker.state is WorkerState.ENDING:
            return []
        worker.cause = cause
        worker.become(WorkerState.ENDING, now)
        return [End(number, cause)]

    def check(self, number: int, now: float) -> bool:
        """Whether the worker is idle and may be pinged now; it gets no work until `checked`."""
        worker = self.workers.get(number)
        if worker is None or worker.state is not WorkerState.IDLE:
            return False
        since = worker.since_s
        worker.become(WorkerState.CHECKED, now)
        worker.since_s = since  # a ping is not work: it goes on being idle
        worker.checked_s = now
        return True

    def checked(self, number: int, now: float) -> list[Effect]:
        """It answered the ping."""
        effects: list[Effect] = []
        if (worker := self.workers.get(number)) is not None and worker.state is WorkerState.CHECKED:
            since = worker.since_s
            worker.become(WorkerState.IDLE, now)
            worker.since_s = since
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
        if self._measuring == number:
            self._measuring = None
        worker = self.workers.get(number)
        if worker is None or worker.state is not WorkerState.CHECKED:
            return self._plan(now)
        since = worker.since_s
        worker.become(WorkerState.IDLE, now)
        worker.since_s = since
        line = self.lines[worker.key]
        if private_bytes is not None:
            if not worker.runs:
                line.forked_bytes = private_bytes
            elif worker.runs >= _WARM_RUNS:
                line.warm_bytes = min(private_bytes, line.warm_bytes or math.inf)
            # Compiling, buffers and R's young objects make any worker grow at first, by how much depends on the packages.
            usual = min(line.forked_bytes + _WARM_BYTES, line.warm_bytes or math.inf)
            if worker.runs and private_bytes - usual > line.growth_bytes:
                worker.renew = worker.renew or Cause.GROWN
        return self._plan(now)

    def run_done(self, number: int, result: Frame | Failure, now: float, *, retire: bool = False) -> list[Effect]:
        """The worker answered its run. `retire`: it asked to be replaced."""
        worker = self.workers.get(number)
        if worker is None or worker.run is None or worker.state is not WorkerState.BUSY:
            return []
        run, worker.run = worker.run, None
        self._used_s += max(0.0, now - run.started_s)
        worker.runs += 1
        worker.retire = worker.retire or retire
        if 0 < self.limits.max_runs <= worker.runs:
            worker.renew = worker.renew or Cause.WORN
        worker.become(WorkerState.IDLE, now)
        line = self.lines[run.key]
        effects = self._stays(worker)
        if isinstance(result, Frame) and result.rows != run.frame.rows:
            result = Failure("wrong_length", f"R answered {result.rows} rows for {run.frame.rows}")
        if isinstance(result, Failure):
            effects += self._retry_halves(line, run, result)
        else:
            line.cost.learn(run.frame.rows, now - run.started_s)
            effects += self._deliver(line, run, result)
        return effects + self._measure(worker, now) + self._plan(now)

    def tick(self, now: float) -> list[Effect]:
        """Time has passed: workers idle for long, forks that were put off. Call it a few times a second."""
        effects: list[Effect] = []
        self.demand.observe(self.used_s(now), self._waiting_s(), now)
        for worker in list(self.workers.values()):
            effects += self._measure(worker, now)
        for line in self.lines.values():
            own = self._of(line.key)
            effects += self._renew(line, own, now)
            spare = [w for w in own if w.state is WorkerState.IDLE and now - w.since_s >= self.limits.idle_s]
            keep = 0 if line.leaving else 1
            staying = sum(w.state not in {WorkerState.STARTING, WorkerState.ENDING} and not w.retire for w in own)
            for worker in sorted(spare, key=lambda w: w.since_s):
                if staying <= keep or line.has_work():
                    break
                effects += self.end_worker(worker.number, Cause.RETIRED, now)
                staying -= 1
        return effects + self._plan(now)

    # figures

    @property
    def busy(self) -> int:
        """Predictions that run now, those of workers being killed included."""
        return sum(worker.run is not None for worker in self.workers.values())

    @property
    def waiting_rows(self) -> int:
        """Rows that wait for a worker."""
        return sum(line.waiting_rows for line in self.lines.values())

    @property
    def open_calls(self) -> int:
        """Calls without an answer."""
        return len(self._open_calls)

    def backlog_s(self, now: float) -> float:
        """Worker-seconds of what waits and of what still runs."""
        return self._waiting_s() + sum(self._left_s(worker, now) for worker in self.workers.values())

    def used_s(self, now: float) -> float:
        """Worker-seconds of predictions since the start, those that run included."""
        running = (now - w.run.started_s for w in self.workers.values() if w.run is not None)
        return self._used_s + sum(max(0.0, seconds) for seconds in running)

    # --- inside

    def _overdue(self, worker: Worker, now: float) -> bool:
        if worker.run is None:
            return False
        expected_s = self.lines[worker.key].cost.predict_s(worker.run.frame.rows) if worker.key in self.lines else 0.0
        return now - worker.run.started_s > max(_OVERDUE_S, _OVERDUE_TIMES * expected_s)

    def _free(self, key: Key, now: float) -> int:
        """Slots that this version may take now: what others' overdue runs hold is not lost to it, and, if its next run is
        short, what others' long runs hold beyond their share is not either."""
        busy = [w for w in self.workers.values() if w.run is not None and (w.key == key or not self._overdue(w, now))]
        free = self.limits.slots - len(busy)
        if free > 0 or not self._next_is_short(key):
            return free
        own = sum(w.key == key for w in busy)
        passed = sum(w.key != key and self._is_long(w, now) for w in busy)
        versions = {w.key for w in busy} | {key}
        fair = max(1, self.limits.slots // len(versions))
        return max(free, min(passed, fair - own))

    def _next_is_short(self, key: Key) -> bool:
        line = self.lines[key]
        queues = (line.apart[0] if line.apart else ()), line.waiting
        first = next((portion for queue in queues for portion in queue), None)
        return line.cost.predict_s(first.frame.rows if first is not None else 1) <= _SHORT_S

    def _is_long(self, worker: Worker, now: float) -> bool:
        if worker.run is None or worker.run.large:
            return False
        expected_s = self.lines[worker.key].cost.predict_s(worker.run.frame.rows) if worker.key in self.lines else 0.0
        return max(expected_s, now - worker.run.started_s) >= _LONG_S

    def _of(self, key: Key) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker.key == key]

    def _waiting_s(self) -> float:
        return sum(line.backlog_s(self.limits.max_run_rows) for line in self.lines.values())

    def _left_s(self, worker: Worker, now: float) -> float:
        """Predicted seconds until the worker's run ends; 0 if it should have."""
        if worker.run is None:
            return 0.0
        cost_s = self.lines[worker.run.key].cost.predict_s(worker.run.frame.rows)
        return max(0.0, worker.run.started_s + cost_s - now)

    def _measure(self, worker: Worker, now: float) -> list[Effect]:
        """Have an idle worker measured that has worked since the last time, or never; one at a time."""
        if self._measuring is not None or worker.state is not WorkerState.IDLE or worker.retire or worker.renew:
            return []
        first = not worker.runs and worker.measured_runs < 0
        if worker.runs <= worker.measured_runs or not (first or now - worker.measured_s >= self.limits.measure_s):
            return []
        since = worker.since_s
        worker.become(WorkerState.CHECKED, now)
        worker.since_s, worker.checked_s = since, math.inf  # it owes no ping
        worker.measured_s, worker.measured_runs = now, worker.runs
        self._measuring = worker.number
        return [Measure(worker.number)]

    def _renew(self, line: Line, own: Sequence[Worker], now: float) -> list[Effect]:
        """Order who is to take a worn worker's place: one at a time in each version."""
        if line.leaving or now < line.upkeep.fork_at_s or any(w.replacement in self.workers for w in own):
            return []
        for worker in own:
            if worker.renew is None or worker.retire or worker.state is WorkerState.ENDING:
                continue
            if now - worker.born_s >= self.limits.renew_age_s:
                fork = self._order(line, now)
                worker.replacement = fork.worker
                return [fork]
        return []

    def _order(self, line: Line, now: float) -> Fork:
        worker = Worker(next(self._numbers), line.key, WorkerState.STARTING, now, born_s=now)
        self.workers[worker.number] = worker
        return Fork(line.key, worker.number)

    def _room_for_pieces(self) -> int:
        """How many more pieces may run now."""
        running = sum(worker.run is not None and worker.run.large for worker in self.workers.values())
        return self.limits.large_workers - running

    def _pieces(self, line: Line, call: Call) -> list[Portion]:
        """The call's items in portions of about `large_piece_s` each; an item that is larger is cut.

        Where a call's fixed cost is much of that the pieces are longer: they would cost more than their rows, and a small call
        of the version, which has that fixed cost too, hardly notices.
        """
        cost, limits = line.cost, self.limits
        workers = min(limits.large_workers, limits.slots)
        piece_s = max(limits.large_piece_s, _LEAST_PIECE_FIXED * cost.fixed_s)
        most = int((piece_s - cost.fixed_s) / cost.row_s) if cost.row_s > 0 else call.frame.rows
        fair = math.ceil(call.frame.rows / workers)
        most = max(_LEAST_PIECE_ROWS, min(most, fair))
        places: list[tuple[int, int, int | None]] = []  # first item, items, first row
        sizes: list[int] = []
        for index, size in enumerate(call.items):
            if size > most:
                ends = _staggered(size, most, workers)
                places += [(index, 1, start) for start in ends[:-1]]
                sizes += [end - start for start, end in itertools.pairwise(ends)]
            elif places and places[-1][2] is None and sizes[-1] + size <= most:
                first, count, _ = places[-1]
                places[-1] = (first, count + 1, None)
                sizes[-1] += size
            else:
                places.append((index, 1, None))
                sizes.append(size)
        frames = split(line.inputs, call.frame, sizes)
        return [
            Portion(call, first, count, frame, start=start)
            for (first, count, start), frame in zip(places, frames, strict=True)
        ]

    def _check_room(self, line: Line, call: Call, now: float) -> None:
        waiting = self.waiting_rows
        if waiting:
            wait_s = min(self.backlog_s(now), self._fair_backlog_s(line, now)) / self.limits.slots
        elif self._free(line.key, now) <= 0:
            wait_s = min(self._left_s(worker, now) for worker in self.workers.values() if worker.run is not None)
        else:
            return  # a slot is free: whatever the estimate says, trying is how it is corrected
        own_s = line.cost.predict_s(call.frame.rows)
        if line.batchable and call.frame.rows > self.limits.large_rows:
            own_s /= min(self.limits.large_workers, self.limits.slots)
        if waiting + call.frame.rows > self.limits.max_waiting_rows:
            raise OverloadedError("the queue of this pod is full", retry_after_ms=self._retry_after_ms(wait_s))
        if now + wait_s + own_s > call.deadline_s:
            late_s = now + wait_s + own_s - call.deadline_s
            raise OverloadedError(
                "this cannot be answered before its deadline",
                retry_after_ms=self._retry_after_ms(min(wait_s, late_s)),
            )

    def _fair_backlog_s(self, line: Line, now: float) -> float:
        """Worker-seconds until what waits of this version has gone, since versions with work share the slots by time."""
        sharing = sum(other is line or other.waiting_rows > 0 for other in self.lines.values())
        running_s = sum(self._left_s(worker, now) for worker in self.workers.values())
        return running_s + sharing * line.backlog_s(self.limits.max_run_rows)

    @staticmethod
    def _retry_after_ms(wait_s: float) -> int:
        return max(_LEAST_RETRY_AFTER_MS, math.ceil(wait_s * 1000))

    def _plan(self, now: float) -> list[Effect]:
        """Assign what can be assigned, order what is lacking, let go what is too much."""
        effects: list[Effect] = []
        for worker in list(self.workers.values()):
            if worker.retire and worker.state is WorkerState.IDLE and self._may_retire(worker):
                effects += self.end_worker(worker.number, worker.renew or Cause.RETIRED, now)
        idle: dict[Key, list[Worker]] = {}
        for worker in self.workers.values():
            if worker.state is WorkerState.IDLE:
                idle.setdefault(worker.key, []).append(worker)
        while True:
            room = self._room_for_pieces() > 0
            waiting = [self.lines[k] for k, workers in idle.items() if workers and self.lines[k].can_start(large=room)]
            ready = [line for line in waiting if self._free(line.key, now) > 0]
            if not ready:
                break
            line = min(ready, key=lambda item: item.used_s)
            worker = max(idle[line.key], key=lambda w: w.since_s)  # the warmest; those idle for long can go
            idle[line.key].remove(worker)
            effects.append(self._assign(line, worker, now, large=room))
        effects += self._grow(now)
        return effects + self._clear(now)

    def _may_retire(self, worker: Worker) -> bool:
        """Replacement first: only when another of its version is there, or nobody wants the version."""
        others = [w for w in self._of(worker.key) if w is not worker and not w.retire]
        listening = any(w.state not in {WorkerState.STARTING, WorkerState.ENDING} for w in others)
        return self.lines[worker.key].leaving or listening

    def _assign(self, line: Line, worker: Worker, now: float, *, large: bool) -> Send:
        portions, is_large = self._take(line, large=large)
        run = Run(line.key, portions, merge([portion.frame for portion in portions]), now, is_large)
        line.used_s += line.cost.predict_s(run.frame.rows)
        worker.run = run
        worker.become(WorkerState.BUSY, now)
        for portion in portions:
            call = portion.call
            if call.started_s is None:
                call.started_s = now
            if call.open:
                self._count_waiting(call, -portion.frame.rows)
        return Send(worker.number, run)

    def _take(self, line: Line, *, large: bool) -> tuple[tuple[Portion, ...], bool]:
        """The next run, and whether it is a piece: a part to repeat, what waits, as much as may go together, or a piece.

        `can_start` was true. A piece only in turn with what waits beside it.
        """
        if line.apart:
            return tuple(p for p in line.apart.popleft() if p.call.open), False
        if line.large and large and not (line.waiting and line.after_piece):
            line.after_piece = True
            return (line.large.popleft(),), True
        line.after_piece = False
        first = line.waiting.popleft()
        taken, rows = [first], first.frame.rows
        while line.batchable and line.has_work() and line.waiting:
            portion = line.waiting[0]
            if rows + portion.frame.rows > self.limits.max_run_rows:
                break
            rows += portion.frame.rows
            taken.append(line.waiting.popleft())
        return tuple(taken), False

    def _grow(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for line in self.lines.values():
            own = [w for w in self._of(line.key) if w.may_serve(now)]
            starting = sum(w.state is WorkerState.STARTING for w in own)
            idle = sum(w.state in {WorkerState.IDLE, WorkerState.CHECKED} for w in own)
            pieces = min(len(line.large), self._room_for_pieces()) if line.large else 0
            runs = len(line.apart) + len(line.waiting) + pieces if line.has_work() else 0
            wanted = min(runs, self._free(line.key, now)) - starting - idle
            wanted = min(wanted, self.limits.slots - len(own))
            if not own and not (line.leaving and not runs):
                wanted = max(wanted, 1)
            if wanted <= 0 or now < line.upkeep.fork_at_s:
                continue
            for _ in range(wanted):
                if own and not self._room_for_extra(line, now, effects):
                    break
                fork = self._order(line, now)
                own.append(self.workers[fork.worker])
                effects.append(fork)
        return effects

    def _room_for_extra(self, line: Line, now: float, effects: list[Effect]) -> bool:
        """Workers beyond each version's first are at most `slots`; the one idle longest elsewhere makes room."""
        live: dict[Key, list[Worker]] = {}
        for worker in self.workers.values():
            if worker.state is not WorkerState.ENDING:
                live.setdefault(worker.key, []).append(worker)
        if sum(len(workers) - 1 for workers in live.values()) < self.limits.slots:
            return True
        spare = [
            worker
            for key, workers in live.items()
            if key != line.key and len(workers) > 1 and not self.lines[key].has_work()
            for worker in workers
            if worker.state is WorkerState.IDLE
        ]
        if not spare:
            return False
        effects += self.end_worker(min(spare, key=lambda w: w.since_s).number, Cause.RETIRED, now)
        return True

    def _clear(self, now: float) -> list[Effect]:
        """Versions that leave: once nothing of theirs waits or runs, their workers end and they are forgotten."""
        effects: list[Effect] = []
        for key, line in list(self.lines.items()):
            if not line.leaving or line.has_work():
                continue
            own = self._of(key)
            for worker in own:
                if worker.run is None:
                    effects += self.end_worker(worker.number, Cause.RETIRED, now)
            if not own:
                del self.lines[key]
        return effects

    # answers

    def _count_waiting(self, call: Call, rows: int) -> None:
        line = self.lines[call.key]
        before = call.waiting_rows
        call.waiting_rows += rows
        line.waiting_rows += rows
        line.waiting_calls += (call.waiting_rows > 0) - (before > 0)

    def _close(self, call: Call) -> None:
        if call.open:
            call.open = False
            self._open_calls.discard(call)
            if call.key in self.lines:
                self._count_waiting(call, -call.waiting_rows)

    def _give_up(self, call: Call) -> Answer:
        if not call.frames and not call.errors:
            self._close(call)
            return Answer(call, refused=DeadlineExceededError())
        answered = {i for first, (count, _) in call.frames.items() for i in range(first, first + count)} | set(
            call.errors
        )
        error = DeadlineExceededError()
        for index in range(len(call.items)):
            if index not in answered:
                call.errors[index] = ItemError(index, error.code, error.detail)
        return self._finish(call)

    def _finish(self, call: Call) -> Answer:
        self._close(call)
        line = self.lines[call.key]
        frames = [frame for _, (_, frame) in sorted(call.frames.items())]
        empty = Frame(0, tuple(b"" for _ in line.outputs))
        sizes = tuple(0 if index in call.errors else size for index, size in enumerate(call.items))
        errors = tuple(error for _, error in sorted(call.errors.items()))
        return Answer(call, merge(frames) if frames else empty, sizes, errors)

    def _deliver(self, line: Line, run: Run, frame: Frame) -> list[Effect]:
        try:
            parts = split(line.outputs, frame, [portion.frame.rows for portion in run.portions])
        except WireError as error:
            return self._retry_halves(line, run, Failure("bad_output", str(error)))
        effects: list[Effect] = []
        for portion, part in zip(run.portions, parts, strict=True):
            call = portion.call
            if not call.open:
                self.late += 1
                continue
            if portion.first in call.errors:  # another piece of this item has failed
                continue
            call.add(portion, part)
            if not call.missing:
                effects.append(self._finish(call))
        return effects

    def _fail(self, portion: Portion, error: ScoregateError) -> list[Effect]:
        call = portion.call
        if not call.open:
            self.late += 1
            return []
        if portion.start is not None:
            self._drop_pieces(portion)
        call.errors[portion.first] = ItemError(portion.first, error.code, error.detail)
        return [] if call.missing else [self._finish(call)]

    def _drop_pieces(self, failed: Portion) -> None:
        """One piece of an item has failed: its others need not start."""
        call = failed.call
        call.parts.pop(failed.first, None)
        line = self.lines[call.key]

        def of_item(portion: Portion) -> bool:
            return portion.call is call and portion.first == failed.first

        for portion in [*line.large, *itertools.chain.from_iterable(line.apart)]:
            if of_item(portion):
                self._count_waiting(call, -portion.frame.rows)
        line.large = deque(portion for portion in line.large if not of_item(portion))
        line.apart = deque(group for group in line.apart if not any(map(of_item, group)))

    def _singles(self, line: Line, run: Run) -> list[Portion]:
        """The run's items, one by one, of calls that still wait."""
        singles: list[Portion] = []
        for portion in run.portions:
            if not portion.call.open:
                continue
            sizes = portion.call.items[portion.first : portion.first + portion.count]
            frames = split(line.inputs, portion.frame, sizes)
            singles += [Portion(portion.call, portion.first + i, 1, f, portion.kills) for i, f in enumerate(frames)]
        return singles

    def _again(self, line: Line, groups: Iterable[Sequence[Portion]]) -> None:
        """Wait once more, in these groups, before all others of the version."""
        for group in reversed([tuple(group) for group in groups if group]):
            line.apart.appendleft(group)
            for portion in group:
                self._count_waiting(portion.call, portion.frame.rows)

    def _retry_halves(self, line: Line, run: Run, failure: Failure) -> list[Effect]:
        if run.items == 1:
            return self._fail(run.portions[0], PredictionFailedError(failure.message))
        singles = self._singles(line, run)
        half = (len(singles) + 1) // 2
        self._again(line, [singles[:half], singles[half:]])
        return []

    def _retry_apart(self, line: Line, run: Run, *, hung: bool, outside: bool) -> list[Effect]:
        if run.items == 1:
            portion = run.portions[0]
            portion.kills += 1
            if hung:
                return self._fail(portion, DeadlineExceededError("these rows take longer than a prediction may"))
            if not line.retry:
                return self._fail(portion, WorkerCrashedError("R crashed while it scored these rows"))
            if portion.kills > (_OUTSIDE_KILLS if outside else 1):
                return self._fail(portion, WorkerCrashedError())
            if portion.call.open:
                self._again(line, [[portion]])
            return []
        singles = self._singles(line, run)
        for portion in singles:
            portion.kills += 1
        # A run costs far more than its rows: what a hundred items did in one run they must not do again in a hundred, when
        # it was the worker that somebody killed. Two steps down to the item, and a hang in one only.
        size = 1 if hung else math.ceil(len(singles) / _CRASH_PARTS)
        self._again(line, [singles[i : i + size] for i in range(0, len(singles), max(1, size))])
        return []

    def shut(self, now: float) -> list[Effect]:
        """Answer every call that is still open: the pod goes."""
        effects: list[Effect] = []
        for call in list(self._open_calls):
            self._close(call)
            effects.append(Answer(call, refused=UnavailableError("this pod is shutting down")))
        for worker in list(self.workers.values()):
            effects += self.end_worker(worker.number, Cause.RETIRED, now)
        return effects
