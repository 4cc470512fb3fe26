"""What a caller is allowed per time: the values a policy states and the limiter enforces.

Everything here is a plain value: amounts are whole and positive, times are seconds. `None` always means "no such limit".
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Rate(msgspec.Struct, frozen=True, cache_hash=True):
    """At most `burst` at once and `amount` per `period_s` seconds in the long run (GCRA)."""

    amount: int
    period_s: int
    burst: int


class Quota(msgspec.Struct, frozen=True, cache_hash=True):
    """At most `amount` calls or rows in each fixed window of `window_s` seconds."""

    amount: int
    window_s: int
    counts: Literal["calls", "rows"]


class Limits(msgspec.Struct, frozen=True, cache_hash=True):
    """All that bounds one caller."""

    calls: Rate | None = None
    rows: Rate | None = None
    concurrent: int | None = None
    quota: Quota | None = None
