"""A row over which R hangs: what else was in its run and its call is answered, and others go on having workers."""

from __future__ import annotations

import pytest

from scorer.core.calls import Run
from scorer.core.hangs import STALL_S
from shared.errors import OverdueError, SetAsideError
from shared.messages import ALONE
from tests.unit.scorer.pool_pod import A, B, Pod, values

HANGS = 5.0


def pass_time(pod: Pod, seconds: float) -> None:
    """In steps, as the pod's own ticks come; what is ended dies, what was ordered starts, and answers unless it hangs."""
    until = pod.now + seconds
    while pod.now < until:
        pod.now += 0.2
        pod.do(pod.pool.tick(pod.now))
        settle_all_but_hanging(pod)


def settle_all_but_hanging(pod: Pod) -> None:
    for _ in range(100):
        pod.start()
        for worker in pod.ended[:]:
            pod.ended.remove(worker)
            pod.die(worker)
        pod.start()
        fine = [worker for worker, run in pod.running.items() if HANGS not in values(run.frame)]
        if not fine and not pod.ended and not pod.starting:
            return
        for worker in fine:
            pod.finish(worker)


def warm(slots: int = 2) -> Pod:
    """Its workers have run before, and the pod's clock goes."""
    pod = Pod(slots=slots)
    pod.start()
    for _ in range(slots):
        pod.call(0.0)
        pass_time(pod, 0.2)
    pod.answers.clear()
    return pod


def test_rows_of_several_requests_among_which_one_hangs_are_given_back_within_a_second() -> None:
    pod = warm()
    call = pod.call(1.0, HANGS, items=[1, 1])
    other = pod.call(2.0)
    pass_time(pod, 1.0)
    answers = {answer.call: answer for answer in pod.answers}
    assert [(error.item, error.code) for error in answers[call].errors] == [(0, "overdue"), (1, "overdue")]
    assert not answers[other].errors
    assert not pod.running


def test_calls_that_shared_a_run_with_one_that_hangs_are_told_that_it_was_shared() -> None:
    pod = warm(slots=1)
    pod.call(9.0)
    shared = [pod.call(HANGS), pod.call(1.0)]
    pod.finish(next(iter(pod.running)))
    pass_time(pod, 1.0)
    answers = {answer.call: answer for answer in pod.answers}
    assert [[error.code for error in answers[call].errors] for call in shared] == [["set_aside"], ["set_aside"]]


def test_a_call_of_one_request_may_be_slow_by_right() -> None:
    pod = warm(slots=1)
    pod.call(HANGS)
    pass_time(pod, 9.0)
    assert not pod.answers
    assert len(pod.running) == 1


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_while_rows_hang_in_every_slot_others_of_the_version_are_answered(slots: int) -> None:
    pod = warm(slots)
    for _ in range(slots):
        pod.call(HANGS, share=ALONE)
    pass_time(pod, 1.0)
    assert not pod.answers
    good = [pod.call(1.0) for _ in range(5)]
    pass_time(pod, 0.4)
    assert [answer.call for answer in pod.answers] == good
    assert len(pod.running) == slots


def test_of_rows_that_hang_as_many_run_as_there_are_slots_and_the_oldest_go() -> None:
    pod = warm()
    calls = []
    for _ in range(10):
        calls.append(pod.call(HANGS, within_s=100, share=ALONE))
        pass_time(pod, 1.0)
        assert len(pod.pool.workers) <= 4
    good = pod.call(1.0)
    pass_time(pod, 1.0)
    assert [answer.call for answer in pod.answers] == [*calls[:-3], good]
    assert all(call.open for call in calls[-3:])


def test_a_run_that_hangs_and_for_which_nobody_waits_is_ended() -> None:
    pod = warm(slots=1)
    call = pod.call(HANGS, within_s=1.0)
    pass_time(pod, 1.0)
    pod.do(pod.pool.expire(call, pod.now))
    assert isinstance(pod.answers[0].refused, OverdueError), "whose fault it was is said"
    pass_time(pod, 0.4)
    assert not pod.running


def test_whose_time_is_up_in_a_run_that_others_share_is_not_blamed() -> None:
    pod = warm(slots=1)
    pod.call(9.0)
    _, innocent = pod.call(HANGS), pod.call(1.0, within_s=0.4)
    pod.finish(next(iter(pod.running)))
    pass_time(pod, 0.4)
    pod.do(pod.pool.expire(innocent, pod.now))
    assert isinstance(pod.answers[-1].refused, SetAsideError)


def test_a_row_of_one_version_that_hangs_after_a_crash_keeps_no_part_of_another_waiting() -> None:
    pod = Pod(slots=2, keys=(A, B))
    pod.start()
    pod.call(HANGS, key=A, share=ALONE)
    pod.die(next(iter(pod.running)))
    pod.start()
    assert [values(run.frame) for run in pod.running.values()] == [[HANGS]], "it is tried once more"
    call = pod.call(1.0, 2.0, items=[1, 1], key=B)
    pod.die(next(worker for worker, run in pod.running.items() if run.key == B))
    pod.start()
    for _ in range(4):
        pod.call(3.0, key=B)
        for worker in [worker for worker, run in pod.running.items() if run.key == B]:
            pod.finish(worker)
    assert call in [answer.call for answer in pod.answers]


