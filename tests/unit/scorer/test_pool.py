"""The pool: who predicts what, when. Pure, so time is a number and R is a function."""

from __future__ import annotations

from array import array
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scorer.core.calls import Call, Failure, Key, Run
from scorer.core.effects import Answer, Cause, Effect, End, Fork, Measure, Send, Yield
from scorer.core.limits import PoolLimits
from scorer.core.pool import Pool
from scorer.core.states import WorkerState
from scorer.core.upkeep import UpkeepLimits
from shared.cost import Cost
from shared.errors import (
    DeadlineExceededError,
    OverloadedError,
    UnavailableError,
    VersionDownError,
    VersionNotHereError,
)
from shared.messages import ALONE
from shared.signature import Field, Signature, Type
from shared.wire import Frame

ECHO = Signature(inputs=(Field(name="x", type=Type.DOUBLE),), outputs=(Field(name="prediction", type=Type.DOUBLE),))
A: Key = ("a", "1")
B: Key = ("b", "1")


def frame(*values: float) -> Frame:
    return Frame(len(values), (array("d", values).tobytes(),))


def values(of: Frame) -> list[float]:
    return list(array("d", b"".join(of.buffers)))


class Pod:
    """A pool with workers that start when told and answer when told; a model that echoes its rows."""

    def __init__(
        self, slots: int = 2, *, batchable: bool = True, keys: tuple[Key, ...] = (A,), **limits: float | UpkeepLimits
    ) -> None:
        self.pool = Pool(PoolLimits(slots, **limits))  # type: ignore[arg-type]
        self.now = 100.0
        self.starting: list[int] = []
        self.running: dict[int, Run] = {}
        self.ahead: dict[int, Run] = {}
        self.ended: list[int] = []
        self.answers: list[Answer] = []
        self.yielded: list[int] = []
        self.private: dict[int, float] = {}  # worker -> bytes of its own
        for key in keys:
            self.do(self.pool.add_version(key, ECHO, batchable=batchable, cost=Cost(), now=self.now))

    def do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Fork():
                    self.starting.append(effect.worker)
                case Send(ahead=True):
                    assert effect.worker in self.running
                    assert effect.worker not in self.ahead
                    self.ahead[effect.worker] = effect.run
                case Send():
                    assert effect.worker not in self.running
                    self.running[effect.worker] = effect.run
                case End():
                    self.ended.append(effect.worker)
                case Measure():
                    private = self.private.get(effect.worker, 0.0)
                    self.do(self.pool.measured(effect.worker, private, self.now))
                case Yield():
                    self.yielded.append(effect.worker)
                case Answer():
                    self.answers.append(effect)

    def start(self) -> None:
        """Every worker that was ordered comes to listen."""
        while self.starting:
            self.do(self.pool.worker_ready(self.starting.pop(0), self.now))

    def call(
        self, *rows: float, items: list[int] | None = None, key: Key = A, within_s: float = 10.0, share: str = ""
    ) -> Call:
        call = Call(key, frame(*rows), items or [len(rows)], self.now + within_s, share=share)
        self.do(self.pool.submit(call, self.now))
        return call

    def finish(self, worker: int, result: Frame | Failure | None = None) -> None:
        run = self.running.pop(worker)
        if (after := self.ahead.pop(worker, None)) is not None:
            self.running[worker] = after
        self.do(self.pool.run_done(worker, run, run.frame if result is None else result, self.now))

    def die(self, worker: int) -> None:
        self.running.pop(worker, None)
        self.ahead.pop(worker, None)
        self.do(self.pool.worker_gone(worker, self.now))

    def settle(self, predict: Callable[[Run], Frame | Failure | None] | None = None) -> None:
        """Run until nothing runs. `predict` returns the answer; None kills the worker."""
        predict = predict or (lambda run: run.frame)
        for _ in range(1000):
            self.now += 0.001
            self.do(self.pool.tick(self.now))
            for worker in self.ended[:]:
                self.ended.remove(worker)
                self.die(worker)
            self.start()
            if not self.running:
                if not self.pool.open_calls:
                    return
                self.now += 1  # a fork was put off
                continue
            worker = next(iter(self.running))
            result = predict(self.running[worker])
            if result is None:
                self.die(worker)
            else:
                self.finish(worker, result)
        raise AssertionError("it does not settle")


