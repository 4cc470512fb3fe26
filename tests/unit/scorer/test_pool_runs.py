"""When a call leaves for a worker, and with which others: the pool with a fake clock."""

from __future__ import annotations

from scorer.core.calls import Run
from scorer.core.states import WorkerState
from shared.messages import ALONE
from shared.wire import Frame
from tests.unit.scorer.pool_pod import Pod, values


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
