"""What a worker is sent while it still works: when, and what becomes of it whatever happens before it begins."""

from __future__ import annotations

from scorer.core.calls import Failure
from scorer.core.effects import Cause
from shared.cost import Cost
from shared.errors import PredictionFailedError
from shared.messages import ALONE
from tests.unit.scorer.pool_pod import ECHO, A, B, Pod, values


def full(slots: int = 1, **more: object) -> Pod:
    """A pod of an unbatchable version whose workers are all busy with row 0, after a first run that had them measured."""
    return busy(Pod(slots=slots, batchable=False, **more))  # type: ignore[arg-type]


def busy(pod: Pod) -> Pod:
    slots = pod.pool.limits.slots
    for _ in range(7):  # what a run takes is known after some
        for worker in list(pod.running):
            pod.now += 0.001
            pod.finish(worker)
        for _ in range(slots):
            pod.call(0.0)
            pod.start()
    assert len(pod.running) == slots
    pod.answers.clear()
    return pod


def sent_ahead(pod: Pod) -> list[list[float]]:
    return [values(run.frame) for run in pod.ahead.values()]


def test_each_busy_worker_gets_one_run_more_and_it_begins_when_the_one_before_is_answered() -> None:
    pod = full(slots=2)
    for row in (1.0, 2.0, 3.0):
        pod.call(row)
    assert sent_ahead(pod) == [[1.0], [2.0]]
    assert pod.pool.waiting_rows == 3, "none of them has begun"
    first = min(pod.running)
    pod.now += 0.01
    pod.finish(first)
    assert values(pod.running[first].frame) == [1.0]
    assert pod.running[first].started_s == pod.now
    assert sent_ahead(pod) == [[2.0], [3.0]]
    pod.settle()
    assert len(pod.answers) == 5


def test_rows_that_may_share_a_run_wait_for_company() -> None:
    for share, ahead in (("", []), ("ann", []), (ALONE, [[1.0]])):
        pod = busy(Pod(slots=1))
        pod.call(1.0, share=share)
        pod.call(2.0, share=share)
        assert sent_ahead(pod) == ahead


def test_while_a_slot_is_free_what_waits_is_for_a_worker_of_its_own() -> None:
    pod = full(slots=2)
    pod.finish(1)
    pod.die(1)
    pod.call(1.0)
    assert not pod.ahead
    pod.start()
    assert values(pod.running[3].frame) == [1.0]


def test_nobody_is_passed_over_where_another_version_waits() -> None:
    pod = full(keys=(A, B))
    pod.start()
    pod.call(1.0, key=B)
    pod.call(2.0)
    assert not pod.ahead
    pod.settle()
    assert len(pod.answers) == 3


def test_rows_that_may_not_run_twice_are_not_sent_ahead() -> None:
    pod = Pod(slots=1, batchable=False, keys=())
    pod.do(pod.pool.add_version(A, ECHO, batchable=False, cost=Cost(), now=pod.now, retry=False))
    busy(pod)
    pod.call(1.0)
    assert not pod.ahead


def test_nothing_is_sent_ahead_before_it_is_known_how_long_a_run_takes() -> None:
    pod = Pod(slots=1, batchable=False)
    pod.start()
    for row in (0.0, 1.0, 2.0):
        pod.call(row)
    pod.finish(1)
    assert not pod.ahead


def test_long_runs_are_neither_sent_ahead_nor_waited_for() -> None:
    pod = full()
    pod.now += 0.1  # so long it runs already
    pod.call(1.0)
    assert not pod.ahead
    pod = full()
    pod.pool.lines[A].cost.fixed_s = 0.1  # so long it would run
    pod.call(1.0)
    assert not pod.ahead


def test_a_worker_that_dies_takes_only_what_it_worked_on_with_it() -> None:
    pod = full()
    pod.call(1.0)
    [ahead] = pod.ahead.values()
    pod.die(1)
    assert ahead.portions[0].kills == 0
    pod.settle()
    assert {a.frame is not None and values(a.frame)[0] for a in pod.answers} == {0.0, 1.0}
    assert not any(answer.errors for answer in pod.answers)


def test_nothing_follows_a_run_that_is_tried_again_for_what_came_after_it_may_have_killed_r() -> None:
    pod = full(slots=2)
    for row in (1.0, 2.0, 3.0, 4.0):
        pod.call(row)
    assert sent_ahead(pod) == [[1.0], [2.0]]
    pod.die(1)
    pod.finish(2)
    pod.finish(2)
    assert values(pod.running[2].frame) == [0.0], "it is tried again"
    pod.start()
    assert not pod.ahead
    pod.settle()
    assert len(pod.answers) == 6


def test_what_waits_behind_a_run_that_hangs_starts_elsewhere_and_is_answered_once() -> None:
    pod = full(slots=2)
    pod.now += 0.001
    pod.finish(2)  # how long a run takes is known
    pod.call(0.5)
    waits = pod.call(1.0)
    [(behind, _)] = pod.ahead.items()
    other = 3 - behind
    pod.now += 0.1
    pod.do(pod.pool.tick(pod.now))
    pod.finish(other)
    assert values(pod.running[other].frame) == [1.0]
    pod.finish(other)
    assert pod.answers[-1].call is waits
    pod.finish(behind)
    pod.finish(behind, Failure("prediction_failed", "the second time it fails"))
    assert [a.call for a in pod.answers].count(waits) == 1
    assert not pod.pool.open_calls
    assert pod.pool.waiting_rows == 0
    assert pod.pool.late == 1


def test_of_two_that_came_at_once_r_may_take_the_second_first() -> None:
    pod = full()
    pod.call(1.0)
    first, second = pod.running[1], pod.ahead[1]
    pod.now += 0.01
    pod.do(pod.pool.run_done(1, second, second.frame, pod.now))
    assert values(pod.answers[-1].frame) == [1.0]  # type: ignore[arg-type]
    pod.ahead.clear()
    pod.do(pod.pool.run_done(1, first, first.frame, pod.now))
    assert values(pod.answers[-1].frame) == [0.0]  # type: ignore[arg-type]
    assert pod.pool.waiting_rows == 0
    pod.running.clear()
    pod.settle()


def test_a_worker_that_is_to_be_measured_or_to_go_gets_idle() -> None:
    pod = full(measure_s=0.001)
    pod.now += 0.01
    pod.call(1.0)
    assert not pod.ahead
    pod = full()
    pod.do(pod.pool.retire_worker(1, pod.now))
    pod.call(1.0)
    assert not pod.ahead


def test_a_caller_that_left_before_its_run_began_is_not_counted_twice() -> None:
    pod = full()
    gone = pod.call(1.0)
    pod.do(pod.pool.leave(gone, pod.now))
    assert pod.pool.waiting_rows == 0
    pod.finish(1)
    pod.finish(1)
    assert pod.pool.waiting_rows == 0
    assert pod.pool.late == 1


def test_a_hung_run_is_overdue_and_the_one_behind_it_is_answered() -> None:
    pod = full()
    behind = pod.call(1.0)
    pod.do(pod.pool.end_worker(1, Cause.HUNG, pod.now))
    pod.settle()
    answers = {answer.call: answer for answer in pod.answers}
    assert not answers[behind].errors
    [hung] = [answer for call, answer in answers.items() if call is not behind]
    assert [error.code for error in hung.errors] == ["overdue"]
    assert PredictionFailedError.code not in {error.code for error in hung.errors}
