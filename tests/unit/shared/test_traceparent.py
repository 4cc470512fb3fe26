"""`traceparent` as W3C's Trace Context has it: what is not exactly one counts for nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.traceparent import Traceparent, parse_traceparent, traceparent_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (GOOD, True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"00-{TRACE}-{SPAN}-02", False),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"01-{TRACE}-{SPAN}-01-what-comes-later", True),
    ],
)
def test_a_good_one_is_read(text: str, sampled: bool) -> None:
    assert parse_traceparent(text.encode()) == Traceparent(int(TRACE, 16), int(SPAN, 16), sampled)


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD.upper(),
        GOOD + "-more",
        GOOD + "-",
        GOOD + "0",
        GOOD[:-1],
        GOOD.replace("-", "_"),
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0x",
        f"01-{TRACE}-{SPAN}-01more",
        f"{GOOD}, {GOOD}",
        f"{GOOD}\n",
    ],
)
def test_what_is_not_exactly_one_is_none(text: str) -> None:
    assert parse_traceparent(text.encode()) is None


@given(st.binary(max_size=80))
def test_whatever_comes_it_is_one_or_none(value: bytes) -> None:
    found = parse_traceparent(value)
    assert found is None or (found.trace_id > 0 and found.span_id > 0)


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_is_written_is_read_again(trace_id: int, span_id: int, sampled: bool) -> None:
    one = Traceparent(trace_id, span_id, sampled)
    assert parse_traceparent(one.header().encode()) == one


def test_two_fields_count_for_nothing_and_other_fields_do_not_matter() -> None:
    field = (b"traceparent", GOOD.encode())
    assert traceparent_of([(b"host", b"x"), field]) is not None
    assert traceparent_of([field, field]) is None
    assert traceparent_of([(b"tracestate", GOOD.encode())]) is None
