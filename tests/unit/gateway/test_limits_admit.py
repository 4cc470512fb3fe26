"""The `admit` stage over a scripted shared store: trips, departed callers, a store that is away, slow or broken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from gateway.core.admission import Admit, Answer, Group, Release, StoreAwayError
from gateway.core.limits import Limits, Quota, Rate
from gateway.shell import admit as stage
from gateway.shell import group_commit
from gateway.shell.admit import Admission
from gateway.shell.limits_memory import MemoryCounterStore
from shared.errors import OverloadedError, PayloadTooLargeError, TooManyRequestsError

HOUR = 3600
TEN = Limits(calls=Rate(10, HOUR, 10))
ONE_PLACE = Limits(concurrent=1)


@dataclass
class ScriptedStore:
    """A shared store in memory whose trips wait for `gate` and fail with `error`; it records what came."""

    store: MemoryCounterStore = field(default_factory=MemoryCounterStore)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None
    trips: list[list[Group]] = field(default_factory=list)
    probes: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    async def decide(self, groups: Iterable[Group]) -> list[Answer | StoreAwayError]:
        self.trips.append(list(groups))
        answers = [self.store.decide_now(group) for group in self.trips[-1]]
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return list(answers)

    async def probe(self) -> None:
        self.probes += 1
        if not self.gate.is_set():
            raise StoreAwayError("hung")
        if self.error is not None:
            raise StoreAwayError("still away")

    async def aclose(self) -> None:
        self.gate.set()


@asynccontextmanager
async def started(store: ScriptedStore | None, *, trip_timeout_s: float = 30.0) -> AsyncIterator[Admission]:
    admission = Admission(store, trip_timeout_s=trip_timeout_s)
    await admission.start()
    try:
        yield admission
    finally:
        await admission.aclose()


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not fact():  # noqa: ASYNC110  any fact, not one that somebody announces
            await asyncio.sleep(0)


async def outcome(call: Awaitable[object]) -> bool:
    try:
        await call
    except TooManyRequestsError:
        return False
    return True


async def test_an_idle_gateway_makes_its_trip_at_once() -> None:
    store = ScriptedStore()
    async with started(store) as admission:
        await admission.admit("a", TEN, rows=1)
        await admission.admit("a", TEN, rows=1)
    assert [[len(group.asks) for group in trip] for trip in store.trips] == [[1], [1]]


async def test_what_waits_during_a_trip_leaves_in_the_next_one_call_per_caller() -> None:
    store = ScriptedStore()
    store.gate.clear()
    async with started(store) as admission:
        store.gate.set()
        store.gate.clear()
        admission.shared.up = True
        calls = [asyncio.create_task(admission.admit("first", TEN, rows=1))]
        await until(lambda: len(store.trips) == 1)
        calls += [asyncio.create_task(admission.admit(f"caller {n % 3}", TEN, rows=n)) for n in range(30)]
        await asyncio.sleep(0)
        store.gate.set()
        assert all([await outcome(call) for call in calls])
    second = store.trips[1]
    assert len(store.trips) == 2
    assert [group.caller_key for group in second] == ["caller 0", "caller 1", "caller 2"]
    assert [ask.rows for ask in second[1].asks if isinstance(ask, Admit)] == list(range(1, 30, 3))


async def test_a_trip_that_nobody_waits_for_leaves_when_there_is_time_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "_LATER_S", 60.0)
    store = ScriptedStore()
    async with started(store) as admission:
        with admission.ask("a", TEN, rows=1) as one, admission.ask("a", TEN, rows=1) as other:
            for _ in range(10):  # more turns than a request needs to offer its rows and to have them sent
                await asyncio.sleep(0)
            assert not store.trips
            admission.hurry()
            await until(lambda: not one.undecided and not other.undecided)
            assert [[len(group.asks) for group in trip] for trip in store.trips] == [[2]]


async def test_a_trip_that_nobody_waits_for_leaves_soon_in_any_case() -> None:
    store = ScriptedStore()
    async with started(store) as admission:
        with admission.ask("a", TEN, rows=1) as ticket:
            await until(lambda: not ticket.undecided)
            assert ticket.fields()


async def test_a_place_is_given_back_with_the_next_trip_where_its_caller_has_enough_left() -> None:
    store, limits = ScriptedStore(), Limits(concurrent=64)
    async with started(store) as admission:
        for _ in range(3):
            (await admission.admit("a", limits, rows=1, lease_ms=60_000)).release()
        assert [[type(ask) for group in trip for ask in group.asks] for trip in store.trips] == [
            [Admit], [Release, Admit], [Release, Admit],
        ]  # fmt: skip
        await until(lambda: len(store.trips) == 4)  # nobody comes any more: it is given back all the same
        assert isinstance(store.trips[3][0].asks[0], Release)


async def test_a_place_is_given_back_at_once_where_another_process_may_lack_it() -> None:
    for places, used in ((4, 1), (31, 1), (64, 17)):  # few in all, or many in use
        store, limits = ScriptedStore(), Limits(concurrent=places)
        async with started(store) as admission:
            tickets = [await admission.admit("a", limits, rows=1, lease_ms=60_000) for _ in range(used)]
            tickets[0].release()
            for _ in range(2):
                await asyncio.sleep(0)
            assert isinstance(store.trips[used][0].asks[0], Release)
            for ticket in tickets:
                ticket.release()


@pytest.mark.parametrize("places", [1, 2, 4, 10, 40])
async def test_a_caller_who_never_has_too_many_at_once_is_never_refused_by_two_gateways(places: int) -> None:
    store, limits = ScriptedStore(), Limits(concurrent=places)
    async with started(store) as one, started(store) as two:

        async def client(number: int) -> None:
            for turn in range(12):
                admission = (one, two)[(number + turn) % 2]
                with await admission.admit("a", limits, rows=1, lease_ms=60_000) as ticket:
                    await asyncio.sleep(0.001 * (number % 3))
                if ticket.returned is not None:
                    await ticket.returned

        await asyncio.gather(*(client(number) for number in range(places)))


async def test_a_place_that_nobody_else_can_lack_is_not_waited_for_and_one_that_redis_never_gets_not_for_ever() -> None:
    store = ScriptedStore()
    async with started(store, trip_timeout_s=0.02) as admission:
        with await admission.admit("a", Limits(concurrent=64), rows=1, lease_ms=60_000) as ticket:
            pass
        assert ticket.returned is None
        ticket = await admission.admit("a", Limits(concurrent=2), rows=1, lease_ms=60_000)
        store.gate.clear()
        ticket.release()
        assert ticket.returned is not None
        assert not ticket.returned.done()
        async with asyncio.timeout(10):
            await ticket.returned
        assert not admission.shared.up


async def test_every_caller_gets_its_own_answer() -> None:
    store = ScriptedStore()
    async with started(store) as admission:
        limits = {f"caller {n}": Limits(calls=Rate(n, HOUR, n)) for n in range(1, 9)}
        results = {
            caller: await asyncio.gather(*(outcome(admission.admit(caller, limit, rows=1)) for _ in range(10)))
            for caller, limit in limits.items()
        }
    assert [sum(passed) for passed in results.values()] == list(range(1, 9))


async def test_a_caller_that_leaves_before_its_trip_is_never_charged() -> None:
    store = ScriptedStore()
    async with started(store) as admission:
        store.gate.clear()
        first = asyncio.create_task(admission.admit("a", TEN, rows=1))
        await until(lambda: len(store.trips) == 1)
        leaver = asyncio.create_task(admission.admit("leaver", TEN, rows=1))
        await asyncio.sleep(0)
        leaver.cancel()
        await asyncio.wait({leaver})
        store.gate.set()
        await first
        await admission.admit("b", TEN, rows=1)
    assert [group.caller_key for trip in store.trips for group in trip] == ["a", "b"]


@pytest.mark.parametrize("answered", [False, True])
async def test_a_caller_that_leaves_during_its_trip_gives_its_place_back(answered: bool) -> None:
    store = ScriptedStore()
    async with started(store) as admission:
        store.gate.clear()
        leaver = asyncio.create_task(admission.admit("a", ONE_PLACE, rows=1, lease_ms=60_000))
        await until(lambda: len(store.trips) == 1)
        if answered:  # cancelled when its answer is there but before it runs again
            store.gate.set()
            await until(lambda: admission._local.peek("a", ONE_PLACE, shared=True) is not None)
        leaver.cancel()
        await asyncio.wait({leaver})
        store.gate.set()
        await until(lambda: len(store.trips) == 2)
        assert isinstance(store.trips[1][0].asks[0], Release)
        with await admission.admit("a", ONE_PLACE, rows=1, lease_ms=60_000):
            pass


async def test_the_loop_outlives_a_departed_waiter() -> None:
    store = ScriptedStore()
    async with started(store) as admission:
        for _ in range(20):
            calls = [asyncio.create_task(admission.admit("a", TEN, rows=1)) for _ in range(5)]
            await asyncio.sleep(0)
            for call in calls[::2]:
                call.cancel()
            await asyncio.wait(calls)
        assert await outcome(admission.admit("b", TEN, rows=1))


@pytest.mark.parametrize("error", [StoreAwayError("gone"), ZeroDivisionError("a bug in the store")])
async def test_a_store_that_fails_costs_nobody_an_error(error: Exception) -> None:
    store = ScriptedStore()
    async with started(store) as admission:
        store.error = error
        with capture_logs() as logs:
            passed = await asyncio.gather(*(outcome(admission.admit("a", TEN, rows=1)) for _ in range(30)))
        assert sum(passed) == 10
        assert not admission.shared.up
        assert sum(entry["event"] == "gateway.limits.local" for entry in logs) == 1
        assert len(store.trips) == 1
        store.error = None
        await until(lambda: admission.shared.up)


async def test_a_store_that_answers_fewer_than_were_asked_leaves_nobody_waiting() -> None:
    store = ScriptedStore()

    async def fewer(groups: Iterable[Group]) -> list[Answer | StoreAwayError]:
        store.trips.append(list(groups))
        return []

    async with started(store) as admission:
        store.decide = fewer  # type: ignore[method-assign]
        async with asyncio.timeout(10):
            passed = await asyncio.gather(*(outcome(admission.admit("a", TEN, rows=1)) for _ in range(12)))
        assert sum(passed) == 10


async def test_a_hung_store_delays_those_who_wait_once_and_those_who_come_later_not_at_all() -> None:
    store = ScriptedStore()
    async with started(store, trip_timeout_s=0.01) as admission:
        store.gate.clear()
        assert (
            await asyncio.gather(*(outcome(admission.admit(f"caller {n}", TEN, rows=1)) for n in range(50)))
            == [True] * 50
        )
        assert not admission.shared.up
        later = admission.admit("later", TEN, rows=1)
        with pytest.raises(StopIteration):  # it is decided without ever giving up the event loop
            later.send(None)
        assert len(store.trips) == 1


async def test_an_answer_that_arrived_while_this_process_was_held_up_counts() -> None:
    """The timer and the answer are both due when the loop runs again, in turns as slow: the answer is taken."""
    store = ScriptedStore()
    async with started(store, trip_timeout_s=0.001) as admission:
        store.gate.clear()
        call = asyncio.create_task(admission.admit("a", TEN, rows=1))
        await until(lambda: len(store.trips) == 1)
        store.gate.set()
        for _ in range(4):
            time.sleep(0.01)  # noqa: ASYNC251  the loop is held up, as by parsing a large body
            await asyncio.sleep(0)
        await call
        assert admission.shared.up


async def test_what_was_known_when_the_store_went_away_still_counts() -> None:
    store = ScriptedStore()
    async with started(store) as admission:
        for _ in range(7):
            await admission.admit("a", TEN, rows=1)
        store.error = StoreAwayError("gone")
        passed = [await outcome(admission.admit("a", TEN, rows=1)) for _ in range(10)]
        assert sum(passed) == 3


async def test_precheck_refuses_only_whom_the_store_would_refuse() -> None:
    store = ScriptedStore()
    limits = Limits(calls=Rate(2, HOUR, 2), rows=Rate(100, HOUR, 100))
    async with started(store) as admission:
        admission.precheck("a", limits)
        await admission.admit("a", limits, rows=60)
        with pytest.raises(TooManyRequestsError):
            await admission.admit("a", limits, rows=60)
        admission.precheck("a", limits)  # one row would pass
        await admission.admit("a", limits, rows=40)
        with pytest.raises(TooManyRequestsError) as refused:
            admission.precheck("a", limits)
        assert refused.value.retry_after_ms is not None
        assert refused.value.headers["RateLimit"].startswith('"calls";r=0;t=')
        trips = len(store.trips)
        admission.precheck("someone else", limits)
        assert len(store.trips) == trips


async def test_precheck_forgets_what_was_counted_alone_once_the_store_is_back() -> None:
    store = ScriptedStore()
    async with started(store) as admission:
        store.error = StoreAwayError("gone")
        passed = [await outcome(admission.admit("a", TEN, rows=1)) for _ in range(12)]
        assert sum(passed) == 10
        with pytest.raises(TooManyRequestsError):
            admission.precheck("a", TEN)
        store.store = MemoryCounterStore()
        store.error = None
        await until(lambda: admission.shared.up)
        admission.precheck("a", TEN)
        assert await outcome(admission.admit("a", TEN, rows=1))


async def test_more_rows_than_the_whole_limit_is_413_and_costs_nothing() -> None:
    store = ScriptedStore()
    async with started(store) as admission:
        for limits in (Limits(rows=Rate(1000, 60, 100)), Limits(quota=Quota(100, HOUR, "rows"))):
            with pytest.raises(PayloadTooLargeError, match="101 rows are more than your whole limit of 100 rows"):
                await admission.admit("a", limits, rows=101)
    assert store.trips == []


async def test_a_caller_without_limits_costs_no_trip() -> None:
    store = ScriptedStore()
    async with started(store) as admission:
        with await admission.admit("a", Limits(), rows=10**9, lease_ms=1000) as ticket:
            assert await ticket.admitted() == ()
    assert store.trips == []


async def test_without_a_shared_store_memory_is_all_there_is() -> None:
    async with started(None) as admission:
        assert [await outcome(admission.admit("a", TEN, rows=1)) for _ in range(12)] == [True] * 10 + [False] * 2
        assert "local by choice" in repr(admission)


async def test_a_bounded_number_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "MAX_WAITING", 2)
    store = ScriptedStore()
    async with started(store) as admission:
        store.gate.clear()
        calls = [asyncio.create_task(admission.admit("a", TEN, rows=1)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await admission.admit("a", TEN, rows=1)
        store.gate.set()
        await asyncio.gather(*calls)


async def test_half_of_what_was_left_is_sure() -> None:
    store = ScriptedStore()
    limits = Limits(calls=Rate(11, HOUR, 11), rows=Rate(1000, HOUR, 1000), concurrent=50)
    async with started(store) as admission:
        assert not admission.is_sure("a", limits, 1)  # nothing is known yet
        (await admission.admit("a", limits, rows=1, lease_ms=1000)).release()
        assert [admission.is_sure("a", limits, 1) for _ in range(6)] == [True] * 5 + [False]
        assert not admission.is_sure("b", limits, 1)
        for _ in range(5):
            admission.was_sure("a", 1)
        await admission.admit("a", limits, rows=1)
        assert not admission.is_sure("a", limits, 700)
        assert admission.is_sure("a", limits, 400)
        assert not admission.is_sure("a", Limits(calls=Rate(11, HOUR, 12)), 1)  # other limits, by another policy
        store.error = StoreAwayError("gone")
        await admission.admit("a", limits, rows=1)
        assert not admission.is_sure("a", limits, 1)  # decided here, at once: there is nothing to be sure of


async def test_who_was_sure_and_is_refused_all_the_same_is_told() -> None:
    store = ScriptedStore()
    async with started(store) as admission:
        await admission.admit("a", TEN, rows=1)
        assert admission.is_sure("a", TEN, 1)
        store.store.decide_now(Group("a", TEN, (Admit(rows=1, calls=9),)))  # by another process
        ticket = admission.ask("a", TEN, rows=1)
        told: list[TooManyRequestsError] = []
        ticket.on_refused = told.append
        await until(lambda: not ticket.undecided)
        assert [error.reason for error in told] == ["rate_limited"]
        with pytest.raises(TooManyRequestsError):
            await ticket.admitted()


@pytest.mark.parametrize("left", ["before its trip", "during its trip"])
async def test_a_ticket_released_before_its_decision_holds_no_place(left: str) -> None:
    store = ScriptedStore()
    async with started(store) as admission:
        store.gate.clear()
        ticket = admission.ask("a", ONE_PLACE, rows=1, lease_ms=60_000)
        if left == "during its trip":
            await until(lambda: len(store.trips) == 1)
        ticket.release()
        ticket.release()
        store.gate.set()
        await until(lambda: left == "before its trip" or not ticket.undecided)
        with await admission.admit("a", ONE_PLACE, rows=1, lease_ms=60_000):
            pass


async def test_what_has_begun_is_charged_though_its_caller_left_and_is_sure_of_less_until_it_is_decided() -> None:
    store = ScriptedStore()
    limits = Limits(calls=Rate(11, HOUR, 11), concurrent=1)
    async with started(store) as admission:
        (await admission.admit("a", limits, rows=1, lease_ms=1000)).release()
        store.gate.clear()
        first = admission.ask("b", limits, rows=1)
        await until(lambda: any(group.caller_key == "b" for trip in store.trips for group in trip))
        begun = [admission.ask("a", Limits(calls=limits.calls), rows=1) for _ in range(2)]
        assert not any(ticket.may_begin() for ticket in begun)  # of other limits nothing is known
        tickets = [admission.ask("a", limits, rows=1, lease_ms=60_000) for _ in range(2)]
        assert [ticket.may_begin() for ticket in tickets] == [False, False]  # half of one place is none
        store.gate.set()
        await first.admitted()
    store = ScriptedStore()
    async with started(store) as admission:
        await admission.admit("a", TEN, rows=1)
        store.gate.clear()
        first = admission.ask("b", TEN, rows=1)
        await until(lambda: len(store.trips) == 2)
        tickets = [admission.ask("a", TEN, rows=1, lease_ms=60_000) for _ in range(6)]
        assert [ticket.may_begin() for ticket in tickets] == [True] * 4 + [False] * 2
        for ticket in tickets:
            ticket.release()
        store.gate.set()
        await first.admitted()
        await until(lambda: all(not ticket.undecided for ticket in tickets[:4]))
        assert all(ticket.undecided for ticket in tickets[4:])
        assert [admission.is_sure("a", TEN, 1) for _ in range(3)] == [True, True, False]  # five are left of ten


async def test_closing_decides_what_still_waits() -> None:
    store = ScriptedStore()
    async with started(store) as admission:
        calls = [asyncio.create_task(admission.admit("a", TEN, rows=1)) for _ in range(5)]
        await asyncio.sleep(0)
    assert all([await outcome(call) for call in calls])


async def test_memory_forgets_the_caller_not_seen_for_longest() -> None:
    memory = MemoryCounterStore(max_callers=3)
    once = Limits(calls=Rate(1, HOUR, 1))
    for caller in "abcad":
        memory.decide_now(Group(caller, once, (Admit(1),)))
    assert len(memory) == 3
    assert memory.peek("a", once, shared=False) is not None
    assert memory.peek("b", once, shared=False) is None
