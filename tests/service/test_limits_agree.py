"""The rule in Lua and the rule in Python are one rule: the same answers, to the microsecond, on any schedule.

admit.lua asks Redis for the time; for this test alone its TIME is a key that the test sets, so both see the same clock.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.admission import Admit, Answer, Decision, Group, Release, check_cost
from gateway.core.limits import Limits, Quota, Rate
from gateway.shell import limits_redis
from gateway.shell.limits_memory import MemoryCounterStore
from shared.errors import PayloadTooLargeError
from tests.service.limits_servers import needs_redis, running

_CLOCK = """
local real = redis
local redis = { call = function(command, ...)
  if command == 'TIME' then return real.call('HMGET', 'clock', 's', 'us') end
  return real.call(command, ...)
end }
"""
_SCRIPT = _CLOCK + limits_redis.admit_script()
_START_US = 1_790_000_000_123_456
_callers = itertools.count()

limits = st.builds(
    Limits,
    st.none() | st.builds(Rate, st.integers(1, 1000), st.integers(1, 10_000), st.integers(1, 50)),
    st.none() | st.builds(Rate, st.integers(1, 10**7), st.integers(1, 10**5), st.integers(100, 10**7)),
    st.none() | st.integers(1, 4),
    st.none() | st.builds(Quota, st.integers(1, 500), st.integers(1, 1000), st.sampled_from(["calls", "rows"])),
)
names = st.sampled_from("abcdef")
asks = st.one_of(
    st.builds(Admit, st.integers(0, 300), st.integers(1, 3), st.sampled_from([0, 1, 50, 5000, 10**6]), names),
    st.builds(Release, names),
)
gaps = st.one_of(st.integers(0, 2000), st.integers(0, 10**8), st.integers(-(10**7), 10**10))


@pytest.fixture(scope="module")
def client() -> Iterator[redis.Redis]:
    with tempfile.TemporaryDirectory(prefix="sg") as folder, running(Path(folder)) as server:
        client = redis.Redis(unix_socket_path=str(server.socket))
        yield client
        client.close()


def affordable(limits: Limits, ask: Admit | Release) -> bool:
    """What the stage asks a store: never more calls than the burst nor more rows than the limit."""
    if isinstance(ask, Release):
        return True
    try:
        check_cost(limits, ask.rows)
    except PayloadTooLargeError:
        return False
    calls = [limits.calls.burst] if limits.calls else []
    calls += [limits.quota.amount] if limits.quota and limits.quota.counts == "calls" else []
    return all(ask.calls <= most for most in calls)


@needs_redis
@settings(max_examples=100, deadline=None)
@given(
    before=limits,
    after=limits,
    schedule=st.lists(st.tuples(gaps, st.lists(asks, min_size=1, max_size=6)), min_size=2, max_size=25),
)
def test_lua_and_python_decide_alike(
    client: redis.Redis, before: Limits, after: Limits, schedule: list[tuple[int, list[Admit | Release]]]
) -> None:
    now_us = _START_US
    memory = MemoryCounterStore(monotonic_us=lambda: now_us, epoch_us=lambda: now_us)
    caller = f"t/{next(_callers)}"
    for step, (gap_us, some) in enumerate(schedule):
        limits = before if step < len(schedule) // 2 else after
        now_us += gap_us
        group = Group(caller, limits, tuple(ask for ask in some if affordable(limits, ask)))
        if not any(isinstance(ask, Admit) for ask in group.asks):
            continue  # only Redis looks at the time then: with a clock that goes back, that could be told apart
        pipeline = client.pipeline(transaction=False)
        pipeline.hset("clock", mapping={"s": now_us // 1_000_000, "us": now_us % 1_000_000})
        pipeline.eval(_SCRIPT, 2, *limits_redis.keys(caller), *limits_redis._arguments(group))
        _, reply = pipeline.execute()
        ours = memory.decide_now(group)
        assert plain(limits, ours.decisions) == plain(limits, limits_redis._read(group, reply))


def plain(limits: Limits, decisions: tuple[Decision | None, ...]) -> list[object]:
    """Decisions without what is kept of limits that no longer hold."""
    rows: list[object] = []
    for decision in decisions:
        if decision is None:
            rows.append(None)
            continue
        usage = decision.usage
        refused = (getattr(decision, "limit", None), getattr(decision, "wait_us", 0))
        levels = (usage.calls_level if limits.calls else 0, usage.rows_level if limits.rows else 0)
        quota = usage.quota_used if limits.quota else 0
        leases = usage.in_flight if limits.concurrent is not None else 0
        rows.append((refused, usage.now_us, levels, quota, leases))
    return rows


def test_an_answer_has_a_place_for_each_ask() -> None:
    group = Group("t/a", Limits(), (Admit(1), Release("x"), Admit(1)))
    answer = Answer(limits_redis._read(group, b"10 0 0 1 2 3 4 2 7 1 2 3 4"))
    assert [decision is None for decision in answer.decisions] == [False, True, False]