def test_a_version_gets_one_warm_worker_before_anyone_asks() -> None:
    pod = Pod(slots=4)
    assert len(pod.starting) == 1


def test_a_call_leaves_at_once_when_a_worker_is_idle() -> None:
    pod = Pod()
    pod.start()
    call = pod.call(1.0, 2.0)
    [(worker, run)] = pod.running.items()
    assert values(run.frame) == [1.0, 2.0]
    pod.finish(worker)
    [answer] = pod.answers
    assert answer.call is call
    assert answer.frame is not None
    assert values(answer.frame) == [1.0, 2.0]
    assert answer.sizes == (2,)


def test_no_more_predictions_run_at_once_than_there_are_slots() -> None:
    pod = Pod(slots=3, batchable=False)
    for i in range(20):
        pod.call(float(i))
    pod.start()
    assert len(pod.running) == 3
    assert all(w.state is WorkerState.BUSY for w in pod.pool.workers.values())


def test_workers_grow_with_the_work_and_the_extra_ones_go_when_idle() -> None:
    pod = Pod(slots=4, batchable=False, idle_s=60)
    for i in range(4):
        pod.call(float(i))
    pod.start()
    assert len(pod.running) == 4
    pod.settle()
    pod.now += 61
    pod.do(pod.pool.tick(pod.now))
    assert len(pod.ended) == 3
    for worker in pod.ended:
        pod.do(pod.pool.worker_gone(worker, pod.now))
    assert len(pod.pool.workers) == 1
    assert not pod.starting


def test_waiting_calls_go_together_up_to_the_row_limit() -> None:
    pod = Pod(slots=1, max_run_rows=4)
    pod.start()
    pod.call(0.0)
    for i in range(1, 7):
        pod.call(float(i))
    [(worker, _)] = pod.running.items()
    pod.finish(worker)
    [(worker, run)] = pod.running.items()
    assert values(run.frame) == [1.0, 2.0, 3.0, 4.0]
    pod.finish(worker)
    [run] = pod.running.values()
    assert values(run.frame) == [5.0, 6.0]


def test_only_calls_that_may_share_a_run_go_together() -> None:
    pod = Pod(slots=1)
    pod.start()
    pod.call(0.0)
    for number, share in enumerate(["", "", "ann", "ann", "bob", ALONE, ALONE, "", ""], start=1):
        pod.call(float(number), share=share)
    runs = []
    while pod.running:
        [(worker, run)] = pod.running.items()
        runs.append(values(run.frame))
        pod.finish(worker)
    assert runs == [[0.0], [1.0, 2.0], [3.0, 4.0], [5.0], [6.0], [7.0], [8.0, 9.0]]


def test_the_items_of_a_call_that_shares_with_nobody_run_alone() -> None:
    pod = Pod(slots=1)
    pod.start()
    pod.call(1.0, 2.0, 3.0, items=[1, 2], share=ALONE)
    assert [values(run.frame) for run in pod.running.values()] == [[1.0]]
    pod.settle()
    [answer] = pod.answers
    assert answer.sizes == (1, 2)


def test_items_of_an_unbatchable_version_never_share_a_run() -> None:
    pod = Pod(slots=1, batchable=False)
    pod.start()
    call = pod.call(1.0, 2.0, 3.0, items=[1, 2])
    seen: list[list[float]] = []

    def predict(run: Run) -> Frame:
        seen.append(values(run.frame))
        return run.frame

    pod.settle(predict)
    assert seen == [[1.0], [2.0, 3.0]]
    [answer] = pod.answers
    assert answer.call is call
    assert answer.frame is not None
    assert values(answer.frame) == [1.0, 2.0, 3.0]
    assert answer.sizes == (1, 2)


