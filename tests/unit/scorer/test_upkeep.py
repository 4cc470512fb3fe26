"""A version whose workers cannot stay up: put off, then down with the reason, tried now and then, back when a worker stays."""

from __future__ import annotations

import pytest

from scorer.core.effects import Answer, Cause, Down, Effect, Up
from scorer.core.upkeep import Upkeep, UpkeepLimits
from shared.errors import VersionDownError
from tests.unit.scorer.pool_pod import ECHO, A, B, Pod

LIMITS = UpkeepLimits(max_deaths=5, stays_up_s=3.0, probe_s=30.0)


class Failing(Pod):
    """A pod that also notes what became of its versions, and whose workers can die before they listen."""

    def __init__(self, **options: object) -> None:
        self.news: list[Down | Up] = []
        super().__init__(upkeep=LIMITS, **options)  # type: ignore[arg-type]

    def do(self, effects: list[Effect]) -> None:
        self.news += [effect for effect in effects if isinstance(effect, Down | Up)]
        super().do(effects)

    def until_ordered(self, within_s: float = 1000.0) -> float:
        """Seconds until a worker is ordered."""
        began = self.now
        while not self.starting:
            assert self.now - began < within_s, "no worker is ordered"
            self.now += 0.05
            self.do(self.pool.tick(self.now))
        return self.now - began

    def dies_at_once(self, how: str = "SIGABRT") -> None:
        """The next worker that is ordered dies before it listens."""
        self.until_ordered()
        self.do(self.pool.worker_gone(self.starting.pop(), self.now, how=how))

    def goes_down(self) -> Down:
        for _ in range(LIMITS.max_deaths):
            self.dies_at_once()
        assert len(self.news) == 1
        down = self.news.pop()
        assert isinstance(down, Down)
        return down

    def answers_a_ping(self, worker: int) -> None:
        assert self.pool.check(worker, self.now)
        self.do(self.pool.checked(worker, self.now))


def test_after_five_deaths_at_once_it_is_down_and_the_reason_says_how_they_died() -> None:
    pod = Failing(slots=2)
    for how in ("SIGABRT", "not started", "SIGABRT", "exit 70"):
        pod.dies_at_once(how)
    assert not pod.news
    pod.dies_at_once("SIGABRT")
    [down] = pod.news
    assert isinstance(down, Down)
    assert down.key == A
    assert (
        "the last 5 died before they had answered anything (3 x SIGABRT, 1 x not started, 1 x exit 70)" in down.reason
    )


def test_calls_that_wait_are_refused_with_the_reason_and_so_are_new_ones() -> None:
    pod = Failing(slots=1)
    waiting = pod.call(1.0)
    down = pod.goes_down()
    [answer] = pod.answers
    assert answer.call is waiting
    assert isinstance(answer.refused, VersionDownError)
    assert (answer.refused.status, answer.refused.detail) == (503, down.reason)
    assert pod.pool.open_calls == pod.pool.waiting_rows == 0
    with pytest.raises(VersionDownError):
        pod.call(2.0)


def test_the_others_do_not_notice() -> None:
    pod = Failing(slots=1, keys=(A, B))
    b = next(n for n in pod.starting if pod.pool.workers[n].key == B)
    pod.starting.remove(b)
    pod.do(pod.pool.worker_ready(b, pod.now))
    call = pod.call(5.0, key=B)
    pod.goes_down()
    pod.finish(b)
    assert pod.answers == [Answer(call, call.frame, (1,))]


def test_one_worker_is_tried_after_longer_and_longer_pauses() -> None:
    pod = Failing(slots=4)
    pod.goes_down()
    pauses = []
    for _ in range(6):
        pauses.append(pod.until_ordered())
        assert len(pod.starting) == 1
        pod.dies_at_once()
    assert pauses[0] == pytest.approx(30, abs=0.2)
    assert pauses[1] == pytest.approx(60, abs=0.2)
    assert pauses[-1] == pytest.approx(300, abs=0.2)
    assert not pod.news, "said once"


