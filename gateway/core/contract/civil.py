"""Dates and datetimes between text and R's numbers: days, and seconds UTC, since 1970-01-01.

Text in is RFC 3339 (`full-date`, `date-time` with an offset); text out is read back to the same number, to the last bit.
Leap seconds have no number in R and are refused. Years are 0001 to 9999 on the way in; on the way out a year outside them is
written in ISO 8601's expanded form, with a sign and at least six digits.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from math import floor, isfinite

#: Digits of a second's fraction that are read; more are refused. A double's shortest text never has more than 345.
MAX_FRACTION_DIGITS = 400
_EPOCH = date(1970, 1, 1).toordinal()
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = 1 - _EPOCH, date.max.toordinal() - _EPOCH
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_DATETIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


def days_of(day: date) -> int:
    """Days since 1970-01-01."""
    return day.toordinal() - _EPOCH


def parse_date(text: str) -> int:
    """Days since 1970-01-01 of `YYYY-MM-DD`; raises ValueError for any other text and for days no calendar has."""
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError("not of the form YYYY-MM-DD")
    year, month, day = match.groups()
    return days_of(date(int(year), int(month), int(day)))


def parse_datetime(text: str) -> float:
    """Seconds since 1970-01-01T00:00:00Z, the double nearest to the text's exact value.

    RFC 3339 with `Z` or an offset; raises ValueError for anything else. `T` may be a space or lower case (section 5.6).
    """
    if len(text) == 20 and text[19] in "Zz" and text[4] == text[7] == "-" and text[13] == text[16] == ":":
        # The usual form, at C speed; where that refuses, the exact way says why.
        try:
            since = datetime.fromisoformat(text) - _EPOCH_UTC
        except ValueError:
            pass
        else:
            if text[10] in "Tt " and text[11:13] != "24":
                return float(since.days * 86_400 + since.seconds)
    match = _DATETIME.fullmatch(text)
    if match is None:
        raise ValueError("not of the form YYYY-MM-DDThh:mm:ssZ or with an offset like +01:00 for Z")
    year, month, day, hour, minute, second, fraction, sign, offset_hour, offset_minute = match.groups()
    if second == "60":
        raise ValueError("a leap second, which R cannot hold")
    if int(hour) > 23 or int(minute) > 59 or int(second) > 59:
        raise ValueError("not a time of day")
    seconds = (
        days_of(date(int(year), int(month), int(day))) * 86_400 + int(hour) * 3600 + int(minute) * 60 + int(second)
    )
    if sign:
        if int(offset_hour) > 23 or int(offset_minute) > 59:
            raise ValueError("not an offset from UTC")
        shift = int(offset_hour) * 3600 + int(offset_minute) * 60
        seconds += -shift if sign == "+" else shift
    if not fraction or not int(fraction[:MAX_FRACTION_DIGITS]):
        if fraction and len(fraction) > MAX_FRACTION_DIGITS:
            raise ValueError(f"more than {MAX_FRACTION_DIGITS} digits of a second")
        return float(seconds)
    if len(fraction) > MAX_FRACTION_DIGITS:
        raise ValueError(f"more than {MAX_FRACTION_DIGITS} digits of a second")
    if seconds >= 0:
        return float(f"{seconds}.{fraction}")
    return float(f"-{-seconds - 1}.{_complement(fraction)}")


def format_date(days: float) -> str | None:
    """`YYYY-MM-DD`, the day the number falls in, as R prints it; None for NA, NaN and infinities."""
    if not isfinite(days):
        return None
    return _day(floor(days))


def format_datetime(seconds: float) -> str | None:
    """RFC 3339 in UTC with as many digits as it takes to read the same double back; None for NA, NaN and infinities."""
    if not isfinite(seconds):
        return None
    fraction = ""
    if seconds == (whole := int(seconds)):
        second = whole
    else:
        digits, _, fraction = format(Decimal(repr(abs(seconds))), "f").partition(".")
        second = int(digits)
        if seconds < 0:
            second, fraction = -second - 1, _complement(fraction)
    days, rest = divmod(second, 86_400)
    text = f"{_day(days)}T{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{text}.{fraction}Z" if fraction else text + "Z"


def _complement(fraction: str) -> str:
    """The digits of one minus this fraction, which is not zero."""
    return str(10 ** len(fraction) - int(fraction)).zfill(len(fraction))


def _day(days: int) -> str:
    if _FIRST <= days <= _LAST:
        return date.fromordinal(days + _EPOCH).isoformat()
    # The Gregorian calendar repeats every 400 years of 146,097 days.
    cycles, rest = divmod(days - _FIRST, 146_097)
    day = date.fromordinal(rest + 1)
    year = day.year + 400 * cycles
    shown = f"{year:04d}" if 0 <= year <= 9999 else f"{year:+07d}"
    return f"{shown}-{day.month:02d}-{day.day:02d}"