def test_an_item_that_fails_fails_alone_with_the_message_of_its_own_run() -> None:
    pod = Pod(slots=1)
    poison = 13.0
    mine = pod.call(*map(float, range(10)), items=[1] * 10)
    other = pod.call(11.0, poison, items=[1, 1])

    def predict(run: Run) -> Frame | Failure:
        rows = values(run.frame)
        return Failure("prediction_failed", f"cannot score {rows}") if poison in rows else run.frame

    pod.settle(predict)
    answers = {answer.call: answer for answer in pod.answers}
    assert answers[mine].errors == ()
    assert answers[other].sizes == (1, 0)
    [error] = answers[other].errors
    assert (error.item, error.code, error.detail) == (1, "prediction_failed", "cannot score [13.0]")
    kept = answers[other].frame
    assert kept is not None
    assert values(kept) == [11.0]


def test_an_item_that_kills_twice_is_refused_and_the_others_are_answered() -> None:
    pod = Pod(slots=2)
    killer = 5.0
    pod.call(*map(float, range(8)), items=[1] * 8)
    deaths: list[int] = []

    def predict(run: Run) -> Frame | None:
        if killer in values(run.frame):
            deaths.append(run.items)
            return None
        return run.frame

    pod.settle(predict)
    assert deaths == [8, 1], "once among others, once alone"
    [answer] = pod.answers
    assert [(e.item, e.code) for e in answer.errors] == [(5, "worker_crashed")]
    assert answer.frame is not None
    assert values(answer.frame) == [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 7.0]


def test_what_many_items_did_in_one_run_is_not_repeated_in_as_many_when_the_worker_is_killed() -> None:
    pod = Pod(slots=1)
    pod.start()
    pod.call(*map(float, range(64)), items=[1] * 64)
    pod.die(next(iter(pod.running)))
    runs: list[int] = []

    def predict(run: Run) -> Frame:
        runs.append(run.items)
        return run.frame

    pod.settle(predict)
    assert runs == [8] * 8
    assert values(pod.answers[0].frame) == list(map(float, range(64)))


def test_an_item_whose_worker_was_killed_once_is_answered() -> None:
    pod = Pod(slots=1)
    pod.start()
    pod.call(1.0)
    pod.die(next(iter(pod.running)))
    pod.settle()
    [answer] = pod.answers
    assert answer.errors == ()


def test_an_item_whose_worker_is_killed_from_outside_again_and_again_is_tried_a_few_times_more() -> None:
    pod = Pod(slots=1)
    pod.start()
    call = pod.call(1.0)
    for _ in range(3):
        [worker] = pod.running
        pod.running.clear()
        pod.do(pod.pool.worker_gone(worker, pod.now, outside=True))
        assert call.open
        pod.start()
    [worker] = pod.running
    pod.running.clear()
    pod.do(pod.pool.worker_gone(worker, pod.now, outside=True))
    [answer] = pod.answers
    assert answer.errors[0].code == "worker_crashed", "but not for ever"


def test_rows_that_must_not_be_scored_twice_are_refused_after_the_first_crash() -> None:
    pod = Pod(slots=1)
    pod.do(pod.pool.add_version(B, ECHO, batchable=False, retry=False, cost=Cost(), now=pod.now))
    pod.start()
    pod.call(1.0, 2.0, items=[1, 1], key=B)
    tries: list[float] = []

    def predict(run: Run) -> Frame | None:
        tries.extend(values(run.frame))
        return None if values(run.frame) == [1.0] else run.frame

    pod.settle(predict)
    assert tries == [1.0, 2.0]
    [answer] = pod.answers
    assert [(e.item, e.code) for e in answer.errors] == [(0, "worker_crashed")]


