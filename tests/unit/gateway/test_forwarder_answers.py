"""The forwarder on pods that are a class: whatever they do, everyone gets its own rows or its own error, and nothing stays."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.coalesce import OVERDUE_S, Coalescer, Item, Place
from gateway.core.losses import Losses
from gateway.core.pods import Pod, Pods
from gateway.shell.body import ClientDisconnectedError
from gateway.shell.coalesce import _EXPIRE_EVERY_S, Forwarder, Waiting
from gateway.shell.pods import NoAnswerError
from shared.errors import (
    DeadlineExceededError,
    OverdueError,
    OverloadedError,
    PredictionFailedError,
    ScoregateError,
    TooManyRequestsError,
    UnavailableError,
    UpstreamError,
    VersionNotHereError,
    WorkerCrashedError,
)
from shared.messages import ALONE, Answer, ItemError
from shared.signature import Field, Type
from shared.stages import Times
from shared.wire import Frame
from tests.unit.gateway.contract_cases import contract
from tests.unit.gateway.test_coalesce import waiting_items

X = contract((Field(name="x", type=Type.DOUBLE),))
#: What a pod may do with a batch; "fail" does not score the first item.
FATES = (
    "double", "double", "double", "fail", "fail all", "lose", "not here", "full", "nonsense", "bug", "crash", "overdue",
    "all overdue", "set aside", "late", "hang",
)  # fmt: skip


def numbers(frame: Frame) -> list[float]:
    return list(array("d", bytes(frame.buffers[0])))


class FakePods:
    """As `PodClient`: each call meets the next fate; `gate`, if given, holds it until then."""

    def __init__(self, fates: Sequence[str] = (), addresses: Sequence[str] = ("a", "b")) -> None:
        self.pods = Pods()
        self.pods.keep(addresses)
        self.fates = list(fates)
        self.sent: list[list[int]] = []
        self.shares: list[str] = []
        self.timeouts_ms: list[int] = []
        self.turns = 1

    def slots(self, having: frozenset[str] | None = None) -> int:
        return 2 if having is None else min(2, len(having))

    async def infer(
        self,
        pod: Pod,
        model: str,
        version: str,
        _inputs: Any,
        _outputs: Any,
        frame: Frame,
        items: Sequence[int],
        timeout_ms: int,
        _request_id: str,
        share: str,
        _traceparent: str | None,
    ) -> tuple[Answer, Times]:
        self.sent.append(list(items))
        self.shares.append(share)
        self.timeouts_ms.append(timeout_ms)
        self.pods.started(pod, frame.rows)
        try:
            for _turn in range(self.turns):
                await asyncio.sleep(0)
            return await self._meet(self.fates.pop(0) if self.fates else "double", model, version, frame, items)
        finally:
            self.pods.ended(pod, frame.rows)

    async def _meet(
        self, fate: str, model: str, version: str, frame: Frame, items: Sequence[int]
    ) -> tuple[Answer, Times]:
        if fate == "hang":
            await asyncio.Event().wait()
        if fate.startswith("slow"):
            await asyncio.sleep(OVERDUE_S)
        if fate == "lose":
            raise NoAnswerError("gone")
        if fate == "bug":
            raise RuntimeError("bug")
        refusals: dict[str, type[ScoregateError]] = {
            "not here": VersionNotHereError, "full": OverloadedError, "nonsense": UpstreamError, "late": OverdueError,
        }  # fmt: skip
        if fate in refusals:
            raise refusals[fate](retry_after_ms=7)
        code = {
            "crash": "worker_crashed",
            "overdue": "overdue",
            "all overdue": "overdue",
            "slow, all overdue": "overdue",
            "set aside": "set_aside",
        }.get(fate)
        failed = [] if fate in {"double", "slow"} else items[:1] if fate in {"fail", "crash", "overdue"} else items
        skip = sum(failed)
        doubled = array("d", [2 * x for x in numbers(frame)[skip:]]).tobytes()
        sizes = [0] * len(failed) + list(items[len(failed) :])
        errors = tuple(ItemError(n, code or "prediction_failed", "R says no") for n in range(len(failed)))
        return Answer(model, version, Frame(frame.rows - skip, (doubled,)), sizes, errors), Times(0.001, 0.002)


@dataclass
class Outcome:
    """One request and what came of it."""

    sent: list[float]
    got: list[float] | Exception | None = None


def forwarder(pods: FakePods, on_batch: Any = lambda *_: None, on_departed: Any = lambda: None) -> Forwarder:
    coalescer: Coalescer[Waiting] = Coalescer(slots=1, max_batch_rows=4, max_waiting_rows=100)
    return Forwarder(pods, coalescer, on_batch, on_departed, Losses(6.0))  # type: ignore[arg-type]


def item(
    rows: Sequence[float], *, lasts_s: float = 30.0, retry: bool = True, alone: bool = False, caller: str = "c"
) -> Item[Waiting]:
    place, own = Place("lane", ("m", "1"), caller, alone), Place(("lane", caller), ("m", "1"), caller, alone, caller)
    frame = Frame(len(rows), (array("d", rows).tobytes(),))
    answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
    return Item(place, frame, time.monotonic() + lasts_s, Waiting(X, lambda: frozenset("ab"), "id", answer, retry, own))


async def ask(at_work: Forwarder, outcome: Outcome, **more: Any) -> None:
    try:
        outcome.got = numbers(await at_work.score(item(outcome.sent, **more)))
    except (ScoregateError, ClientDisconnectedError) as error:
        outcome.got = error


def is_idle(at_work: Forwarder) -> bool:
    c = at_work.coalescer
    return (c.away, waiting_items(c), c.waiting_rows) == (0, 0, 0)


async def settled(at_work: Forwarder) -> None:
    """Once all that was away is back."""
    async with asyncio.timeout(10):
        while not is_idle(at_work):  # noqa: ASYNC110  the fact has no event
            await asyncio.sleep(0)


@settings(max_examples=100, deadline=None)
@given(
    requests=st.lists(
        st.tuples(
            st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5),
            st.sampled_from(["stay", "stay", "stay", "cancel", "leave"]),
            st.booleans(),
            st.booleans(),
            st.integers(0, 3),
            st.sampled_from("pqr"),
        ),
        min_size=1,
        max_size=12,
    ),
    fates=st.lists(st.sampled_from(FATES[:-1]), max_size=12),
    turns=st.integers(1, 4),
)
async def test_everyone_gets_its_own_rows_or_an_error_whatever_happens(
    requests: list[tuple[list[float], str, bool, bool, int, str]], fates: list[str], turns: int
) -> None:
    pods = FakePods(fates)
    pods.turns = turns
    at_work = forwarder(pods)
    outcomes: list[Outcome] = []
    tasks = []
    for rows, does, retry, alone, pause, caller in requests:
        outcome = Outcome(rows)
        one = item(rows, retry=retry, alone=alone, caller=caller)

        async def score(outcome: Outcome = outcome, one: Item[Waiting] = one) -> None:
            try:
                outcome.got = numbers(await at_work.score(one))
            except (ScoregateError, ClientDisconnectedError) as error:
                outcome.got = error

        task = asyncio.create_task(score())
        tasks.append((task, does))
        outcomes.append(outcome)
        for _ in range(pause):
            await asyncio.sleep(0)
        if does == "cancel":
            task.cancel()
        elif does == "leave":
            at_work.leave(one)
    await asyncio.gather(*(task for task, _ in tasks), return_exceptions=True)
    await settled(at_work)
    for outcome, (task, does) in zip(outcomes, tasks, strict=True):
        if isinstance(outcome.got, list):
            assert outcome.got == [2 * x for x in outcome.sent]
        elif outcome.got is None:
            assert does == "cancel"
            assert task.cancelled()
        elif isinstance(outcome.got, ClientDisconnectedError):
            assert does == "leave"
        else:
            assert fates, outcome.got
    assert all(pod.rows_in_flight == pod.batches_in_flight == 0 for pod in pods.pods.by_address.values())


async def test_what_is_asked_at_once_leaves_together_and_comes_back_to_each() -> None:
    pods = FakePods()
    at_work = forwarder(pods)
    outcomes = [Outcome([float(n)]) for n in range(8)]
    await asyncio.gather(*(ask(at_work, outcome) for outcome in outcomes))
    assert [outcome.got for outcome in outcomes] == [[2.0 * n] for n in range(8)]
    assert pods.sent == [[1, 1, 1, 1], [1, 1, 1, 1]]


async def test_there_is_time_for_the_rest_when_what_was_to_leave_has_been_sent() -> None:
    pods: FakePods = FakePods()
    pods.turns = 20
    sent: asyncio.Queue[int] = asyncio.Queue()
    at_work = forwarder(pods, on_departed=lambda: sent.put_nowait(len(pods.sent)))
    async with asyncio.timeout(5):
        first = asyncio.gather(*(ask(at_work, Outcome([float(n)])) for n in range(3)))
        assert await sent.get() == 1
        await asyncio.gather(first, ask(at_work, Outcome([4.0])))
        assert await sent.get() == 2


async def test_callers_whose_time_ends_together_are_all_told() -> None:
    at_work = forwarder(FakePods(fates=["hang", "hang"]))
    outcomes = [Outcome([float(n)]) for n in range(6)]
    until_s = time.monotonic()
    waiting = asyncio.gather(*(ask(at_work, one, lasts_s=0.05 + n // 3 * 0.05) for n, one in enumerate(outcomes)))
    await asyncio.sleep(0)
    ends_s = [at * _EXPIRE_EVERY_S - until_s for at in at_work._expiring_at]
    assert min(ends_s) >= 0.05
    assert len(ends_s) < 6
    assert _EXPIRE_EVERY_S <= 0.010, "callers are told of their deadline with this delay"
    async with asyncio.timeout(5):
        await waiting
    assert [type(one.got) for one in outcomes] == [DeadlineExceededError] * 6
    assert not at_work._expiring_at


async def test_what_comes_one_turn_after_another_leaves_with_it() -> None:
    pods: FakePods = FakePods()
    at_work = forwarder(pods)
    first = asyncio.create_task(ask(at_work, Outcome([1.0])))
    await asyncio.sleep(0)  # it is offered, and nothing comes with it
    await asyncio.gather(first, ask(at_work, Outcome([2.0])))
    assert pods.sent == [[1, 1]]
    await at_work.close()


async def test_an_item_that_fails_fails_alone() -> None:
    at_work = forwarder(FakePods(["fail"]))
    outcomes = [Outcome([float(n)]) for n in range(4)]
    await asyncio.gather(*(ask(at_work, outcome) for outcome in outcomes))
    assert isinstance(outcomes[0].got, PredictionFailedError)
    assert [outcome.got for outcome in outcomes[1:]] == [[2.0], [4.0], [6.0]]


async def test_a_lost_batch_is_sent_again_elsewhere_each_item_alone() -> None:
    pods = FakePods(["lose"])
    outcomes = [Outcome([float(n)]) for n in range(3)]
    at_work = forwarder(pods)
    await asyncio.gather(*(ask(at_work, outcome) for outcome in outcomes))
    assert [outcome.got for outcome in outcomes] == [[2.0 * n] for n in range(3)]
    assert pods.sent == [[1, 1, 1], [1], [1], [1]]


async def test_all_that_a_pod_held_when_it_died_is_scored_elsewhere() -> None:
    pods = FakePods(fates=["lose"])
    coalescer: Coalescer[Waiting] = Coalescer(slots=1, max_batch_rows=500, max_waiting_rows=1000)
    at_work = Forwarder(pods, coalescer, lambda *_: None, lambda: None, Losses(6.0))  # type: ignore[arg-type]
    outcomes = [Outcome([float(n)]) for n in range(500)]
    await asyncio.gather(*(ask(at_work, outcome) for outcome in outcomes))
    assert len(pods.sent[0]) == 500
    assert [outcome.got for outcome in outcomes] == [[2.0 * n] for n in range(500)]


async def test_an_item_that_loses_two_pods_is_refused() -> None:
    outcome = Outcome([1.0])
    pods = FakePods(["lose", "lose"])
    await ask(forwarder(pods), outcome)
    assert isinstance(outcome.got, UpstreamError)
    assert len(pods.sent) == 2


async def test_a_model_that_may_not_be_scored_twice_is_not() -> None:
    outcome = Outcome([1.0])
    pods = FakePods(["lose"])
    await ask(forwarder(pods), outcome, retry=False)
    assert isinstance(outcome.got, UpstreamError)
    assert len(pods.sent) == 1


async def test_at_its_deadline_a_caller_is_answered_and_the_batch_runs_on_for_the_others() -> None:
    pods = FakePods(["hang"])
    at_work = forwarder(pods)
    early, late = Outcome([1.0]), Outcome([2.0])
    waits = asyncio.create_task(ask(at_work, late, lasts_s=20))
    await ask(at_work, early, lasts_s=0.05)
    assert isinstance(early.got, DeadlineExceededError) or early.got == [2.0]
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    await at_work.close()
    assert is_idle(at_work)


async def test_closing_answers_all_that_is_away_or_waits() -> None:
    pods = FakePods(["hang", "hang"])
    at_work = forwarder(pods)
    outcomes = [Outcome([float(n)]) for n in range(6)]
    tasks = [asyncio.create_task(ask(at_work, outcome)) for outcome in outcomes]
    await asyncio.sleep(0)
    await at_work.close()
    await asyncio.gather(*tasks)
    assert all(isinstance(outcome.got, UnavailableError) for outcome in outcomes)
    assert is_idle(at_work)


async def test_closing_answers_any_number_that_wait_to_leave_alone() -> None:
    pods = FakePods(["hang", "hang"])
    coalescer: Coalescer[Waiting] = Coalescer(slots=1, max_batch_rows=4, max_waiting_rows=10_000)
    at_work = Forwarder(pods, coalescer, lambda *_: None, lambda: None, Losses(6.0))  # type: ignore[arg-type]
    outcomes = [Outcome([float(n)]) for n in range(1500)]
    tasks = [asyncio.create_task(ask(at_work, outcome, alone=True)) for outcome in outcomes]
    await asyncio.sleep(0)
    await at_work.close()
    async with asyncio.timeout(20):
        await asyncio.gather(*tasks)
    assert all(isinstance(outcome.got, UnavailableError) for outcome in outcomes)
    assert is_idle(at_work)


async def test_rows_of_several_callers_among_which_one_hangs_go_again_by_caller_and_nobody_is_blamed() -> None:
    pods = FakePods(["all overdue"])
    at_work = forwarder(pods)
    outcomes = [Outcome([float(n)]) for n in range(4)]
    callers = ("p", "q", "p", "p")
    await asyncio.gather(*(ask(at_work, one, caller=who) for one, who in zip(outcomes, callers, strict=True)))
    assert [outcome.got for outcome in outcomes] == [[2.0 * n] for n in range(4)]
    assert pods.sent == [[1, 1, 1, 1], [1, 1, 1], [1]]
    assert pods.shares == ["", "p", "q"]
    assert not at_work._losses


@pytest.mark.parametrize("fate", ["set aside", "all overdue"])
async def test_rows_that_hang_among_their_callers_own_go_alone_and_are_his_loss(fate: str) -> None:
    pods = FakePods(["all overdue", fate])
    at_work = forwarder(pods)
    outcomes = [Outcome([float(n)]) for n in range(4)]
    callers = ("p", "q", "p", "q")
    await asyncio.gather(*(ask(at_work, one, caller=who) for one, who in zip(outcomes, callers, strict=True)))
    assert [outcome.got for outcome in outcomes] == [[2.0 * n] for n in range(4)]
    assert pods.sent == [[1, 1, 1, 1], [1, 1], [1, 1], [1], [1]]
    assert sorted(pods.shares) == ["", ALONE, ALONE, "p", "q"]
    assert at_work._losses.is_apart("p", ("m", "1"), time.monotonic())
    assert not at_work._losses.is_apart("q", ("m", "1"), time.monotonic())


async def test_a_caller_whose_time_was_up_among_rows_that_hung_is_a_suspect_until_its_own_are_scored() -> None:
    pods = FakePods(["all overdue"])
    at_work = forwarder(pods)
    outcomes = [Outcome([1.0]), Outcome([2.0])]
    await asyncio.gather(ask(at_work, outcomes[0], caller="p", retry=False), ask(at_work, outcomes[1], caller="q"))
    assert isinstance(outcomes[0].got, DeadlineExceededError)
    assert outcomes[1].got == [4.0]
    assert at_work._losses.is_apart("p", ("m", "1"), time.monotonic())
    assert not at_work._losses.is_apart("q", ("m", "1"), time.monotonic())
    again = Outcome([3.0])
    await ask(at_work, again, caller="p")
    assert again.got == [6.0]
    assert not at_work._losses.is_apart("p", ("m", "1"), time.monotonic())


async def test_who_cannot_be_asked_again_a_second_time_has_lost_whatever_it_sent_in_between() -> None:
    pods = FakePods(["all overdue", "double", "double", "all overdue"])
    at_work = forwarder(pods)
    for _ in range(2):
        await asyncio.gather(
            ask(at_work, Outcome([1.0]), caller="p", retry=False), ask(at_work, Outcome([2.0]), caller="q")
        )
        assert at_work._losses.is_apart("p", ("m", "1"), time.monotonic())
        await ask(at_work, Outcome([3.0]), caller="p")
    assert at_work._losses.is_apart("p", ("m", "1"), time.monotonic())
    assert not at_work._losses.is_apart("q", ("m", "1"), time.monotonic())


async def test_a_version_that_crashes_over_all_rows_is_no_callers_fault() -> None:
    at_work = forwarder(FakePods(["crash"] * 60))
    outcomes = [Outcome([1.0]) for _ in range(60)]
    for outcome in outcomes:
        await ask(at_work, outcome, caller="p")
    assert {type(one.got) for one in outcomes} == {WorkerCrashedError}


async def test_a_batch_of_one_caller_that_another_gateways_rows_held_up_is_nobodys_loss_here() -> None:
    at_work = forwarder(FakePods(["set aside"]))
    outcome = Outcome([1.0])
    await ask(at_work, outcome, caller="p")
    assert outcome.got == [2.0]
    assert not at_work._losses


async def test_a_suspect_is_cleared_by_its_own_rows_only() -> None:
    at_work = forwarder(FakePods())
    at_work._losses.suspect("p", ("m", "1"), 1.0, time.monotonic())
    await asyncio.gather(*(ask(at_work, Outcome([1.0]), caller=who) for who in "pq"))
    assert at_work._losses.is_apart("p", ("m", "1"), time.monotonic())
    await ask(at_work, Outcome([1.0]), caller="p")
    assert not at_work._losses.is_apart("p", ("m", "1"), time.monotonic())


async def test_rows_of_who_has_lost_stay_away_for_long_enough_to_know_what_they_do() -> None:
    pods = FakePods()
    at_work = forwarder(pods)
    await ask(at_work, Outcome([1.0]), caller="p", lasts_s=0.2)
    at_work._losses.count("p", ("m", "1"), 0.1, time.monotonic())
    await ask(at_work, Outcome([1.0]), caller="p", lasts_s=0.2)
    before, after = pods.timeouts_ms
    assert before < 200
    assert after > 1000


async def test_of_a_run_of_several_requests_each_pays_its_share() -> None:
    at_work = forwarder(FakePods(["slow, all overdue"]))
    asked = [Outcome([float(n)]) for n in range(4)]
    await asyncio.gather(*(ask(at_work, one, caller="p") for one in asked))
    assert [one.got for one in asked] == [[2.0 * n] for n in range(4)]
    lost = at_work._losses.check("p", ("m", "1"), time.monotonic())
    assert lost is not None
    assert 0.8 * OVERDUE_S < lost.seconds < 2 * OVERDUE_S, "the time of one run, not of four"


async def test_rows_that_are_slow_by_right_are_scored_and_share_no_run_with_others_rows_any_more() -> None:
    pods = FakePods(["all overdue", "slow"])
    at_work = forwarder(pods)
    slow, other = Outcome([1.0]), Outcome([2.0])
    await asyncio.gather(ask(at_work, slow, caller="p"), ask(at_work, other, caller="q"))
    assert (slow.got, other.got) == ([2.0], [4.0])
    shared, own = item([3.0], caller="p").place, item([3.0], caller="p").reply.own_place
    assert at_work.place(shared, own) is own
    assert at_work._losses.check("p", ("m", "1"), time.monotonic()) is not None, "kept apart, but not refused"
    shared, own = item([3.0], caller="q").place, item([3.0], caller="q").reply.own_place
    assert at_work.place(shared, own) is shared


async def test_a_batch_is_told_of_once_it_is_answered_and_of_what_is_sent_again_when_that_is() -> None:
    told: list[tuple[str, int, int]] = []
    at_work = forwarder(FakePods(["lose"]), on_batch=lambda *batch: told.append(batch))
    outcomes = [Outcome([1.0]), Outcome([2.0]), Outcome([3.0])]
    await asyncio.gather(*(ask(at_work, one) for one in outcomes))
    assert [one.got for one in outcomes] == [[2.0], [4.0], [6.0]]
    assert told == [("m", 1, 1)] * 3, "each request counts once, however often its batch was lost"
    told.clear()
    at_work = forwarder(FakePods(["all overdue"]), on_batch=lambda *batch: told.append(batch))
    await asyncio.gather(*(ask(at_work, Outcome([1.0]), caller=who) for who in "pq"))
    assert told == [("m", 2, 0), ("m", 1, 1), ("m", 1, 1)]


async def test_a_row_that_hangs_alone_is_told_so_before_its_deadline() -> None:
    outcome = Outcome([1.0])
    await ask(forwarder(FakePods(["late"])), outcome)
    assert isinstance(outcome.got, DeadlineExceededError)
    assert (outcome.got.status, outcome.got.reason) == (504, "deadline_exceeded")


async def test_what_may_not_be_scored_twice_is_not_though_others_hung() -> None:
    pods = FakePods(["set aside"])
    outcome = Outcome([1.0])
    await ask(forwarder(pods), outcome, retry=False)
    assert isinstance(outcome.got, DeadlineExceededError)
    assert len(pods.sent) == 1


async def test_a_caller_whose_rows_crash_r_again_and_again_is_refused_and_others_are_not() -> None:
    pods = FakePods(["double", *["crash"] * 30])
    at_work = forwarder(pods)
    await ask(at_work, Outcome([0.0]), caller="q")
    outcomes = [Outcome([1.0]) for _ in range(30)]
    for outcome in outcomes:
        await ask(at_work, outcome, caller="p")
    codes = [one.got.reason for one in outcomes if isinstance(one.got, ScoregateError)]
    crashed = codes.count("worker_crashed")
    assert 24 <= crashed <= 26
    assert codes == ["worker_crashed"] * crashed + ["harmful_rows"] * (30 - crashed)
    pods.fates.clear()
    other = Outcome([1.0])
    with pytest.raises(TooManyRequestsError):
        at_work.check(Place("lane", ("m", "1"), "p"), time.monotonic() + 10)
    await ask(at_work, other, caller="q")
    assert other.got == [2.0]
    assert len(pods.sent) == 1 + crashed + 1


async def test_what_was_let_in_before_it_was_known_is_refused_too() -> None:
    pods = FakePods(["double", *["crash"] * 50])
    at_work = forwarder(pods)
    await ask(at_work, Outcome([0.0]), caller="q")
    outcomes = [Outcome([1.0]) for _ in range(50)]
    await asyncio.gather(*(ask(at_work, one, caller="p", alone=True) for one in outcomes))
    assert {type(one.got) for one in outcomes} == {WorkerCrashedError, TooManyRequestsError}
    assert 24 <= len(pods.sent) <= 30
    assert is_idle(at_work)


async def test_a_request_tells_when_it_left_and_when_it_was_back() -> None:
    at_work = forwarder(FakePods())
    one = item([1.0])
    before = time.monotonic()
    await at_work.score(one)
    trip = one.reply.trip
    assert before <= trip.left_s <= trip.back_s <= time.monotonic()
    assert trip.times == (0.001, 0.002)


@pytest.mark.parametrize("fate", ["full", "nonsense", "bug"])
async def test_what_goes_wrong_with_a_batch_each_of_it_is_told(fate: str) -> None:
    at_work = forwarder(FakePods([fate]))
    outcomes = [Outcome([float(n)]) for n in range(4)]
    await asyncio.gather(*(ask(at_work, outcome) for outcome in outcomes))
    kinds = {type(outcome.got) for outcome in outcomes}
    assert kinds == {{"full": OverloadedError, "nonsense": UpstreamError, "bug": ScoregateError}[fate]}
    assert is_idle(at_work)