def test_a_row_that_crashed_r_alone_is_blamed_for_it_where_there_is_no_time_to_try_it_again() -> None:
    pod = warm(slots=1)
    call = pod.call(1.0, within_s=0.05)
    pod.die(next(iter(pod.running)))
    pod.now += 0.05
    pod.do(pod.pool.expire(call, pod.now))
    assert [error.code for error in pod.answers[0].errors] == ["worker_crashed"]


def test_where_the_machine_stood_still_no_run_is_ended_for_it() -> None:
    pod = warm(slots=1)
    pod.call(1.0, 2.0, items=[1, 1])
    pod.now += STALL_S + 5
    pod.do(pod.pool.tick(pod.now))
    assert not pod.ended
    pod.now += 0.2
    pod.do(pod.pool.tick(pod.now))
    assert not pod.ended, "nor at the next look"
    pod.now += 0.4
    pod.do(pod.pool.tick(pod.now))
    assert pod.ended, "what has come since counts"


def test_another_version_has_as_many_workers_beside_one_that_loops() -> None:
    pod = Pod(slots=2, keys=(A, B))
    pod.start()
    for _ in range(4):
        pod.call(HANGS, key=A, within_s=100, share=ALONE)
        pass_time(pod, 1.0)
    calls = [pod.call(1.0, key=B, share=ALONE) for _ in range(2)]
    pod.start()
    assert [run.key for run in pod.running.values()].count(B) == 2
    pass_time(pod, 0.2)
    assert [answer.call for answer in pod.answers if not answer.errors][-2:] == calls


def test_the_first_run_of_a_worker_may_take_longer() -> None:
    pod = Pod(slots=1)
    pod.start()
    pod.do(pod.pool.tick(pod.now))
    pod.call(1.0, 2.0, items=[1, 1])
    for _ in range(4):
        pod.now += 0.2
        pod.do(pod.pool.tick(pod.now))
    assert not pod.ended
    pod.now += 0.4
    pod.do(pod.pool.tick(pod.now))
    assert pod.ended


def test_what_may_not_be_repeated_is_left_to_its_time() -> None:
    pod = warm(slots=1)
    pod.pool.lines[A].retry = False
    pod.call(1.0, HANGS, items=[1, 1])
    pass_time(pod, 5.0)
    assert not pod.answers
    assert len(pod.running) == 1


def test_rows_that_end_workers_again_and_again_leave_others_their_turn() -> None:
    pod = warm(slots=1)
    pod.call(*[HANGS] * 8, items=[1] * 8)
    killed = 0
    for number in range(8):
        good = pod.call(float(100 + number))
        for _ in range(3):  # at most so many deaths until it has its turn
            if good in [answer.call for answer in pod.answers]:
                break
            [worker] = pod.running
            run: Run = pod.running[worker]
            if HANGS in values(run.frame):
                killed += 1
                pod.die(worker)
                pod.start()
            else:
                pod.finish(worker)
        assert good in [answer.call for answer in pod.answers]
    assert killed >= 8


def test_who_has_no_time_left_is_not_blamed_for_a_machine_that_stood_still() -> None:
    pod = warm(slots=1)
    call = pod.call(1.0, within_s=0.05)
    pod.now += 2.0
    pod.do(pod.pool.expire(call, pod.now))
    assert not isinstance(pod.answers[0].refused, OverdueError)


def test_slow_runs_of_one_version_are_not_ended_for_another_that_finds_a_slot() -> None:
    pod = Pod(slots=2, keys=(A, B))
    pod.start()
    for _ in range(3):
        pod.call(HANGS, key=A, within_s=100, share=ALONE)
        pass_time(pod, 1.0)
    pod.call(1.0, key=B)
    pod.call(2.0, key=B, share=ALONE)
    pass_time(pod, 1.0)
    assert [run.key for run in pod.running.values()] == [A, A, A]


@pytest.mark.parametrize("versions", [1, 2, 5])
def test_rows_that_hang_in_every_version_take_no_more_workers_than_slots_and_as_many_again(versions: int) -> None:
    keys = tuple((f"m{number}", "1") for number in range(versions))
    pod = Pod(slots=3, keys=keys)
    pod.start()
    for _ in range(6):
        for key in keys:
            pod.call(HANGS, key=key, within_s=100, share=ALONE)
        pass_time(pod, 1.0)
        assert len(pod.pool.workers) <= versions + 2 * 3


def test_a_run_that_may_not_be_repeated_is_not_ended_beside_others_that_hang() -> None:
    pod = warm(slots=1)
    pod.pool.lines[A].retry = False
    calls = []
    for _ in range(3):
        calls.append(pod.call(HANGS, within_s=100, share=ALONE))
        pass_time(pod, 1.0)
    pod.call(1.0)
    pass_time(pod, 2.0)
    assert all(call.open for call in calls)
    assert not pod.ended