def test_an_item_that_hangs_alone_is_refused_without_another_try() -> None:
    pod = Pod(slots=1)
    pod.start()
    pod.call(1.0, within_s=1000)
    [worker] = pod.running
    pod.do(pod.pool.end_worker(worker, Cause.HUNG, pod.now))
    pod.do(pod.pool.end_worker(worker, Cause.HUNG, pod.now))
    assert pod.ended == [worker], "ending it again changes nothing"
    pod.settle()
    [answer] = pod.answers
    assert [e.code for e in answer.errors] == ["deadline_exceeded"]


def test_at_its_deadline_a_call_is_answered_and_the_run_goes_on() -> None:
    pod = Pod(slots=1)
    pod.start()
    late, patient = pod.call(1.0, within_s=1), None
    patient = pod.call(2.0, within_s=100)
    pod.now += 1
    pod.do(pod.pool.expire(late))
    pod.do(pod.pool.expire(late))
    [answer] = pod.answers
    assert isinstance(answer.refused, DeadlineExceededError)
    assert not pod.ended, "no caller can kill a worker"
    pod.settle()
    assert pod.pool.late == 1
    assert [a.call for a in pod.answers] == [late, patient]


def test_at_the_deadline_items_that_have_their_answer_keep_it() -> None:
    pod = Pod(slots=1, batchable=False)
    pod.start()
    call = pod.call(1.0, 2.0, items=[1, 1])
    pod.finish(next(iter(pod.running)))
    pod.do(pod.pool.expire(call))
    [answer] = pod.answers
    assert answer.sizes == (1, 0)
    assert [(e.item, e.code) for e in answer.errors] == [(1, "deadline_exceeded")]


def test_what_nobody_waits_for_any_more_never_starts() -> None:
    pod = Pod(slots=1)
    pod.start()
    pod.call(1.0)
    gone = pod.call(2.0)
    assert pod.pool.waiting_rows == 1
    pod.do(pod.pool.leave(gone, pod.now))
    assert pod.pool.waiting_rows == 0
    seen: list[float] = []

    def predict(run: Run) -> Frame:
        seen.extend(values(run.frame))
        return run.frame

    pod.settle(predict)
    assert seen == [1.0]


def test_a_full_queue_refuses_with_a_time_to_come_back() -> None:
    pod = Pod(slots=1, max_waiting_rows=10)
    pod.start()
    pod.call(0.0)
    pod.call(*[1.0] * 10)
    with pytest.raises(OverloadedError) as refusal:
        pod.call(2.0)
    assert refusal.value.retry_after_ms is not None
    assert refusal.value.retry_after_ms >= 50


def test_bytes_are_bounded_from_before_they_are_read_and_a_refusal_says_when_to_come_back() -> None:
    pod = Pod(slots=1, max_held_bytes=100)
    pod.start()
    pod.pool.lines[A].cost.fixed_s = 2.0
    pod.pool.hold(60, pod.now)
    pod.call(0.0)
    pod.pool.hold(40, pod.now)
    with pytest.raises(OverloadedError, match="bytes") as refusal:
        pod.pool.hold(1, pod.now)
    assert 2000 <= (refusal.value.retry_after_ms or 0) <= 2001, "what runs will have ended"
    pod.pool.release(60)
    pod.pool.hold(60, pod.now)
    assert pod.pool.held_bytes == 100


def test_work_that_cannot_finish_before_its_deadline_is_refused_at_once() -> None:
    pod = Pod(slots=1)
    pod.start()
    pod.pool.lines[A].cost.fixed_s = 2.0
    pod.call(0.0, within_s=30)
    pod.call(1.0, within_s=30)
    with pytest.raises(OverloadedError):
        pod.call(2.0, within_s=1)
    pod.call(3.0, within_s=30)


def test_a_wrong_estimate_never_refuses_where_nothing_waits() -> None:
    pod = Pod(slots=1)
    pod.start()
    pod.pool.lines[A].cost.fixed_s = 1e6
    pod.call(0.0, within_s=1)
    assert pod.running


