"""The response fields, as draft-ietf-httpapi-ratelimit-headers-11 writes them, and the refusal a caller reads."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.admission import Admit, Admitted, Counters, Refused, Usage, check_cost, refusal
from gateway.core.limits import Limits, Quota, Rate
from gateway.core.problem_json import retry_after_s
from gateway.core.ratelimit_fields import fields
from shared.errors import PayloadTooLargeError

HOUR = 3600
ALL = Limits(Rate(100, HOUR, 100), Rate(50_000, HOUR, 10_000), 8, Quota(1_000_000, 86_400, "rows"))
NOON_US = 1_790_000_000_000_000 // 86_400_000_000 * 86_400_000_000 + 43_200_000_000

limits = st.builds(
    Limits,
    st.none() | st.builds(Rate, st.integers(1, 1000), st.integers(1, 10_000), st.integers(1, 1000)),
    st.none() | st.builds(Rate, st.integers(1, 10**6), st.integers(1, 10_000), st.integers(1, 10**6)),
    st.none() | st.integers(1, 5),
    st.none() | st.builds(Quota, st.integers(1, 10**4), st.integers(1, 10**6), st.sampled_from(["calls", "rows"])),
)


def test_the_policy_names_each_limit_and_its_unit() -> None:
    assert fields(ALL, Usage(NOON_US))["RateLimit-Policy"] == (
        '"calls";q=100;w=3600, "rows";q=50000;qu="rows";w=3600;scoregate-burst=10000, '
        '"concurrent";q=8;qu="concurrent-requests", "quota";q=1000000;qu="rows";w=86400'
    )


def test_the_field_says_what_is_left_and_when_there_is_more() -> None:
    counters = Counters()
    decision = counters.admit(ALL, Admit(rows=10, lease_ms=1000, lease_id="a"), NOON_US)
    assert fields(ALL, decision.usage)["RateLimit"] == (
        '"calls";r=99;t=36, "rows";r=9990;t=1, "concurrent";r=7, "quota";r=999990;t=43200'
    )


def test_where_nothing_is_limited_nothing_is_said() -> None:
    assert fields(Limits(), Usage(NOON_US)) == {}


@given(limits, st.lists(st.tuples(st.integers(0, 10**8), st.integers(0, 1000)), min_size=1, max_size=40))
def test_the_fields_are_structured_fields_and_never_promise_less_than_retry_after(
    limits: Limits, schedule: list[tuple[int, int]]
) -> None:
    counters, now_us = Counters(), NOON_US
    item = r'"[a-z]+"(;[a-z-]+=(\d{1,15}|"[a-z-]+"))+'
    for number, (gap_us, rows) in enumerate(schedule):
        now_us += gap_us
        try:
            check_cost(limits, rows)
        except PayloadTooLargeError:
            continue
        decision = counters.admit(limits, Admit(rows, 1, 1000, str(number)), now_us)
        values = fields(limits, decision.usage)
        assert all(re.fullmatch(rf"{item}(, {item})*", value) for value in values.values())
        if isinstance(decision, Refused) and decision.limit != "concurrent":
            # Retry-After SHOULD NOT reference a point in time earlier than the end of the effective window.
            effective = re.search(rf'"{decision.limit}";r=\d+;t=(\d+)', values["RateLimit"])
            assert effective is not None
            assert retry_after_s(decision.retry_after_ms) >= int(effective[1])


@given(limits, st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 1000)), min_size=1, max_size=40))
def test_who_waits_out_its_refusal_passes_and_a_refusal_charges_nothing(
    limits: Limits, schedule: list[tuple[int, int]]
) -> None:
    counters, now_us = Counters(), NOON_US
    for number, (gap_us, rows) in enumerate(schedule):
        now_us += gap_us
        try:
            check_cost(limits, rows)
        except PayloadTooLargeError:
            continue
        ask = Admit(rows, 1, 1 + number % 7, str(number))
        decision = counters.admit(limits, ask, now_us)
        if isinstance(decision, Admitted):
            continue
        assert counters.peek(limits, ask, now_us) == decision
        now_us += decision.retry_after_ms * 1000
        assert isinstance(counters.admit(limits, ask, now_us), Admitted)


@pytest.mark.parametrize(
    ("limit", "reason", "text"),
    [
        ("calls", "rate_limited", "your limit of 100 calls per 3600 s is reached; try again in 1500 ms"),
        ("rows", "rate_limited", "your limit of 50000 rows per 3600 s is reached; try again in 1500 ms"),
        ("quota", "quota_exceeded", "your limit of 1000000 rows per 86400 s is reached; try again in 1500 ms"),
        ("concurrent", "concurrency_limited", "your limit of 8 requests at once is reached; try again in 1500 ms, or"),
    ],
)
def test_a_refusal_names_its_limit(limit: str, reason: str, text: str) -> None:
    error = refusal(ALL, Refused(limit, 1_499_001, Usage(NOON_US)), {"RateLimit": "x"})  # type: ignore[arg-type]
    assert (error.status, error.reason, error.retry_after_ms) == (429, reason, 1500)
    assert error.detail.startswith(text)
    assert error.headers == {"RateLimit": "x"}