def test_it_is_up_again_when_a_worker_has_stayed_and_answers() -> None:
    pod = Failing(slots=1)
    pod.goes_down()
    pod.until_ordered()
    [worker] = pod.starting
    pod.start()
    pod.answers_a_ping(worker)
    assert not pod.news, "it has only just started"
    pod.now += LIMITS.stays_up_s
    pod.answers_a_ping(worker)
    assert pod.news == [Up(A)]
    pod.call(1.0)
    assert pod.running
    pod.finish(worker)
    pod.die(worker)
    assert pod.until_ordered() < 0.1, "what stayed up once is replaced at once"


def test_a_worker_that_listens_and_then_dies_at_once_counts_too() -> None:
    pod = Failing(slots=1)
    for _ in range(LIMITS.max_deaths):
        pod.until_ordered()
        [worker] = pod.starting
        pod.start()
        pod.now += 1.0
        pod.die(worker)
    assert [type(news) for news in pod.news] == [Down]


def test_while_another_worker_of_it_serves_it_is_not_down() -> None:
    pod = Failing(slots=2)
    pod.start()
    [old] = pod.pool.workers
    pod.call(1.0)
    pod.call(2.0)
    for _ in range(2 * LIMITS.max_deaths):
        pod.dies_at_once()
    assert not pod.news
    pod.finish(old)
    assert pod.running, "it goes on with what waits"


def test_workers_that_end_in_order_or_of_their_rows_never_take_it_down() -> None:
    pod = Failing(slots=1)
    pod.start()
    for number in range(4 * LIMITS.max_deaths):
        [worker] = pod.pool.workers
        if number % 2:
            pod.call(1.0)
            pod.die(worker)
        else:
            pod.do(pod.pool.end_worker(worker, Cause.RETIRED, pod.now))
            pod.die(worker)
        pod.until_ordered()
        pod.start()
    assert not pod.news


def test_a_worker_that_is_killed_after_it_had_stayed_is_replaced_at_once_each_time() -> None:
    pod = Failing(slots=1)
    for _ in range(4 * LIMITS.max_deaths):
        assert pod.until_ordered() < 0.1
        pod.start()
        pod.now += LIMITS.stays_up_s
        [worker] = pod.pool.workers
        pod.answers_a_ping(worker)
        pod.die(worker)
    assert not pod.news


def test_a_zygote_that_is_loaded_anew_is_no_death_of_a_worker() -> None:
    pod = Failing(slots=1)
    for _ in range(4 * LIMITS.max_deaths):
        pod.until_ordered()
        pod.do(pod.pool.no_zygote(pod.starting.pop(), pod.now))
    assert not pod.news
    pod.do(pod.pool.add_version(A, ECHO, batchable=True, cost=pod.pool.lines[A].cost, now=pod.now))
    assert pod.starting, "its new zygote is asked at once"


def test_an_operator_need_not_wait_for_the_next_try() -> None:
    pod = Failing(slots=1)
    pod.goes_down()
    assert not pod.starting
    pod.do(pod.pool.try_now(A, pod.now))
    assert len(pod.starting) == 1


def test_a_version_that_is_down_can_be_retracted_and_loaded_from_the_start() -> None:
    pod = Failing(slots=1)
    pod.goes_down()
    pod.do(pod.pool.remove_version(A, pod.now))
    assert A not in pod.pool.lines
    pod.do(pod.pool.add_version(A, ECHO, batchable=True, cost=Pod().pool.lines[A].cost, now=pod.now))
    pod.start()
    pod.call(1.0)
    assert pod.running


def test_the_first_pause_is_short_and_jitter_spreads_the_others() -> None:
    soon, late = Upkeep(LIMITS), Upkeep(LIMITS)
    for upkeep, jitter in ((soon, 0.0), (late, 1.0)):
        upkeep.died("SIGSEGV", 10.0, jitter)
        assert upkeep.fork_at_s == 0.0, "the first replacement is immediate"
        upkeep.died("SIGSEGV", 10.0, jitter)
    assert 10.0 < soon.fork_at_s < late.fork_at_s < 11.0