def test_a_version_this_pod_has_not_is_refused_as_not_here() -> None:
    with pytest.raises(VersionNotHereError):
        Pod().call(1.0, key=("z", "9"))


def test_versions_share_the_slots_by_the_time_they_use() -> None:
    pod = Pod(slots=1, batchable=False, keys=(A, B))
    pod.start()
    pod.pool.lines[A].cost.fixed_s = 0.001
    pod.pool.lines[B].cost.fixed_s = 0.010
    for i in range(30):
        pod.call(float(i), key=A)
        pod.call(float(i), key=B)
    order: list[Key] = []
    for _ in range(22):
        [(worker, run)] = pod.running.items()
        order.append(run.key)
        pod.now += {A: 0.001, B: 0.010}[run.key]
        pod.finish(worker)
    assert 1 <= order.count(B) <= 4
    assert order.count(A) >= 18


def test_a_retracted_version_answers_what_waits_then_its_workers_end() -> None:
    pod = Pod(slots=1)
    pod.start()
    pod.call(1.0)
    pod.call(2.0)
    pod.do(pod.pool.remove_version(A, pod.now))
    with pytest.raises(VersionNotHereError):
        pod.call(3.0)
    pod.settle()
    assert len(pod.answers) == 2
    for worker in pod.ended[:]:
        pod.die(worker)
    assert pod.pool.lines == {}
    assert pod.pool.workers == {}


def test_workers_of_a_new_zygote_come_before_those_of_the_old_go() -> None:
    pod = Pod(slots=2)
    pod.start()
    [old] = pod.pool.workers
    pod.do(pod.pool.add_version(A, ECHO, batchable=True, cost=Cost(), now=pod.now))
    assert pod.starting
    assert not pod.ended
    pod.start()
    assert pod.ended == [old]


def test_a_version_whose_workers_die_at_once_is_forked_less_and_less_often() -> None:
    pod = Pod(slots=1, upkeep=UpkeepLimits(max_deaths=100))
    pauses: list[float] = []
    for _ in range(8):
        started = pod.now
        while not pod.starting:
            pod.now += 0.01
            pod.do(pod.pool.tick(pod.now))
        pauses.append(pod.now - started)
        pod.do(pod.pool.worker_gone(pod.starting.pop(), pod.now))
    assert pauses[1] < 0.02, "the first replacement is immediate"
    assert pauses[-1] > 4 * pauses[3] > 0


def test_rows_that_kill_put_off_nobody_elses_worker() -> None:
    pod = Pod(slots=1)
    pod.start()
    for _ in range(10):
        pod.call(1.0)
        for _ in range(2):
            pod.die(next(iter(pod.running)))
            pod.start()
    assert [answer.errors[0].code for answer in pod.answers] == ["worker_crashed"] * 10
    pod.call(2.0)
    assert pod.running, "its worker is there at once"


def test_an_item_on_a_worker_that_was_stopped_from_outside_is_scored_by_another() -> None:
    pod = Pod(slots=1)
    pod.start()
    call = pod.call(1.0)
    [worker] = pod.running
    pod.do(pod.pool.end_worker(worker, Cause.STOPPED, pod.now))
    pod.die(worker)
    pod.settle()
    assert [answer.call for answer in pod.answers] == [call]
    assert values(pod.answers[0].frame) == [1.0]


def test_an_item_whose_worker_hangs_in_its_crash_is_refused_as_one_that_crashes() -> None:
    pod = Pod(slots=1)
    pod.start()
    pod.call(1.0)
    for _ in range(2):
        [worker] = pod.running
        pod.do(pod.pool.end_worker(worker, Cause.CRASHED, pod.now))
        pod.die(worker)
        pod.start()
    [answer] = pod.answers
    assert answer.errors[0].code == "worker_crashed"


