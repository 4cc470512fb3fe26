"""What holds for every `CounterStore`: in memory, on one Redis, on a cluster of one node. Real servers, real clocks."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.app import counter_store
from gateway.core.admission import Admit, Admitted, CounterStore, Decision, Group, Refused, Release, StoreAwayError
from gateway.core.gcra import scale
from gateway.core.limits import Limits, Quota, Rate
from gateway.shell.limits_memory import MemoryCounterStore
from gateway.shell.limits_redis import MAX_ASKS_PER_CALL, RedisCounterStore, keys
from tests.service.limits_servers import RedisServer, needs_redis, running
from tests.unit.gateway.test_settings import settings

HOUR = 3600
DAY = 86_400
YEAR = 365 * DAY  # a quota whose window does not end during a test
_callers = itertools.count()


@pytest.fixture(scope="module")
def single() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="sg") as folder, running(Path(folder)) as server:
        yield server


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="sg") as folder, running(Path(folder), cluster=True) as server:
        yield server


@pytest.fixture(
    params=["memory", pytest.param("single", marks=needs_redis), pytest.param("cluster", marks=needs_redis)]
)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[CounterStore]:
    in_memory = request.param == "memory"
    a_store: CounterStore = (
        MemoryCounterStore() if in_memory else RedisCounterStore(request.getfixturevalue(request.param).url)
    )
    yield a_store
    await a_store.aclose()


@pytest.fixture
def caller() -> str:
    return f"tenant/{next(_callers)}"


async def ask(store: CounterStore, caller: str, limits: Limits, *asks: Admit | Release) -> list[Decision]:
    (answer,) = await store.decide([Group(caller, limits, asks)])
    assert not isinstance(answer, StoreAwayError)
    return [decision for decision in answer.decisions if decision is not None]


async def one(store: CounterStore, caller: str, limits: Limits, an_ask: Admit) -> Decision:
    (decision,) = await ask(store, caller, limits, an_ask)
    return decision


def refused(decision: Decision) -> Refused:
    assert isinstance(decision, Refused), decision
    return decision


async def waited_out(store: CounterStore, caller: str, limits: Limits, an_ask: Admit, decision: Refused) -> None:
    """Waits exactly as long as the refusal of `an_ask` says, then must be admitted."""
    await asyncio.sleep(decision.retry_after_ms / 1000)
    assert isinstance(await one(store, caller, limits, an_ask), Admitted)


async def test_the_burst_passes_and_not_one_more(store: CounterStore, caller: str) -> None:
    limits = Limits(calls=Rate(100, HOUR, 100))
    decisions = await ask(store, caller, limits, *[Admit(rows=1)] * 130)
    assert [isinstance(d, Admitted) for d in decisions] == [True] * 100 + [False] * 30
    last = refused(decisions[-1])
    assert last.limit == "calls"
    assert last.retry_after_ms == 36_000


async def test_one_by_one_or_together_is_the_same(store: CounterStore, caller: str) -> None:
    limits = Limits(calls=Rate(5, HOUR, 5))
    decisions = [await one(store, caller, limits, Admit(rows=1)) for _ in range(8)]
    assert sum(isinstance(d, Admitted) for d in decisions) == 5


async def test_a_burst_smaller_than_the_amount_is_all_that_passes_at_once(store: CounterStore, caller: str) -> None:
    decisions = await ask(store, caller, Limits(calls=Rate(3600, HOUR, 3)), *[Admit(rows=1)] * 5)
    assert sum(isinstance(d, Admitted) for d in decisions) == 3


async def test_who_waits_as_long_as_told_passes(store: CounterStore, caller: str) -> None:
    limits = Limits(calls=Rate(7, 1, 2), rows=Rate(1000, 1, 1000))
    *_, decision = await ask(store, caller, limits, Admit(rows=900), Admit(rows=1), Admit(rows=200))
    assert refused(decision).retry_after_ms == 143  # a seventh of a second for a call; the rows take 101 ms
    await waited_out(store, caller, limits, Admit(rows=200), refused(decision))


async def test_a_refusal_charges_nothing(store: CounterStore, caller: str) -> None:
    limits = Limits(calls=Rate(10, HOUR, 10), rows=Rate(100, HOUR, 100), quota=Quota(50, YEAR, "calls"), concurrent=10)
    first, second, third = await ask(
        store, caller, limits, Admit(rows=90), Admit(rows=20, lease_ms=60_000, lease_id="a"), Admit(rows=10)
    )
    assert isinstance(first, Admitted)
    assert refused(second).limit == "rows"
    assert (second.usage.calls_level, second.usage.quota_used) == (first.usage.calls_level, 1)
    assert second.usage.in_flight == 0
    assert isinstance(third, Admitted)


async def test_data_refused_costs_a_call_and_no_rows(store: CounterStore, caller: str) -> None:
    limits = Limits(calls=Rate(2, HOUR, 2), rows=Rate(10, HOUR, 10), quota=Quota(10, YEAR, "rows"), concurrent=1)
    one_row, nothing, over = await ask(
        store, caller, limits, Admit(rows=10, lease_ms=60_000, lease_id="a"), Admit(rows=0), Admit(rows=0)
    )
    assert isinstance(one_row, Admitted)
    assert isinstance(nothing, Admitted)
    assert nothing.usage.rows_level == one_row.usage.rows_level
    assert refused(over).limit == "calls"


async def test_of_two_limits_in_the_way_the_longer_is_named(store: CounterStore, caller: str) -> None:
    limits = Limits(calls=Rate(60, HOUR, 1), rows=Rate(10, HOUR, 10))
    await one(store, caller, limits, Admit(rows=10))
    decision = refused(await one(store, caller, limits, Admit(rows=10)))
    assert decision.limit == "rows"
    assert 3_000_000 < decision.retry_after_ms <= 3_600_000


async def test_a_quota_ends_with_its_window(store: CounterStore, caller: str) -> None:
    limits = Limits(quota=Quota(3, 1, "rows"))
    _, decision = await ask(store, caller, limits, Admit(rows=2), Admit(rows=2))
    assert refused(decision).limit == "quota"
    assert refused(decision).retry_after_ms <= 1000
    await waited_out(store, caller, limits, Admit(rows=2), refused(decision))


async def test_a_quota_of_rows_counts_rows_and_one_of_calls_counts_calls(store: CounterStore, caller: str) -> None:
    rows = Limits(quota=Quota(10, YEAR, "rows"))
    calls = Limits(quota=Quota(2, YEAR, "calls"))
    by_rows = await ask(store, caller + "r", rows, Admit(rows=9), Admit(rows=2), Admit(rows=1))
    by_calls = await ask(store, caller + "c", calls, Admit(rows=1000), Admit(rows=1000), Admit(rows=1))
    assert [isinstance(d, Admitted) for d in by_rows] == [True, False, True]
    assert [isinstance(d, Admitted) for d in by_calls] == [True, True, False]


async def test_a_place_given_back_is_free_at_once(store: CounterStore, caller: str) -> None:
    limits = Limits(concurrent=2)

    def lease(name: str) -> Admit:
        return Admit(rows=1, lease_ms=60_000, lease_id=name)

    decisions = await ask(
        store, caller, limits, lease("a"), lease("b"), lease("c"), Release("a"), lease("d"), lease("e"), Release("zz")
    )
    assert [isinstance(d, Admitted) for d in decisions] == [True, True, False, True, False]
    assert refused(decisions[2]).limit == "concurrent"
    assert [d.usage.in_flight for d in decisions] == [1, 2, 2, 2, 2]


async def test_a_place_never_given_back_is_free_at_its_deadline(store: CounterStore, caller: str) -> None:
    limits = Limits(concurrent=2)
    *_, decision = await ask(
        store, caller, limits, Admit(1, 1, 60_000, "long"), Admit(1, 1, 200, "short"), Admit(1, 1, 1000, "next")
    )
    assert refused(decision).retry_after_ms == 200
    await waited_out(store, caller, limits, Admit(1, 1, 1000, "next"), refused(decision))


async def test_a_lowered_concurrency_waits_for_as_many_as_are_too_many(store: CounterStore, caller: str) -> None:
    await ask(store, caller, Limits(concurrent=3), *(Admit(1, 1, 10_000 * n, str(n)) for n in (1, 2, 3)))
    limits = Limits(concurrent=2)
    decision = refused(await one(store, caller, limits, Admit(1, 1, 1000, "next")))
    assert 10_000 < decision.retry_after_ms <= 20_000


async def test_a_changed_rate_keeps_what_was_used(store: CounterStore, caller: str) -> None:
    before = Limits(calls=Rate(10, HOUR, 10))
    after = Limits(calls=Rate(7, DAY, 20))
    await ask(store, caller, before, *[Admit(rows=1)] * 8)
    decisions = await ask(store, caller, after, *[Admit(rows=1)] * 20)
    # 8 are used, less what leaked between, if anything: 12 or 13 of the 20 are left.
    assert sum(isinstance(d, Admitted) for d in decisions) in (12, 13)


async def test_odd_and_huge_rates_are_exact(store: CounterStore, caller: str) -> None:
    rate = Rate(1_234_567, 86_400, 1_234_567)
    assert scale(rate).tick_us > 1
    limits = Limits(rows=rate)
    decisions = await ask(store, caller, limits, Admit(rows=1_234_566), Admit(rows=1), Admit(rows=100), Admit(rows=101))
    assert [isinstance(d, Admitted) for d in decisions] == [True, True, False, False]
    assert refused(decisions[2]).retry_after_ms <= 7_000
    assert decisions[1].usage.rows_level > 2**45  # large numbers survive the way to the store and back


async def test_callers_whose_names_look_alike_are_counted_apart(store: CounterStore) -> None:
    limits = Limits(calls=Rate(1, DAY, 1))
    names = ["t/a", "t/a:counts", "t/a}:counts", "{t/a}", "t%2Fa", "t/ä", "t/a ", "T/a", "t//a", "t/a\r\nx", "t/a\x00"]
    answers = await store.decide([Group(name, limits, (Admit(rows=1),)) for name in names])
    assert all(not isinstance(a, StoreAwayError) and isinstance(a.decisions[0], Admitted) for a in answers)


async def test_many_callers_in_one_trip_get_their_own_answers(store: CounterStore, caller: str) -> None:
    groups = [
        Group(f"{caller}-{n}", Limits(calls=Rate(n, HOUR, n)), (Admit(rows=1), Release("x")) * 20) for n in range(1, 20)
    ]
    answers = await store.decide(groups)
    for n, answer in enumerate(answers, start=1):
        assert not isinstance(answer, StoreAwayError)
        assert [d is None for d in answer.decisions] == [False, True] * 20
        assert sum(isinstance(d, Admitted) for d in answer.decisions) == n


async def test_more_asks_than_one_script_call_takes_stay_in_order(store: CounterStore, caller: str) -> None:
    count = 2 * MAX_ASKS_PER_CALL + 7
    limits = Limits(calls=Rate(count - 2, HOUR, count - 2))
    decisions = await ask(store, caller, limits, *[Admit(rows=1)] * count)
    assert [isinstance(d, Admitted) for d in decisions] == [True] * (count - 2) + [False] * 2


async def test_a_probe_of_a_store_that_is_there_says_nothing(store: CounterStore) -> None:
    await store.probe()


# --- Redis alone


@needs_redis
async def test_redis_forgets_callers_by_itself(single: RedisServer, caller: str) -> None:
    store = RedisCounterStore(single.url)
    limits = Limits(calls=Rate(10, 1, 10), rows=Rate(100, HOUR, 100), concurrent=4)
    await ask(store, caller, limits, Admit(1, 1, 30_000, "a"))
    counts, leases = keys(caller)
    assert 20_000 < int(single.cli("PTTL", counts)) <= 37_001
    assert 60_000 < int(single.cli("PTTL", leases)) <= 120_000
    assert all(int(single.cli("PTTL", key.decode())) > 0 for key in single.cli("KEYS", "*").split())
    await store.aclose()


@needs_redis
async def test_a_redis_that_lost_its_scripts_is_given_them_again(single: RedisServer, caller: str) -> None:
    store = RedisCounterStore(single.url)
    limits = Limits(calls=Rate(2, HOUR, 2))
    await one(store, caller, limits, Admit(rows=1))
    single.cli("SCRIPT", "FLUSH", "SYNC")
    decisions = [await one(store, caller, limits, Admit(rows=1)) for _ in range(2)]
    assert [isinstance(d, Admitted) for d in decisions] == [True, False]
    await store.aclose()


@needs_redis
async def test_a_cluster_is_found_to_be_one(cluster: RedisServer, single: RedisServer, caller: str) -> None:
    for url, kind in ((cluster.url, "cluster"), (cluster.url.replace("redis://", "redis+cluster://"), "cluster")):
        store = RedisCounterStore(url)
        assert isinstance(await one(store, caller, Limits(calls=Rate(9, HOUR, 9)), Admit(rows=1)), Admitted)
        assert kind in repr(store)
        await store.aclose()


@needs_redis
async def test_one_callers_broken_counter_is_not_anothers(single: RedisServer, caller: str) -> None:
    store = RedisCounterStore(single.url)
    limits = Limits(calls=Rate(2, HOUR, 2))
    single.cli("SET", keys(caller)[0], "not a hash")
    broken, fine = await store.decide([Group(caller, limits, (Admit(1),)), Group(caller + "x", limits, (Admit(1),))])
    assert isinstance(broken, StoreAwayError)
    assert not isinstance(fine, StoreAwayError)
    await store.aclose()


@needs_redis
async def test_the_password_comes_from_a_file() -> None:
    with tempfile.TemporaryDirectory(prefix="sg") as folder, running(Path(folder)) as server:
        server.cli("CONFIG", "SET", "requirepass", "hush")
        file = Path(folder) / "password"
        file.write_text("hush\n", encoding="utf-8")
        for secret in (str(file), None):
            store = counter_store(settings(redis_url=server.url, redis_password_file=secret))
            assert store is not None
            if secret is None:
                with pytest.raises(StoreAwayError):
                    await store.probe()
            else:
                await store.probe()
                assert "hush" not in repr(store)
            await store.aclose()


async def test_an_absent_redis_is_away_and_its_password_is_not_told() -> None:
    with tempfile.TemporaryDirectory(prefix="sg") as folder:
        store = RedisCounterStore(f"unix://user:hush@{folder}/nothing.sock")
        with pytest.raises(StoreAwayError) as away:
            await store.probe()
        assert "hush" not in str(away.value) + repr(store)
        await store.aclose()


@pytest.mark.parametrize("url", ["redis://:hush/hush@redis:6379", "redis://redis:99999"])
def test_a_redis_url_that_is_cut_wrongly_does_not_tell_the_password(url: str) -> None:
    with pytest.raises(ValueError, match="percent-encode") as caught:
        RedisCounterStore(url)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://x", "localhost:6379", "unix+cluster:///x", ""])
def test_a_url_that_is_no_redis_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="redis://"):
        RedisCounterStore(url)
