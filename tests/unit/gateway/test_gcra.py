"""GCRA in whole numbers: the bound it promises, no rounding in it, waits neither too short nor too long."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.core.admission import Admit, Admitted, Counters, Refused
from gateway.core.gcra import Meter, scale
from gateway.core.limits import Limits, Rate
from gateway.core.ratelimit_fields import limit_field

_TIMELINE = Path(__file__).parents[3] / "docs/reference/limits.md"

rates = st.builds(Rate, st.integers(1, 10**7), st.integers(1, 100_000), st.integers(1, 10**6))
#: Gaps between requests: none, a few microseconds, up to hours.
gaps = st.one_of(st.just(0), st.integers(0, 1000), st.integers(0, 10**7), st.integers(0, 10**11))


class Bucket:
    """A meter as the stores keep it: it changes when units are admitted."""

    def __init__(self, meter: Meter = Meter()) -> None:  # noqa: B008  frozen
        self.meter = meter


def admit(bucket: Bucket, rate: Rate, units: int, now_us: int) -> int:
    """0 and the units are taken, or the microseconds to wait."""
    by = scale(rate)
    leaked = bucket.meter.leaked(by, now_us)
    wait_us = leaked.wait_us(by, units, now_us)
    if wait_us == 0:
        bucket.meter = leaked.poured(by, units)
    return wait_us


@given(rates, st.lists(st.tuples(gaps, st.integers(1, 1000)), min_size=1, max_size=80))
def test_in_any_time_at_most_burst_plus_rate_times_time_pass(rate: Rate, schedule: list[tuple[int, int]]) -> None:
    bucket, now_us, passed = Bucket(), 1_790_000_000_000_000, []
    for gap_us, units in schedule:
        now_us += gap_us
        if units <= rate.burst and admit(bucket, rate, units, now_us) == 0:
            passed.append((now_us, units))
    for start in range(len(passed)):
        units = 0
        for at_us, more in passed[start:]:
            units += more
            elapsed_us = at_us - passed[start][0]
            assert (units - rate.burst) * rate.period_s * 1_000_000 <= rate.amount * elapsed_us


@given(rates)
def test_the_whole_burst_passes_at_once_and_not_one_more(rate: Rate) -> None:
    bucket = Bucket()
    assert admit(bucket, rate, rate.burst, 10**15) == 0
    assert admit(bucket, rate, 1, 10**15) > 0


@given(rates, st.lists(st.tuples(gaps, st.integers(1, 1000)), max_size=30), st.integers(1, 1000))
def test_the_wait_is_enough_and_a_tick_less_is_not(rate: Rate, schedule: list[tuple[int, int]], units: int) -> None:
    assume(units <= rate.burst)
    bucket, now_us = Bucket(), 10**15
    for gap_us, before in schedule:
        now_us += gap_us
        if before <= rate.burst:
            admit(bucket, rate, before, now_us)
    wait_us = admit(bucket, rate, units, now_us)
    if wait_us:
        early = Bucket(bucket.meter)
        assert admit(early, rate, units, now_us + wait_us - 1) > 0
        assert admit(bucket, rate, units, now_us + wait_us) == 0


@given(rates)
def test_a_steady_caller_loses_nothing_to_rounding(rate: Rate) -> None:
    """After the burst, who waits out each refusal gets the rate, to the tick, over a hundred units."""
    assume(rate.burst > 1)  # with a burst of 1 each unit waits to the next whole tick
    bucket, now_us = Bucket(), 10**15
    admit(bucket, rate, rate.burst, now_us)
    for _ in range(100):
        while wait_us := admit(bucket, rate, 1, now_us):
            now_us += wait_us
    ideal_us = 100 * rate.period_s * 1_000_000 / rate.amount
    assert ideal_us <= now_us - 10**15 <= ideal_us + scale(rate).tick_us


@given(rates)
def test_every_number_is_exact_in_a_double(rate: Rate) -> None:
    by = scale(rate)
    assert max(2 * by.capacity, by.leak, by.parts) <= 2**53
    assert by.parts * rate.amount * by.tick_us == by.leak * rate.period_s * 1_000_000


def test_a_rate_beyond_counting_is_refused() -> None:
    with pytest.raises(ValueError, match="counted exactly"):
        scale(Rate(10**12 - 11, 10**9, 10**12 - 11))
    for rate in (Rate(0, 1, 1), Rate(1, 0, 1), Rate(1, 1, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            scale(rate)


@given(rates, st.integers(1, 10**12))
def test_a_clock_that_goes_back_gives_nothing_away_and_locks_nobody_out(rate: Rate, back_us: int) -> None:
    limits, counters, now_us = Limits(calls=rate), Counters(), 10**15
    assert isinstance(counters.admit(limits, Admit(0, rate.burst), now_us), Admitted)
    refused = counters.admit(limits, Admit(0), now_us - back_us)
    assert isinstance(refused, Refused)
    assert refused.wait_us <= rate.period_s * 1_000_000 // rate.amount + scale(rate).tick_us
    assert isinstance(counters.admit(limits, Admit(0), now_us - back_us + refused.wait_us), Admitted)


def test_what_is_left_and_when_there_is_more() -> None:
    by = scale(Rate(100, 3600, 100))
    assert (by.left(0), by.next_us(0)) == (100, 36_000_000)
    assert (by.left(by.parts * 3), by.next_us(by.parts * 3)) == (97, 36_000_000)
    half = by.parts * 3 + by.parts // 2
    assert (by.left(half), by.next_us(half)) == (96, 18_000_000)


def test_the_documented_timeline_is_what_happens() -> None:
    """The table in docs/reference/limits.md, of 6 per 60 s with a burst of 3."""
    table = re.findall(
        r'^\| (\d+) s \| (\d) .*? \| (admitted|refused, wait (\d+) s) \| ([\d.]+) \| `("calls".*?)` \|$',
        _TIMELINE.read_text("utf-8"),
        re.MULTILINE,
    )
    assert len(table) == 10
    limits, counters = Limits(calls=Rate(6, 60, 3)), Counters()
    for at_s, units, _, wait_s, level, field in table:
        decision = counters.admit(limits, Admit(0, int(units)), 10**15 + int(at_s) * 1_000_000)
        assert getattr(decision, "wait_us", 0) == int(wait_s or 0) * 1_000_000, at_s
        assert decision.usage.calls_level / scale(Rate(6, 60, 3)).parts == float(level)
        assert limit_field(limits, decision.usage) == field
