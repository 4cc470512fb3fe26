"""Calls of very many rows, workers that have grown, and the figures of demand: the pool's newer rules, with a fake clock."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.core.calls import Failure, Run
from scorer.core.demand import Demand
from scorer.core.effects import Cause
from scorer.core.states import WorkerState
from shared.cost import Cost
from shared.errors import OverloadedError
from shared.wire import Frame
from tests.unit.test_scorer_pool import ECHO, A, B, Pod, values

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


# --- workers that have grown


def idle_pod(*, max_runs: int = 0) -> Pod:
    pod = Pod(1, max_runs=max_runs)
    pod.pool.lines[A].growth_bytes = 50 * MIB
    pod.start()
    return pod


def test_a_worker_that_has_grown_is_replaced_and_ends_only_when_the_new_one_listens() -> None:
    pod = idle_pod()
    [old] = pod.pool.workers
    pod.private[old] = 60 * MIB
    pod.pool.lines[A].warm_bytes = 5 * MIB
    pod.call(1.0)
    pod.now += 10
    pod.finish(old)
    pod.do(pod.pool.tick(pod.now))
    [new] = pod.starting
    assert not pod.ended
    pod.call(2.0)
    assert list(pod.running) == [old], "it serves until then"
    pod.start()
    assert not pod.ended, "a busy worker finishes what it does"
    pod.finish(old)
    assert pod.ended == [old]
    assert pod.pool.workers[old].cause is Cause.GROWN
    pod.die(old)
    assert list(pod.pool.workers) == [new]


def test_a_worker_that_has_not_grown_further_than_it_may_stays() -> None:
    pod = idle_pod()
    [worker] = pod.pool.workers
    pod.pool.lines[A].warm_bytes = 20 * MIB
    pod.private[worker] = 69 * MIB
    for _ in range(5):
        pod.call(1.0)
        pod.now += 10
        pod.finish(worker)
        pod.do(pod.pool.tick(pod.now))
    assert not pod.starting


def test_workers_are_measured_rarely_and_only_after_they_have_worked() -> None:
    pod = idle_pod()
    [worker] = pod.pool.workers
    pod.do(pod.pool.tick(pod.now))
    row = pod.pool.workers[worker]
    assert row.measured_runs == 0, "at first, for what a fork has"
    measured: list[float] = []
    for _ in range(100):
        pod.now += 0.1
        pod.call(1.0)
        pod.finish(worker)
        if not measured or row.measured_s != measured[-1]:
            measured.append(row.measured_s)
    assert 4 <= len(measured) <= 6
    pod.now += 100
    pod.do(pod.pool.tick(pod.now))
    before = row.measured_s
    pod.now += 100
    pod.do(pod.pool.tick(pod.now))
    assert row.measured_s == before, "it has done nothing since"


def test_workers_of_one_version_are_replaced_one_at_a_time() -> None:
    pod = Pod(slots=3, batchable=False, max_runs=1)
    for i in range(6):
        pod.call(float(i))
    pod.start()
    while pod.running:
        pod.finish(next(iter(pod.running)))
    pod.now += 10
    pod.do(pod.pool.tick(pod.now))
    pod.do(pod.pool.tick(pod.now))
    assert len(pod.starting) == 1


def test_after_as_many_runs_as_it_may_have_a_worker_is_replaced() -> None:
    pod = idle_pod(max_runs=3)
    [old] = pod.pool.workers
    for _ in range(3):
        pod.call(1.0)
        pod.finish(old)
    pod.now += 10
    pod.do(pod.pool.tick(pod.now))
    pod.start()
    assert pod.ended == [old]
    assert pod.pool.workers[old].cause is Cause.WORN
    pod.die(old)
    assert pod.pool.lines[A].upkeep.deaths == 0, "that is no crash"


def test_a_replacement_that_dies_is_ordered_again_and_the_old_worker_serves() -> None:
    pod = idle_pod(max_runs=1)
    [old] = pod.pool.workers
    pod.call(1.0)
    pod.finish(old)
    pod.now += 10
    pod.do(pod.pool.tick(pod.now))
    pod.die(pod.starting.pop())
    assert pod.pool.workers[old].state is WorkerState.IDLE
    pod.now += 10
    pod.do(pod.pool.tick(pod.now))
    assert len(pod.starting) == 1
    assert not pod.ended


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


def test_add_version_takes_how_far_a_worker_may_grow() -> None:
    pod = Pod()
    pod.do(pod.pool.add_version(A, ECHO, batchable=True, cost=Cost(), now=pod.now, growth_bytes=7.0))
    assert pod.pool.lines[A].growth_bytes == 7.0


def test_runs_of_nearly_one_size_move_the_cost_and_not_its_slope() -> None:
    cost = Cost(fixed_s=0.002, row_s=0.00001)
    for i in range(200):
        cost.learn(1250 + i % 2, 0.029 + 0.004 * (i % 2))
    assert cost.predict_s(1250) == pytest.approx(0.031, rel=0.1)
    assert cost.predict_s(1) < 0.006
    assert cost.row_s == pytest.approx(0.00002, rel=0.2)


def test_what_any_worker_takes_to_get_warm_is_no_growth() -> None:
    pod = idle_pod()
    [worker] = pod.pool.workers
    pod.private[worker] = 100 * MIB  # of a fork with 0: warm
    for _ in range(300):
        pod.call(1.0)
        pod.now += 1
        pod.finish(worker)
        pod.do(pod.pool.tick(pod.now))
    assert not pod.starting
    assert pod.pool.lines[A].warm_bytes == 100 * MIB
    pod.private[worker] = 151 * MIB
    pod.call(1.0)
    pod.now += 10
    pod.finish(worker)
    pod.do(pod.pool.tick(pod.now))
    assert pod.starting


def test_a_worker_that_leaks_a_lot_in_few_runs_is_replaced_before_it_is_warm() -> None:
    pod = idle_pod()
    [worker] = pod.pool.workers
    pod.private[worker] = 179 * MIB
    pod.call(1.0)
    pod.now += 10
    pod.finish(worker)
    pod.do(pod.pool.tick(pod.now))
    assert pod.starting


def work(pod: Pod, runs: int) -> None:
    """So many runs of one worker, a second each, and time to replace it."""
    for _ in range(runs):
        pod.call(1.0)
        pod.now += 1
        pod.finish(next(iter(pod.running)))
        pod.do(pod.pool.tick(pod.now))
        pod.start()
        for worker in pod.ended[:]:
            pod.ended.remove(worker)
            pod.die(worker)


def test_where_one_grew_after_many_runs_the_next_is_replaced_before_it_has_had_as_many() -> None:
    pod = idle_pod()
    [first] = pod.pool.workers
    pod.private[first] = 10 * MIB
    work(pod, 1000)
    pod.private[first] = 70 * MIB
    work(pod, 5)
    [second] = pod.pool.workers
    assert second != first
    work(pod, 790)
    assert list(pod.pool.workers) == [second]
    work(pod, 20)
    [third] = pod.pool.workers
    assert third != second
    work(pod, 798)
    assert list(pod.pool.workers) == [third], "the next may have a few more"
    work(pod, 30)
    assert third not in pod.pool.workers


def test_one_that_grew_before_it_had_run_often_says_nothing_about_others() -> None:
    pod = idle_pod()
    [first] = pod.pool.workers
    pod.private[first] = 10 * MIB
    work(pod, 150)
    pod.private[first] = 70 * MIB
    work(pod, 5)
    [second] = pod.pool.workers
    assert second != first
    work(pod, 500)
    assert list(pod.pool.workers) == [second]


def test_one_that_has_grown_is_replaced_before_one_that_is_worn() -> None:
    pod = Pod(2, max_runs=3)
    pod.start()
    pod.call(1.0)
    pod.call(2.0)
    pod.start()
    worn, grown = sorted(pod.pool.workers)
    pod.pool.workers[worn].renew, pod.pool.workers[grown].renew = Cause.WORN, Cause.GROWN
    pod.now += 10
    pod.do(pod.pool.tick(pod.now))
    assert pod.pool.workers[grown].replacement is not None
    assert pod.pool.workers[worn].replacement is None


def asking(pod: Pod, worker: int) -> None:
    """A run at whose end it asks to be replaced, and time for it."""
    pod.call(1.0)
    pod.now += 10
    run = pod.running.pop(worker)
    pod.do(pod.pool.run_done(worker, run.frame, pod.now, renew=True))
    pod.do(pod.pool.tick(pod.now))


def test_one_whose_r_is_about_to_collect_fully_is_replaced_and_serves_until_then() -> None:
    pod = idle_pod()
    pod.pool.lines[A].loaded_bytes = 200 * MIB
    [old] = pod.pool.workers
    asking(pod, old)
    [_] = pod.starting
    pod.call(2.0)
    assert list(pod.running) == [old]
    pod.finish(old)
    pod.start()
    assert pod.ended == [old]
    assert pod.pool.workers[old].cause is Cause.WORN


def test_an_idle_one_asks_for_it_by_its_answer_to_a_ping() -> None:
    pod = idle_pod()
    pod.pool.lines[A].loaded_bytes = 200 * MIB
    [old] = pod.pool.workers
    pod.now += 10
    assert pod.pool.check(old, pod.now)
    pod.do(pod.pool.checked(old, pod.now, renew=True))
    pod.do(pod.pool.tick(pod.now))
    pod.start()
    assert pod.ended == [old]


def test_a_full_collection_that_cannot_unshare_more_than_a_worker_may_grow_by_is_let_come() -> None:
    pod = idle_pod()
    pod.pool.lines[A].loaded_bytes = 49 * MIB
    [worker] = pod.pool.workers
    asking(pod, worker)
    assert not pod.starting


def test_those_who_ask_at_once_are_replaced_one_after_the_other() -> None:
    pod = Pod(2, batchable=False)
    pod.pool.lines[A].loaded_bytes, pod.pool.lines[A].growth_bytes = 200 * MIB, 50 * MIB
    pod.start()
    pod.call(1.0)
    pod.call(2.0)
    pod.start()
    pod.now += 10
    for worker, run in list(pod.running.items()):
        del pod.running[worker]
        pod.do(pod.pool.run_done(worker, run.frame, pod.now, renew=True))
    pod.do(pod.pool.tick(pod.now))
    assert len(pod.starting) == 1
    assert len(pod.pool.workers) == 3
