"""When to ask Entra ID for its keys again, and what may be believed meanwhile: decides for `gateway.shell.keys`.

The facts that force it: keys change without notice, so an unknown `kid` must be looked up; anyone can invent a `kid`,
so that must not happen more than every 30 s; and Entra can be away, which must neither stop known keys from working
nor be answered as if the caller were at fault.

Times are seconds of a monotonic clock. Keys are opaque here, and compared with `==`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, TypeVar

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class KeyTimes:
    """Seconds."""

    #: Between two refreshes in the background while all is well.
    refresh_s: float = 3600
    #: Between two refetches that unknown kids cause.
    unknown_kid_s: float = 30
    #: How long the last keys obtained are used when no newer ones can be had.
    keep_s: float = 24 * 3600
    #: After a failure: the first pause and the longest, doubled in between.
    retry_first_s: float = 1
    retry_most_s: float = 30


class Verdict(Enum):
    """What to do about a kid that is not among the keys in use."""

    FETCH = auto()  # ask Entra, then look again
    UNKNOWN = auto()  # Entra was asked and does not publish it: the caller's fault
    UNAVAILABLE = auto()  # Entra cannot be asked just now: nobody's fault here


@dataclass(slots=True)
class KeyRing(Generic[K]):
    """The keys in use, and when they were asked for. One per process; change it from one place at a time."""

    times: KeyTimes = field(default_factory=KeyTimes)
    keys: Mapping[str, K] = field(default_factory=dict)
    obtained_at: float | None = None
    _asked_for_unknown_at: float | None = None
    _attempted_at: float | None = None
    _failures: int = 0

    def current(self, kid: str, now: float) -> K | None:
        """The key, if it may still be used."""
        return self.keys.get(kid) if self.usable(now) else None

    def usable(self, now: float) -> bool:
        """Whether keys were obtained within the last `keep_s`."""
        return self.obtained_at is not None and now - self.obtained_at < self.times.keep_s

    def judge_missing(self, now: float) -> Verdict:
        """For a kid that `current` does not give. FETCH is said once per allowance: saying it uses it up."""
        if not self.usable(now):
            if self._attempted_at is not None and now < self._attempted_at + self._pause_s():
                return Verdict.UNAVAILABLE
            return Verdict.FETCH
        if self._asked_for_unknown_at is None or now >= self._asked_for_unknown_at + self.times.unknown_kid_s:
            self._asked_for_unknown_at = now
            return Verdict.FETCH
        # Asked a moment ago. If that failed, this kid may well be a new key of Entra's.
        return Verdict.UNAVAILABLE if self._failures else Verdict.UNKNOWN

    def judge_after_fetch(self, now: float) -> Verdict:
        """For a kid that is still missing after the fetch that FETCH asked for: UNKNOWN or UNAVAILABLE."""
        return Verdict.UNAVAILABLE if self._failures or not self.usable(now) else Verdict.UNKNOWN

    def retry_after_s(self, now: float) -> float:
        """After UNAVAILABLE: when asking again can have another answer."""
        waits = [0.0]
        if self._attempted_at is not None:
            waits.append(self._attempted_at + self._pause_s() - now)
        return max(waits)

    def next_refresh_at(self, now: float) -> float:
        """When the background should ask next."""
        if self._attempted_at is None:
            return now
        return self._attempted_at + (self._pause_s() if self._failures else self.times.refresh_s)

    def obtained(self, keys: Mapping[str, K], now: float) -> None:
        """New keys arrived."""
        # A key that stays is the same object: "verified with this very key" is then a comparison of identities.
        known = self.keys
        self.keys = {kid: known[kid] if kid in known and known[kid] == key else key for kid, key in keys.items()}
        self.obtained_at = self._attempted_at = now
        self._failures = 0

    def failed(self, now: float) -> None:
        """Asked in vain. The keys in use stay."""
        self._attempted_at = now
        self._failures += 1

    def _pause_s(self) -> float:
        return min(self.times.retry_most_s, self.times.retry_first_s * 2.0 ** min(max(self._failures - 1, 0), 30))
