"""The rate limit: GCRA in its leaky-bucket form (ITU-T I.371, annex A), in whole numbers.

A unit (a call, a row) pours `parts` into a bucket that leaks `leak` parts each tick; what would overflow `capacity` is
refused. So in any time t at most burst + rate * t units pass, and no rounding lets one more or one fewer through. Every
number stays below 2^53: the Lua script keeps the same state in doubles and comes to the same answer, bit for bit. Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from gateway.core.limits import Limits, Rate

#: Sums of two capacities stay exact in a double.
_EXACT = 2**52
_TICKS_US = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class Scale:
    """A rate in whole numbers: a unit is `parts`, `leak` parts go in each `tick_us`, `capacity` parts are the burst."""

    parts: int
    leak: int
    capacity: int
    tick_us: int

    def left(self, level: int) -> int:
        """Units that would pass now."""
        return (self.capacity - level) // self.parts

    def next_us(self, level: int) -> int:
        """Microseconds until one unit more than `left` would pass; of an empty bucket, the time between two units."""
        short = level % self.parts or self.parts
        return -(-short // self.leak) * self.tick_us


@lru_cache(maxsize=1024)
def scale(rate: Rate) -> Scale:
    """The finest scale that is exact, in microseconds for all but odd large amounts.

    Raises ValueError for a rate that is not positive, or too large to count exactly (a burst times period of 4.5e15 s).
    """
    if min(rate.amount, rate.period_s, rate.burst) < 1:
        raise ValueError("a rate's amount, period and burst are at least 1")
    for tick_us in _TICKS_US:
        period = rate.period_s * 1_000_000 // tick_us
        shared = math.gcd(period, rate.amount)
        parts, leak = period // shared, rate.amount // shared
        if rate.burst * parts <= _EXACT and leak <= _EXACT:
            return Scale(parts, leak, rate.burst * parts, tick_us)
    raise ValueError("a rate of so many in so long cannot be counted exactly")


@lru_cache(maxsize=1024)
def scales(limits: Limits) -> tuple[Scale | None, Scale | None]:
    """The scales of calls and of rows. Raises ValueError as `scale` does: call it when a policy is read."""
    return scale(limits.calls) if limits.calls else None, scale(limits.rows) if limits.rows else None


class Meter(msgspec.Struct, frozen=True):
    """One bucket: `level` parts at `at_us`, in a scale where a unit is `parts` (0: never used)."""

    level: int = 0
    at_us: int = 0
    parts: int = 0

    def leaked(self, by: Scale, now_us: int) -> Meter:
        """The bucket at `now_us`. A changed rate keeps the units in it; a clock that went back leaks nothing."""
        level = self.level
        if self.parts not in (0, by.parts):
            level = math.floor(level / self.parts * by.parts)
        ticks = max(0, now_us - self.at_us) // by.tick_us
        level = min(level, by.capacity) - ticks * by.leak
        if level <= 0:
            return Meter(0, now_us, by.parts)
        return Meter(level, min(self.at_us + ticks * by.tick_us, now_us), by.parts)

    def wait_us(self, by: Scale, units: int, now_us: int) -> int:
        """Microseconds until `units` pass if nothing else comes, 0 for now; of the bucket as `leaked` at `now_us`."""
        over = self.level + units * by.parts - by.capacity
        return 0 if over <= 0 else self.at_us + -(-over // by.leak) * by.tick_us - now_us

    def poured(self, by: Scale, units: int) -> Meter:
        """The bucket with the units in it; `wait_us` was 0."""
        return Meter(self.level + units * by.parts, self.at_us, self.parts)
