"""What each version gets beside others: slots, workers and the processor, by the time that its runs take."""

from __future__ import annotations

from scorer.core.calls import Key
from shared.cost import Cost
from tests.unit.scorer.pool_pod import A, B, Pod, values


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


def slow_and_quick(slots: int) -> Pod:
    """Version A's runs last 0.4 s, B's 3 ms; each has its workers."""
    pod = Pod(slots, batchable=False, keys=(A, B))
    pod.pool.lines[A].cost = Cost(fixed_s=0.4)
    pod.pool.lines[B].cost = Cost(fixed_s=0.003)
    pod.start()
    return pod


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
