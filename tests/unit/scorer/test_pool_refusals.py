"""Calls that R does not answer: late, left, too many, for a version that is not here, or to a pod that ends."""

from __future__ import annotations

import pytest

from scorer.core.calls import Run
from shared.errors import (
    DeadlineExceededError,
    OverloadedError,
    UnavailableError,
    VersionNotHereError,
)
from shared.wire import Frame
from tests.unit.scorer.pool_pod import A, B, Pod, values


def test_at_its_deadline_a_call_is_answered_and_the_run_goes_on() -> None:
    pod = Pod(slots=1)
    pod.start()
    late, patient = pod.call(1.0, within_s=1), None
    patient = pod.call(2.0, within_s=100)
    pod.now += 0.01
    pod.do(pod.pool.expire(late, pod.now))
    pod.do(pod.pool.expire(late, pod.now))
    [answer] = pod.answers
    assert isinstance(answer.refused, DeadlineExceededError)
    assert not pod.ended, "no caller's patience ends a worker"
    pod.settle()
    assert pod.pool.late == 1
    assert [a.call for a in pod.answers] == [late, patient]


def test_at_the_deadline_items_that_have_their_answer_keep_it() -> None:
    pod = Pod(slots=1, batchable=False)
    pod.start()
    call = pod.call(1.0, 2.0, items=[1, 1])
    pod.finish(next(iter(pod.running)))
    pod.do(pod.pool.expire(call, pod.now))
    [answer] = pod.answers
    assert answer.sizes == (1, 0)
    assert [(e.item, e.code) for e in answer.errors] == [(1, "deadline_exceeded")]


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


def test_a_version_this_pod_has_not_is_refused_as_not_here() -> None:
    with pytest.raises(VersionNotHereError):
        Pod().call(1.0, key=("z", "9"))


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