def test_a_version_that_takes_far_too_long_leaves_the_slots_to_others_but_not_more_to_itself() -> None:
    pod = Pod(slots=1, batchable=False, keys=(A, B))
    pod.start()
    pod.call(1.0)
    pod.call(2.0)
    pod.call(3.0, key=B)
    assert [run.key for run in pod.running.values()] == [A]
    pod.now += 1
    pod.do(pod.pool.tick(pod.now))
    pod.start()
    assert [run.key for run in pod.running.values()] == [A, B]


def slow_and_quick(slots: int) -> Pod:
    """Version A's runs last 0.4 s, B's 3 ms; each has its workers."""
    pod = Pod(slots, batchable=False, keys=(A, B))
    pod.pool.lines[A].cost = Cost(fixed_s=0.4)
    pod.pool.lines[B].cost = Cost(fixed_s=0.003)
    pod.start()
    return pod


def test_a_run_that_takes_far_too_long_leaves_the_processor_to_others_and_its_worker_is_replaced() -> None:
    pod = Pod(slots=2, keys=(A, B))
    pod.start()
    pod.call(1)
    [worker] = pod.running
    for want, passed_s in ((False, 1.0), (True, 0.2), (True, 0.2)):
        pod.now += passed_s
        pod.do(pod.pool.tick(pod.now))
        assert pod.yielded == [worker] * want  # once, and only where somebody wants it, or did a moment ago
        if not want:
            pod.call(2, key=B)
            [other] = pod.running.keys() - {worker}
            pod.finish(other)
    assert not pod.ended
    pod.answers.clear()
    pod.finish(worker)
    assert [values(answer.frame) for answer in pod.answers if answer.frame] == [[1]]
    pod.start()
    assert pod.ended == [worker]  # another listens: what was told to yield never has its share again


def test_a_short_run_passes_long_ones_that_hold_every_slot() -> None:
    pod = slow_and_quick(slots=2)
    for _ in range(6):
        pod.call(1.0)
        pod.start()
    assert [run.key for run in pod.running.values()] == [A, A]
    call = pod.call(2.0, key=B)
    pod.call(3.0, key=B)
    assert [run.key for run in pod.running.values()] == [A, A, B], "one, its share, and not more"
    pod.finish(next(w for w, run in pod.running.items() if run.key == B))
    assert [answer.call for answer in pod.answers] == [call]
    assert [run.key for run in pod.running.values()] == [A, A, B]


def test_long_runs_pass_nobody_and_short_ones_only_long_ones() -> None:
    pod = slow_and_quick(slots=1)
    pod.call(2.0, key=B)
    pod.call(1.0)
    assert [run.key for run in pod.running.values()] == [B]
    pod = slow_and_quick(slots=1)
    pod.pool.lines[B].cost = Cost(fixed_s=0.2)
    pod.call(1.0)
    pod.call(2.0, key=B)
    assert [run.key for run in pod.running.values()] == [A]


def test_each_version_has_its_share_of_the_worker_seconds_beside_one_that_asks_for_everything() -> None:
    pod = slow_and_quick(slots=2)
    used = {A: 0.0, B: 0.0}
    ends: dict[int, float] = {}
    while pod.now < 120.0:
        for key in (A, B):
            while sum(call.key == key for call in pod.pool._answers.open_calls) < 4:
                pod.call(1.0, key=key)
        pod.start()
        for worker, run in pod.running.items():
            ends.setdefault(worker, pod.now + (0.4 if run.key == A else 0.003))
        first = min(pod.running, key=lambda worker: ends[worker])
        pod.now = ends.pop(first)
        used[pod.running[first].key] += 0.4 if pod.running[first].key == A else 0.003
        pod.finish(first)
    assert used[B] > 0.45 * 20 * 2 * 0.5, "half of what one slot gives at least"
    assert used[A] > 0.9 * 20, "and the slow one goes on"


