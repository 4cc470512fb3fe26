"""What a caller is allowed per time: the values a policy states and the limiter enforces.

Everything here is a plain value: amounts are whole and positive, times are seconds. `None` always means "no such limit".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `burst` at once and `amount` per `period_s` seconds in the long run (GCRA)."""

    amount: int
    period_s: int
    burst: int


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `amount` calls or rows in each fixed window of `window_s` seconds."""

    amount: int
    window_s: int
    counts: Literal["calls", "rows"]


@dataclass(frozen=True, slots=True)
class Limits:
    """All that bounds one caller."""

    calls: Rate | None = None
    rows: Rate | None = None
    concurrent: int | None = None
    quota: Quota | None = None
