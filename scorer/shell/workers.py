"""The worker processes of this pod: carries out what the pool decides, and tells it what happens.

Everything between a request and its worker is callbacks: no task, no lock, no queue of its own. The pool's methods return
effects; `perform` does each at once and feeds what follows from it back.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterable

import structlog

from scorer.core.calls import Call, Failure, Key, Run
from scorer.core.effects import ORDERLY, Answer, Cause, Down, Effect, End, Fork, Measure, Send, Up, Yield
from scorer.core.pool import Pool
from scorer.core.states import WorkerState
from scorer.shell import processes
from scorer.shell.memory import Memory
from scorer.shell.memory_watch import MemoryWatch, far_too_large
from scorer.shell.metrics import ScorerMetrics
from scorer.shell.process import Process, WorkerLimits
from scorer.shell.processes import Death, Plight, Watched
from scorer.shell.throw_away import ThrowAway
from scorer.shell.worker import WorkerConnection, rows_of
from scorer.shell.zygote import Zygote, ZygoteError
from shared.frames import cut, join
from shared.http_client import LostError, Reply
from shared.wire import Frame, WireError

log = structlog.get_logger()
_LOST_GRACE_S = 0.1
_CHILDREN_EVERY_S = 1.0
#: Rows crash R in many ways, but not in these: an operator, or the kernel that is out of memory.
_BY_HAND = frozenset({signal.SIGKILL, signal.SIGTERM})
_CAUSES = {Plight.STOPPED: Cause.STOPPED, Plight.CRASHING: Cause.CRASHED}


class Workers:
    """Forks, sends to, pings and kills workers. `answer` is called with every call that has its answer."""

    def __init__(
        self, pool: Pool, limits: WorkerLimits, metrics: ScorerMetrics, answer: Callable[[Answer], None]
    ) -> None:
        self.pool = pool
        self.zygotes: dict[Key, Zygote] = {}
        self.processes: dict[int, Process] = {}
        self.on_ready: Callable[[Key], None] = lambda _: None
        self.on_down: Callable[[Key, str], None] = lambda *_: None
        self.on_up: Callable[[Key], None] = lambda _: None
        #: Told of each run that is over: its worker, when, and whether R answered. None while nobody wants to know.
        self.on_run: Callable[[Run, int | None, float, bool], None] | None = None
        self._limits = limits
        self._metrics = metrics
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        self._tests_forked = 0
        self.started: set[Zygote] = set()  # every zygote that has something left: one that loads, or only its workers
        self.tests: set[ThrowAway] = set()
        self._memory = MemoryWatch()
        metrics.watch_memory(self._held)

    def perform(self, effects: Iterable[Effect]) -> None:
        """Do what the pool decided, and what follows from it."""
        for effect in effects:
            match effect:
                case Send():
                    self._send(effect.worker, effect.run, ahead=effect.ahead)
                case Answer():
                    self._answer(effect)
                case Fork():
                    self._fork(effect)
                case End():
                    self._end(effect.worker, effect.cause)
                case Measure():
                    self._measure(effect.worker)
                case Yield():
                    self._yield(effect.worker)
                case Down():
                    self.on_down(effect.key, effect.reason)
                case Up():
                    self.on_up(effect.key)

    def submit(self, call: Call) -> None:
        """Take a call; its answer comes by `answer`. Raises what `Pool.submit` raises."""
        self.perform(self.pool.submit(call, time.monotonic()))

    def tick(self) -> None:
        """A few times a second: what the pool put off, pings of idle workers, zygotes that are done."""
        now = time.monotonic()
        self.perform(self.pool.tick(now))
        self._memory.tick(self.started, now)
        in_use = {process.zygote for process in self.processes.values()} | set(self.zygotes.values())
        for zygote in [z for z in self.started if not z.alive and z not in in_use]:
            zygote.close()
            self.started.discard(zygote)
        for process in list(self.processes.values()):
            self._look_at(process, now)
            if now - process.last_ping_s >= self._limits.ping_s and self.pool.check(process.number, now):
                self._ping(process, now)

    def _look_at(self, process: Process, now: float) -> None:
        """A worker that somebody has stopped does nothing until told to go on, and one whose R hangs in its own handler of a
        crash, which runs on the memory that was damaged, never will: no need to wait for their time."""
        if process.pid is None:
            return
        plight = processes.plight_of(process.pid)
        if plight is not None and plight is process.plight:
            self.end(process.number, _CAUSES[plight])
        process.plight = plight
        worker = self.pool.workers.get(process.number)
        if worker is not None and worker.state is WorkerState.IDLE and self._left_children(process, now):
            self.perform(self.pool.retire_worker(process.number, now))

    def _left_children(self, process: Process, now: float) -> bool:
        """Whether model code has left processes running, looked for once a second: the worker is replaced, they are swept."""
        if process.pid is None or now - process.children_s < _CHILDREN_EVERY_S:
            return False
        process.children_s = now
        left = processes.children_of(process.pid)
        if left:
            log.info("scorer.worker.has_children", model=process.key[0], version=process.key[1], pid=process.pid)
        return bool(left)

    def _held(self) -> Iterable[tuple[Key, str, Memory]]:
        return self._memory.held(self.processes.values(), self.zygotes.values())

    def pids(self) -> set[int]:
        """Every child that is ours by intent: workers, self-tests, zygotes, their guards."""
        pids = {process.pid for process in self.processes.values() if process.pid is not None}
        pids |= {test.watched.pid for test in self.tests if test.watched is not None}
        return pids | {pid for zygote in self.started for pid in (zygote.pid, zygote.guard_pid)}

    # memory

    def _measure(self, number: int) -> None:
        process = self.processes.get(number)
        if process is None or process.pid is None:
            self._loop.call_soon(self._measured, number, None)
        else:
            self._memory.read(process.pid, lambda memory: self._measured(number, memory))

    def _yield(self, number: int) -> None:
        process = self.processes.get(number)
        if process is not None and process.pid is not None:
            log.info("scorer.worker.overdue", model=process.key[0], version=process.key[1], pid=process.pid)
            processes.yield_processor(process.pid)

    def _measured(self, number: int, memory: Memory | None) -> None:
        process = self.processes.get(number)
        if process is not None and memory is not None:
            process.memory = memory
        private = None if memory is None else memory.private_bytes
        self.perform(self.pool.measured(number, private, time.monotonic()))

    # one worker's life

    def _fork(self, order: Fork) -> None:
        zygote = self.zygotes.get(order.key)
        if zygote is None:
            self._loop.call_soon(lambda: self.perform(self.pool.no_zygote(order.worker, time.monotonic())))
            return
        process = Process(order.worker, order.key, zygote, zygote.folder / f"w{order.worker}")
        process.ordered_s = process.last_ping_s = time.monotonic()
        self.processes[order.worker] = process
        self._start(process)

    def _start(self, process: Process) -> None:
        try:
            process.folder.mkdir(mode=0o700)
            process.zygote.fork(process.number, process.folder, lambda word, rest: self._heard(process, word, rest))
        except (OSError, ZygoteError) as error:
            log.warning("scorer.worker.not_started", model=process.key, error=str(error))
            self._not_started(process.number)
            return
        process.timer = self._loop.call_later(self._limits.start_s, self._overdue_start, process)

    def _not_started(self, number: int) -> None:
        """Later, not now: the pool is in the middle of its effects."""
        self._loop.call_soon(self._gone, number, Death())

    def _heard(self, process: Process, word: str, rest: list[str]) -> None:
        if word == "forked":
            try:
                process.watched = Watched(int(rest[0]), lambda death: self._gone(process.number, death))
            except (OSError, ValueError, IndexError):
                self._gone(process.number, Death())
                return
            self._limits.set_on(process.watched.pid)
            if process.number not in self.processes:  # was to end before it had begun
                process.watched.kill()
                process.zygote.forget(process.number)
        elif word == "listening" and process.number in self.processes:
            task = self._loop.create_task(self._connect(process))
            process.tasks.add(task)
            task.add_done_callback(process.tasks.discard)

    async def _connect(self, process: Process) -> None:
        try:
            process.connections = (
                await WorkerConnection.to_socket(process.socket, self._limits.answer_bytes),
                await WorkerConnection.to_socket(process.socket, self._limits.answer_bytes),
            )
        except OSError as error:
            log.warning("scorer.worker.not_started", model=process.key, pid=process.pid, error=str(error))
            self.end(process.number, Cause.NOT_STARTED)
            return
        if process.number not in self.processes:
            for connection in process.connections:
                connection.close()  # it died meanwhile
            return
        # A death is seen by its pidfd within milliseconds; what is still there after that is not, but is of no use.
        for connection in process.connections:
            connection.on_lost = lambda: self._loop.call_later(_LOST_GRACE_S, self._lost, process)
        if process.timer is not None:
            process.timer.cancel()
        now = time.monotonic()
        took_s = now - process.ordered_s
        self._metrics.fork.observe(took_s)
        process.resident_bytes = processes.resident_bytes(process.pid) if process.pid is not None else 0
        process.zygote.misses = 0
        self.perform(self.pool.worker_ready(process.number, now))
        worker = self.pool.workers.get(process.number)
        if worker is None or worker.state is WorkerState.ENDING:
            return  # told to end while it was being connected to: it makes no version ready
        log.info("scorer.worker.ready", model=process.key[0], version=process.key[1], pid=process.pid, took_s=took_s)
        self.on_ready(process.key)

    def _lost(self, process: Process) -> None:
        self.end(process.number, Cause.UNANSWERED)

    def _overdue_start(self, process: Process) -> None:
        self.end(process.number, Cause.NOT_STARTED)

    def end(self, number: int, cause: Cause) -> None:
        """Have a worker killed."""
        self.perform(self.pool.end_worker(number, cause, time.monotonic()))

    def _end(self, number: int, cause: Cause) -> None:
        process = self.processes.get(number)
        if process is None:
            self._not_started(number)
            return
        level = log.info if cause in ORDERLY else log.warning
        level("scorer.worker.ended", model=process.key[0], version=process.key[1], pid=process.pid, cause=str(cause))
        if process.watched is not None:
            process.watched.kill()
        else:
            self._not_started(number)

    def _gone(self, number: int, death: Death) -> None:
        process = self.processes.pop(number, None)
        worker = self.pool.workers.get(number)
        cause = worker.cause if worker is not None and worker.cause is not None else Cause.DIED
        if process is not None:
            if process.timer is not None:
                process.timer.cancel()
            for connection in process.connections:
                connection.on_lost = _nothing
                connection.close()
            if process.watched is not None:
                process.zygote.forget(number)
            shutil.rmtree(process.folder, ignore_errors=True)
            if cause is Cause.DIED:
                log.warning(
                    "scorer.worker.died",
                    model=process.key[0],
                    version=process.key[1],
                    pid=process.pid,
                    death=str(death),
                    items=worker.run.items if worker is not None and worker.run is not None else 0,
                )
            self._metrics.ended.labels(*process.key, str(cause)).inc()
            if cause is Cause.NOT_STARTED:
                process.zygote.missed()
        jitter = random.random()  # noqa: S311 - spreads retries, guards nothing
        how = str(death) if cause is Cause.DIED else str(cause).replace("_", " ")
        outside = cause is Cause.DIED and death.signal in _BY_HAND
        self.perform(self.pool.worker_gone(number, time.monotonic(), how=how, outside=outside, jitter=jitter))

    # predictions and pings

    def _send(self, number: int, run: Run, *, ahead: bool) -> None:
        process = self.processes[number]
        process.last_ping_s = time.monotonic()  # an answer is as good as a ping
        if not ahead:
            self._give_time(process)
        other = next(connection for connection in process.connections if not connection.due)
        other.predict(join(run.frame), run.frame.rows, lambda reply: self._replied(process, run, reply))
        self._metrics.run_items.observe((), run.items)

    def _give_time(self, process: Process) -> None:
        process.timer = self._loop.call_later(self._limits.predict_s + self._limits.grace_s, self._hung, process)

    def _hung(self, process: Process) -> None:
        """Its time is up. One that was stopped, or crashed, has not used it: we may be too late to have seen that before."""
        plight = None if process.pid is None else processes.plight_of(process.pid)
        self.end(process.number, Cause.HUNG if plight is None else _CAUSES[plight])

    def _replied(self, process: Process, run: Run, reply: Reply | LostError) -> None:
        if process.timer is not None:
            process.timer.cancel()
            process.timer = None
        now = process.last_ping_s = time.monotonic()
        if self.on_run is not None:
            self.on_run(run, process.pid, now, isinstance(reply, Reply) and reply.status == 200)
        if isinstance(reply, LostError):
            return  # `on_lost` sees to it
        self._metrics.predict.observe(run.key, now - run.started_s)
        retire = b"x-retire" in reply.headers or self._left_children(process, now)
        renew = b"x-renew" in reply.headers
        result = self._result(run, reply)
        self.perform(self.pool.run_done(process.number, run, result, now, retire=retire, renew=renew))
        worker = self.pool.workers.get(process.number)
        if process.timer is None and worker is not None and worker.run is not None:  # it was sent ahead, and begins
            self._give_time(process)
        # After the answer, which need not wait for it; a run that it has been given meanwhile is its last.
        line = self.pool.lines.get(process.key)
        if line is not None and far_too_large(process, line.growth_bytes, time.monotonic()):
            self.perform(self.pool.retire_worker(process.number, now))

    def _result(self, run: Run, reply: Reply) -> Frame | Failure:
        if reply.status != 200:
            code = reply.headers.get(b"x-error-code", b"prediction_failed").decode(errors="replace")
            return Failure(code, reply.body.decode(errors="replace")[:2000] or "R could not score these rows")
        line = self.pool.lines.get(run.key)
        try:
            return cut(line.outputs if line else (), rows_of(reply), reply.body)
        except WireError as error:
            return Failure("bad_output", str(error))

    def _ping(self, process: Process, now: float) -> None:
        process.last_ping_s = now
        process.timer = self._loop.call_later(
            max(1.0, self._limits.ping_s), lambda: self.end(process.number, Cause.UNANSWERED)
        )

        def ponged(reply: Reply | LostError) -> None:
            if process.timer is not None:
                process.timer.cancel()
            if isinstance(reply, Reply):
                renew = b"x-renew" in reply.headers
                self.perform(self.pool.checked(process.number, time.monotonic(), renew=renew))

        process.connections[0].ping(ponged)

    async def throw_away(self, zygote: Zygote, timeout_s: float) -> ThrowAway:
        """A fork for the self-test, which no call ever reaches. Raises ZygoteError if it does not come to listen."""
        self._tests_forked += 1
        return await ThrowAway.forked(zygote, self._tests_forked, self._limits, self.tests, timeout_s)


def _nothing() -> None:
    """Its death is known already."""