def test_a_neighbours_backlog_does_not_refuse_what_its_own_share_can_do_in_time() -> None:
    pod = slow_and_quick(slots=2)
    for _ in range(40):
        pod.call(1.0, within_s=60)
    pod.start()
    pod.call(2.0, key=B)
    waits = pod.call(3.0, key=B, within_s=2.0)  # A alone has 8 s of work waiting for each slot
    assert waits.open


def test_a_worker_told_to_retire_goes_once_another_listens() -> None:
    pod = Pod(slots=1)
    pod.start()
    [old] = pod.pool.workers
    pod.do(pod.pool.retire_worker(old, pod.now))
    assert pod.starting
    assert not pod.ended
    pod.start()
    assert pod.ended == [old]


def test_a_worker_that_is_pinged_gets_no_work_until_it_has_answered() -> None:
    pod = Pod(slots=1)
    pod.start()
    [worker] = pod.pool.workers
    assert pod.pool.check(worker, pod.now)
    assert not pod.pool.check(worker, pod.now)
    pod.call(1.0)
    assert not pod.running
    pod.do(pod.pool.checked(worker, pod.now))
    assert pod.running


def test_work_does_not_wait_for_a_worker_that_owes_its_ping_for_long() -> None:
    pod = Pod(slots=1)
    pod.start()
    [silent] = pod.pool.workers
    assert pod.pool.check(silent, pod.now)
    pod.call(1.0)
    assert not pod.starting
    pod.now += 0.2
    pod.do(pod.pool.tick(pod.now))
    pod.start()
    assert list(pod.running) != [silent]
    assert pod.running


def test_one_versions_idle_extras_make_room_for_anothers() -> None:
    pod = Pod(slots=2, batchable=False, keys=(A, B))
    pod.start()
    for i in range(3):
        pod.call(float(i), key=A)
    pod.settle()
    assert sum(w.key == A for w in pod.pool.workers.values()) == 2
    for i in range(3):
        pod.call(float(i), key=B)
    pod.settle()
    extras = {key: sum(w.key == key for w in pod.pool.workers.values()) - 1 for key in (A, B)}
    assert sum(extras.values()) <= 2


def test_shutting_down_answers_every_open_call() -> None:
    pod = Pod(slots=1)
    pod.start()
    pod.call(1.0)
    pod.call(2.0)
    pod.do(pod.pool.shut(pod.now))
    assert [isinstance(a.refused, UnavailableError) for a in pod.answers] == [True, True]


def test_a_pod_that_shuts_down_orders_no_worker_and_takes_no_call() -> None:
    pod = Pod(slots=2, keys=(A, B))
    pod.start()
    pod.call(1.0)
    pod.do(pod.pool.shut(pod.now))
    assert len(pod.ended) == 2
    for worker in pod.ended:
        pod.die(worker)
        pod.do(pod.pool.tick(pod.now))
    assert pod.starting == []
    with pytest.raises(UnavailableError, match="shutting down"):
        pod.call(2.0)


