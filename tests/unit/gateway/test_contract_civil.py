"""Dates and datetimes keep their value, to the last bit, between text and number."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.contract.civil import format_date, format_datetime, parse_date, parse_datetime
from tests.unit.gateway.contract_cases import seconds_of


@pytest.mark.parametrize(
    ("text", "days"),
    [("1970-01-01", 0), ("1969-12-31", -1), ("2024-02-29", 19782), ("0001-01-01", -719162), ("9999-12-31", 2932896)],
)
def test_a_date_is_days_since_1970(text: str, days: int) -> None:
    assert parse_date(text) == days
    assert format_date(days) == text


@pytest.mark.parametrize(
    "text",
    ["2023-02-29", "2024-2-9", "20240229", "2024-02-29 ", "0000-01-01", "2024-13-01", "٢٠٢٤-01-01", "", "2024-02-29Z"],
)
def test_what_is_no_calendar_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 — the message is the caller's to write
        parse_date(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("1970-01-01t00:00:00z", 0.0),
        ("1970-01-01 01:00:00+01:00", 0.0),
        ("1969-12-31T23:59:59.5Z", -0.5),
        ("2024-02-29T12:00:00.25+01:00", 1709204400.25),
        ("1970-01-01T00:00:00-00:30", 1800.0),
        ("2001-09-09T01:46:40.123456789Z", 1000000000.123456789),
    ],
)
def test_a_datetime_is_seconds_since_1970_in_utc(text: str, seconds: float) -> None:
    assert parse_datetime(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-01", "2024-01-01T00:00:00", "2024-01-01T00:00Z", "2024-01-01T24:00:00Z", "2024-01-01T00:60:00Z",
        "2016-12-31T23:59:60Z", "2024-02-30T00:00:00Z", "2024-01-01T00:00:00+25:00", "2024-01-01T00:00:00.Z",
        "2024-01-01T00:00:00+0100", "1704067200", "2024-01-01T00:00:00." + "1" * 401 + "Z",
        "2024-01-01T00:00:00." + "0" * 401 + "Z",
    ],
)  # fmt: skip
def test_what_is_no_rfc_3339_datetime_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_datetime(text)


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)))  # noqa: DTZ001
def test_it_agrees_with_the_standard_library(moment: datetime) -> None:
    assert math.isclose(parse_datetime(moment.isoformat()), seconds_of(moment), rel_tol=1e-15)


@given(st.floats(-62_135_596_800, 253_402_300_799))
def test_a_datetime_comes_back_to_the_last_bit(seconds: float) -> None:
    text = format_datetime(seconds)
    assert text is not None
    assert parse_datetime(text).hex() == (seconds + 0.0).hex()


@given(st.integers(-10_000, 10_000), st.text("0123456789", min_size=1, max_size=30))
def test_a_fraction_is_rounded_once(second: int, fraction: str) -> None:
    text = format_datetime(second)
    assert text is not None
    exact = second + Fraction(int(fraction), 10 ** len(fraction))
    assert parse_datetime(text[:-1] + f".{fraction}Z") == float(exact)


@given(st.integers(-(10**9), 10**9))
def test_a_year_outside_four_digits_is_written_with_a_sign(days: int) -> None:
    text = format_date(days)
    assert text is not None
    year = text[: text.rindex("-", 0, text.rindex("-"))]
    assert len(year) == 4 or year[0] in "+-"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_has_no_text(number: float) -> None:
    assert format_date(number) is None
    assert format_datetime(number) is None
