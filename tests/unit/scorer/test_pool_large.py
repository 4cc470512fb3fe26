"""Calls of very many rows, what cannot be done in time, and the figures of demand: the pool with a fake clock."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.core.calls import Failure, Run
from scorer.core.demand import Demand
from shared.cost import Cost
from shared.errors import OverloadedError
from shared.wire import Frame
from tests.unit.scorer.pool_pod import A, B, Pod, values

MIB = 1024 * 1024


def large_pod(slots: int = 4, large_workers: int = 2, piece_rows: int = 100) -> Pod:
    """A pod that cuts calls above 200 rows into pieces of 100, with every worker it may have."""
    pod = Pod(slots, large_rows=200, large_workers=large_workers)
    for i in range(slots):  # work for all, so that all are forked
        pod.call(float(i))
        pod.pool.lines[A].batchable = False
    pod.settle()
    line = pod.pool.lines[A]
    line.batchable = True
    line.cost = Cost(fixed_s=0.0, row_s=pod.pool.limits.large_piece_s / piece_rows)
    pod.answers.clear()
    pod.now += 1.0  # those small calls are long past
    return pod


def test_a_large_call_is_cut_over_workers_and_put_together_in_order() -> None:
    pod = large_pod()
    rows = [float(i) for i in range(1000)]
    call = pod.call(*rows, items=[1, 700, 2, 297])
    assert len(pod.running) == 2, "no more pieces at once than their share of the workers"
    sizes: list[int] = []

    def predict(run: Run) -> Frame:
        sizes.append(run.frame.rows)
        return run.frame

    pod.settle(predict)
    assert max(sizes) <= 100
    assert sum(sizes) == 1000
    [answer] = pod.answers
    assert answer.call is call
    assert answer.sizes == (1, 700, 2, 297)
    assert answer.frame is not None
    assert values(answer.frame) == rows


def sizes_of_pieces(pod: Pod, rows: int) -> list[int]:
    sizes: list[int] = []

    def predict(run: Run) -> Frame:
        sizes.append(run.frame.rows)
        return run.frame

    pod.call(*[0.0] * rows)
    pod.settle(predict)
    return sizes


def test_workers_end_their_pieces_one_after_the_other_and_the_last_ones_together() -> None:
    assert sizes_of_pieces(large_pod(slots=3, large_workers=3), 810) == [30, 60, *[90] * 7, 60, 30]
    assert sizes_of_pieces(large_pod(slots=1, large_workers=1), 1000) == [100] * 10
    pod = large_pod(slots=4, large_workers=4)
    pod.call(*[0.0] * 1600)
    ends: dict[int, float] = {}
    together: list[int] = []
    while pod.running:
        for worker, run in pod.running.items():
            ends.setdefault(worker, pod.now + run.frame.rows)
        pod.now = min(ends.values())
        due = [worker for worker, end in ends.items() if end == pod.now]
        together.append(len(due))
        for worker in due:
            del ends[worker]
            pod.finish(worker)
    assert together == [1] * (len(together) - 1) + [4]


def test_more_workers_than_rows_get_no_empty_pieces() -> None:
    pod = large_pod(slots=8, large_workers=8)
    pod.pool.limits = replace(pod.pool.limits, large_rows=3)
    sizes = sizes_of_pieces(pod, 70)
    assert min(sizes) >= 1
    assert sum(sizes) == 70


def test_where_a_call_costs_much_at_any_size_the_pieces_are_longer() -> None:
    pod = large_pod(large_workers=2)
    pod.pool.lines[A].cost = Cost(fixed_s=0.030, row_s=0.0002)
    sizes = sizes_of_pieces(pod, 3000)
    assert max(sizes) == 600, "120 ms of rows with 30 ms beside them, and not 64 rows with as much"
    pod.pool.lines[A].cost = Cost(fixed_s=0.005, row_s=0.0002)
    assert max(sizes_of_pieces(pod, 3000)) == 100, "20 ms of rows"


def test_pieces_that_end_in_another_order_are_put_together_in_theirs() -> None:
    pod = large_pod(slots=4, large_workers=4)
    rows = [float(i) for i in range(400)]
    pod.call(*rows)
    while pod.running:
        pod.finish(max(pod.running))
    [answer] = pod.answers
    assert answer.frame is not None
    assert values(answer.frame) == rows


def test_a_small_call_waits_for_no_more_than_a_piece() -> None:
    pod = large_pod(slots=1, large_workers=1)
    pod.call(*[0.0] * 1000)
    small = pod.call(1.0)
    [first] = pod.running
    pod.finish(first)
    [run] = pod.running.values()
    assert [p.call for p in run.portions] == [small]


def test_where_small_calls_come_the_pieces_are_short_and_long_again_after_them() -> None:
    pod = large_pod(slots=1, large_workers=1)
    fixed_s, row_s = 0.001, 0.001 / 70
    pod.pool.lines[A].cost = Cost(fixed_s=fixed_s, row_s=row_s)
    rows = [float(i) for i in range(10_000)]
    large = pod.call(*rows)
    pieces: list[tuple[int, bool]] = []
    small_s = -1.0
    while not any(answer.call is large for answer in pod.answers):
        [(worker, run)] = pod.running.items()
        pod.now += fixed_s + run.frame.rows * row_s
        if run.large:
            pieces.append((run.frame.rows, run.started_s - small_s < 0.1))
            if len(pieces) in (2, 12, 20):
                small_s = pod.now
                pod.call(1.0)
        pod.finish(worker)
    beside = [rows for rows, small in pieces if small]
    assert len(beside) > 40
    assert max(beside) <= 72, "twice the fixed cost"
    assert min(beside) > 30, "a piece is cut into equal parts"
    assert pieces[0][0] > 500
    assert max(rows for rows, _ in pieces[-3:]) > 500
    [frame] = [answer.frame for answer in pod.answers if answer.call is large]
    assert frame is not None
    assert values(frame) == rows


def test_pieces_stay_long_where_a_small_call_finds_a_slot_all_the_same() -> None:
    pod = large_pod(slots=4, large_workers=2)
    pod.pool.lines[A].cost = Cost(fixed_s=0.001, row_s=0.001 / 70)
    pod.call(1.0)
    pod.finish(next(iter(pod.running)))
    pod.call(*[0.0] * 4000)
    assert min(run.frame.rows for run in pod.running.values()) > 500


def test_many_items_are_cut_between_them_where_small_calls_come() -> None:
    pod = large_pod(slots=1, large_workers=1)
    pod.pool.lines[A].cost = cost = Cost(fixed_s=0.001, row_s=0.001 / 100)
    pod.call(0.0)
    pod.finish(next(iter(pod.running)))
    rows = [float(i) for i in range(2420)]
    pod.call(*rows, items=[40] * 30 + [1000, 1, 219])
    sizes: list[int] = []

    def predict(run: Run) -> Frame:
        sizes.append(run.frame.rows)
        pod.pool.lines[A].cost = replace(cost)  # what it learns here is the test's pace
        return run.frame

    pod.settle(predict)
    assert max(sizes) <= 101
    assert sizes[:3] == [80, 80, 80]
    answer = pod.answers[-1]
    assert answer.frame is not None
    assert values(answer.frame) == rows


def test_a_call_that_short_pieces_make_late_is_refused_at_once() -> None:
    pod = large_pod(slots=2, large_workers=2)
    pod.pool.lines[A].cost = Cost(fixed_s=0.002, row_s=0.00001)
    pod.call(*[0.0] * 50_000, within_s=60)
    pod.call(*[0.0] * 50_000, within_s=0.7)  # half a second for both, by two workers
    pod.call(1.0)
    with pytest.raises(OverloadedError) as refused:
        pod.call(*[0.0] * 50_000, within_s=1.1)
    assert refused.value.retry_after_ms
    pod.call(*[0.0] * 50_000, within_s=1.8)


@given(
    sizes=st.lists(st.integers(1, 700), min_size=2, max_size=6),
    fates=st.lists(st.sampled_from(["answer", "answer", "answer", "small", "crash", "fail"]), max_size=60),
    slots=st.integers(1, 3),
)
def test_whatever_comes_in_between_each_row_is_back_once_or_its_item_is_refused(
    sizes: list[int], fates: list[str], slots: int
) -> None:
    pod = large_pod(slots=slots, large_workers=slots)
    pod.pool.lines[A].cost = Cost(fixed_s=0.001, row_s=0.001 / 70)
    rows = [float(i) for i in range(sum(sizes))]
    large = pod.call(*rows, items=sizes)
    left = fates[::-1]

    def predict(run: Run) -> Frame | Failure | None:
        fate = left.pop() if left else "answer"
        if fate == "small":
            pod.call(-1.0)
        return {"crash": None, "fail": Failure("prediction_failed", "poison")}.get(fate, run.frame)

    pod.settle(predict)
    [answer] = [answer for answer in pod.answers if answer.call is large]
    refused = {error.item for error in answer.errors}
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    assert list(answer.sizes) == [0 if i in refused else size for i, size in enumerate(sizes)]
    assert answer.frame is not None
    assert values(answer.frame) == [
        row for i, start in enumerate(starts) if i not in refused for row in rows[start : start + sizes[i]]
    ]
    assert pod.pool.waiting_rows == 0


def test_pieces_have_their_turn_while_small_calls_keep_coming() -> None:
    pod = large_pod(slots=1, large_workers=1)
    large = pod.call(*[0.0] * 1000)
    for _ in range(30):
        pod.call(1.0)
        pod.finish(next(iter(pod.running)))
    assert any(answer.call is large for answer in pod.answers)


def test_an_unbatchable_version_is_never_cut() -> None:
    pod = large_pod()
    pod.pool.lines[A].batchable = False
    pod.call(*[0.0] * 1000)
    [run] = pod.running.values()
    assert run.frame.rows == 1000


def test_a_piece_that_fails_costs_its_item_and_the_rest_of_the_item_does_not_start() -> None:
    pod = large_pod(slots=1, large_workers=1)
    rows = [float(i) for i in range(1000)]
    pod.call(*rows, items=[500, 500])
    scored = 0

    def predict(run: Run) -> Frame | Failure:
        nonlocal scored
        scored += run.frame.rows
        return Failure("prediction_failed", "poison") if 130.0 in values(run.frame) else run.frame

    pod.settle(predict)
    [answer] = pod.answers
    assert answer.sizes == (0, 500)
    assert [(e.item, e.detail) for e in answer.errors] == [(0, "poison")]
    assert answer.frame is not None
    assert values(answer.frame) == rows[500:]
    assert scored == 700
    assert pod.pool.waiting_rows == 0


def test_a_piece_that_kills_twice_refuses_its_item_and_one_that_kills_once_is_scored() -> None:
    pod = large_pod(slots=2)
    rows = [float(i) for i in range(600)]
    pod.call(*rows, items=[300, 300])
    killed: list[float] = []

    def predict(run: Run) -> Frame | None:
        found = values(run.frame)
        if 10.0 in found or (400.0 in found and 400.0 not in killed):
            killed.extend(found)
            return None
        return run.frame

    pod.settle(predict)
    [answer] = pod.answers
    assert answer.sizes == (0, 300)
    assert [(e.item, e.code) for e in answer.errors] == [(0, "worker_crashed")]


def test_a_large_call_whose_caller_has_gone_starts_no_more_pieces() -> None:
    pod = large_pod(slots=1, large_workers=1)
    call = pod.call(*[0.0] * 1000)
    pod.do(pod.pool.leave(call, pod.now))
    pod.finish(next(iter(pod.running)))
    assert not pod.running
    assert pod.pool.waiting_rows == 0


def test_a_version_with_large_calls_leaves_the_other_its_turn() -> None:
    pod = Pod(slots=1, keys=(A, B), large_rows=200, large_workers=1)
    pod.start()
    for key in (A, B):
        pod.pool.lines[key].cost = Cost(fixed_s=0.0, row_s=0.00025)
    pod.call(*[0.0] * 2000, key=A)
    other = pod.call(1.0, key=B)
    pod.finish(next(iter(pod.running)))
    [run] = pod.running.values()
    assert [p.call for p in run.portions] == [other]


# --- what cannot be done in time, and demand


def test_work_that_would_start_after_its_deadline_is_refused_though_nothing_waits() -> None:
    pod = Pod(slots=1)
    pod.start()
    pod.pool.lines[A].cost = Cost(fixed_s=5.0, row_s=0.0)
    pod.call(1.0, within_s=30)
    with pytest.raises(OverloadedError) as refusal:
        pod.call(2.0, within_s=2)
    assert 1000 <= (refusal.value.retry_after_ms or 0) <= 8000
    pod.now += 4.9
    pod.call(3.0, within_s=10)


def test_one_that_comes_back_when_it_was_told_to_is_taken() -> None:
    pod = Pod(slots=1)
    pod.start()
    pod.pool.lines[A].cost = Cost(fixed_s=2.0, row_s=0.0)
    for i in range(3):
        pod.call(float(i), within_s=30)
        pod.pool.lines[A].batchable = False
    with pytest.raises(OverloadedError) as refusal:
        pod.call(9.0, within_s=5)
    come_back = pod.now + (refusal.value.retry_after_ms or 0) / 1000
    while pod.now < come_back:
        pod.now += min(2.0, come_back - pod.now)
        for worker in [w for w, run in pod.running.items() if pod.now - run.started_s >= 2.0]:
            pod.finish(worker)
    pod.call(9.0, within_s=5)


def test_demand_is_one_where_all_workers_are_busy_and_counts_what_waits() -> None:
    demand = Demand(workers=2)
    for second in range(100):
        demand.observe(busy_s=2.0 * second, waiting_s=0.0, now=float(second))
    assert demand.value == pytest.approx(1.0, abs=0.01)
    for second in range(100, 200):
        demand.observe(busy_s=2.0 * second, waiting_s=4.0, now=float(second))
    assert demand.value == pytest.approx(3.0, abs=0.02)
    for second in range(200, 300):
        demand.observe(busy_s=400.0, waiting_s=0.0, now=float(second))
    assert demand.value == pytest.approx(0.0, abs=0.02)


def test_the_pool_knows_the_seconds_its_workers_have_used() -> None:
    pod = Pod(slots=1)
    pod.start()
    pod.call(1.0)
    pod.now += 3
    assert pod.pool.used_s(pod.now) == pytest.approx(3)
    pod.finish(next(iter(pod.running)))
    pod.now += 3
    assert pod.pool.used_s(pod.now) == pytest.approx(3)


def test_runs_of_nearly_one_size_move_the_cost_and_not_its_slope() -> None:
    cost = Cost(fixed_s=0.002, row_s=0.00001)
    for i in range(200):
        cost.learn(1250 + i % 2, 0.029 + 0.004 * (i % 2))
    assert cost.predict_s(1250) == pytest.approx(0.031, rel=0.1)
    assert cost.predict_s(1) < 0.006
    assert cost.row_s == pytest.approx(0.00002, rel=0.2)