def test_an_answer_of_another_length_than_asked_is_a_failure_not_an_answer() -> None:
    pod = Pod(slots=1)
    pod.call(1.0, 2.0)
    pod.settle(lambda _: frame(1.0))
    [answer] = pod.answers
    assert [e.code for e in answer.errors] == ["prediction_failed"]


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens, in whatever order: each call is answered exactly once, with its own rows."""

    @initialize(slots=st.integers(1, 4), batchable=st.booleans(), max_run_rows=st.integers(1, 12))
    def begin(self, slots: int, batchable: bool, max_run_rows: int) -> None:
        self.pod = Pod(slots, batchable=batchable, keys=(A, B), max_run_rows=max_run_rows)
        for line in self.pod.pool.lines.values():
            for _ in range(6):
                line.cost.learn(1, 0.003)  # known, so that runs are sent ahead
        self.calls: dict[Call, list[float]] = {}
        self.left: set[Call] = set()
        self.next_value = 0.0

    @rule(
        items=st.lists(st.integers(1, 4), min_size=1, max_size=5),
        key=st.sampled_from([A, B]),
        share=st.sampled_from(["", "", "ann", "bob", ALONE]),
    )
    def submit(self, items: list[int], key: Key, share: str) -> None:
        rows = [self.next_value + i for i in range(sum(items))]
        self.next_value += len(rows)
        try:
            call = self.pod.call(*rows, items=items, key=key, within_s=1e6, share=share)
        except (OverloadedError, VersionDownError):
            return
        self.calls[call] = rows

    @rule()
    def start(self) -> None:
        self.pod.start()

    @precondition(lambda self: self.pod.running)
    @rule(data=st.data(), what=st.sampled_from(["answer", "error", "die", "hang", "short"]))
    def end_a_run(self, data: st.DataObject, what: str) -> None:
        worker = data.draw(st.sampled_from(sorted(self.pod.running)))
        self.pod.now += 0.01
        match what:
            case "answer":
                self.pod.finish(worker)
            case "error":
                self.pod.finish(worker, Failure("prediction_failed", "no"))
            case "short":
                self.pod.finish(worker, frame())
            case "die":
                self.pod.die(worker)
            case "hang":
                self.pod.do(self.pod.pool.end_worker(worker, Cause.HUNG, self.pod.now))
                self.pod.die(worker)

    @precondition(lambda self: self.pod.ahead)
    @rule(data=st.data(), fails=st.booleans())
    def end_the_second_first(self, data: st.DataObject, fails: bool) -> None:
        worker = data.draw(st.sampled_from(sorted(self.pod.ahead)))
        run = self.pod.ahead.pop(worker)
        self.pod.now += 0.01
        result = Failure("prediction_failed", "no") if fails else run.frame
        self.pod.do(self.pod.pool.run_done(worker, run, result, self.pod.now))

    @precondition(lambda self: self.pod.pool.workers)
    @rule(data=st.data())
    def lose_any_worker(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.pod.pool.workers)))
        if worker in self.pod.starting:
            self.pod.starting.remove(worker)
        self.pod.die(worker)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), leave=st.booleans())
    def stop_waiting(self, data: st.DataObject, leave: bool) -> None:
        call = data.draw(st.sampled_from(list(self.calls)))
        if not call.open:
            return
        if leave:
            self.left.add(call)
            self.pod.do(self.pod.pool.leave(call, self.pod.now))
        else:
            self.pod.do(self.pod.pool.expire(call))

    @rule(seconds=st.sampled_from([0.1, 1.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.pod.now += seconds
        self.pod.do(self.pod.pool.tick(self.pod.now))

    @invariant()
    def busy_within_slots(self) -> None:
        if hasattr(self, "pod"):
            pool = self.pod.pool
            for key in (A, B):  # runs that take far too long hold slots of their own version only
                assert sum(w.run is not None for w in pool.workers.values() if w.key == key) <= pool.limits.slots
            assert pool.waiting_rows >= 0
            for run in self.pod.running.values():
                shares = {portion.call.share for portion in run.portions}
                assert len(shares) == 1
                assert ALONE not in shares or run.items == 1
            for line in pool.lines.values():
                assert line.waiting_rows == sum(c.waiting_rows for c in self.calls if c.open and c.key == line.key)

    def teardown(self) -> None:
        if not hasattr(self, "pod"):
            return
        self.pod.settle()
        answered = [answer.call for answer in self.pod.answers]
        assert len(answered) == len(set(answered)), "nobody is answered twice"
        assert set(answered) | self.left == set(self.calls)
        assert self.pod.pool.waiting_rows == 0
        for answer in self.pod.answers:
            if answer.refused is not None:
                continue
            rows, kept = self.calls[answer.call], []
            failed = {error.item for error in answer.errors}
            for index, size in enumerate(answer.call.items):
                own, rows = rows[:size], rows[size:]
                kept += [] if index in failed else own
                assert answer.sizes[index] == (0 if index in failed else size)
            assert answer.frame is not None
            assert values(answer.frame) == kept


AnyOrder.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
