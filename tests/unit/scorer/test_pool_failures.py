"""What fails, hangs or kills a worker, alone or among others: whose items are tried again, and whose are refused."""

from __future__ import annotations

from scorer.core.calls import Failure, Run
from scorer.core.effects import Cause
from shared.cost import Cost
from shared.wire import Frame
from tests.unit.scorer.pool_pod import ECHO, B, Pod, frame, values


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


def test_an_answer_of_another_length_than_asked_is_a_failure_not_an_answer() -> None:
    pod = Pod(slots=1)
    pod.call(1.0, 2.0)
    pod.settle(lambda _: frame(1.0))
    [answer] = pod.answers
    assert [e.code for e in answer.errors] == ["prediction_failed"]


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


def test_an_item_that_hangs_alone_is_overdue_without_another_try() -> None:
    pod = Pod(slots=1)
    pod.start()
    pod.call(1.0, within_s=1000)
    [worker] = pod.running
    pod.do(pod.pool.end_worker(worker, Cause.HUNG, pod.now))
    pod.do(pod.pool.end_worker(worker, Cause.HUNG, pod.now))
    assert pod.ended == [worker], "ending it again changes nothing"
    pod.settle()
    [answer] = pod.answers
    assert [e.code for e in answer.errors] == ["overdue"]


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
