"""When workers are ordered, asked whether they live, and told to end: the pool with a fake clock."""

from __future__ import annotations

import pytest

from scorer.core.upkeep import UpkeepLimits
from shared.cost import Cost
from shared.errors import (
    VersionNotHereError,
)
from tests.unit.scorer.pool_pod import ECHO, A, Pod


def test_a_version_gets_one_warm_worker_before_anyone_asks() -> None:
    pod = Pod(slots=4)
    assert len(pod.starting) == 1


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


def test_a_worker_told_to_retire_goes_once_another_listens() -> None:
    pod = Pod(slots=1)
    pod.start()
    [old] = pod.pool.workers
    pod.do(pod.pool.retire_worker(old, pod.now))
    assert pod.starting
    assert not pod.ended
    pod.start()
    assert pod.ended == [old]


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
