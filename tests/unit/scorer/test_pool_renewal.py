"""Workers that have grown, run often or are about to collect fully are replaced, the new one first; with a fake clock."""

from __future__ import annotations

from scorer.core.effects import Cause
from scorer.core.states import WorkerState
from shared.cost import Cost
from tests.unit.scorer.pool_pod import ECHO, A, Pod

MIB = 1024 * 1024


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


def test_add_version_takes_how_far_a_worker_may_grow() -> None:
    pod = Pod()
    pod.do(pod.pool.add_version(A, ECHO, batchable=True, cost=Cost(), now=pod.now, growth_bytes=7.0))
    assert pod.pool.lines[A].growth_bytes == 7.0


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
    pod.do(pod.pool.run_done(worker, run, run.frame, pod.now, renew=True))
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
        pod.do(pod.pool.run_done(worker, run, run.frame, pod.now, renew=True))
    pod.do(pod.pool.tick(pod.now))
    assert len(pod.starting) == 1
    assert len(pod.pool.workers) == 3
