"""The rule of the `admit` stage for one caller: one call and n rows, all or nothing; and who holds a place at once.

Rates are GCRA (gcra.py), the quota is a fixed window that starts at a multiple of its length since 1970, concurrency is
leases that end at the request's deadline. `shell/lua/admit.lua` is the same rule inside Redis: change both. Pure: time
is an argument, in microseconds of whatever clock the store keeps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec

from gateway.core.gcra import Meter, scale
from gateway.core.limits import Limits, Quota
from shared.errors import PayloadTooLargeError, TooManyRequestsError

#: No request lives longer, so no lease does: a place is never held for good.
MAX_LEASE_MS = 120_000

Limit = Literal["calls", "rows", "concurrent", "quota"]
_REASONS: dict[Limit, str] = {
    "calls": "rate_limited",
    "rows": "rate_limited",
    "concurrent": "concurrency_limited",
    "quota": "quota_exceeded",
}


# --- what is asked


class Admit(msgspec.Struct, frozen=True):
    """One request's cost; with a `lease_ms` above 0 it also needs a place among the concurrent ones for that long."""

    rows: int
    calls: int = 1
    lease_ms: int = 0
    lease_id: str = ""


class Release(msgspec.Struct, frozen=True):
    """The request with this lease is over. An unknown or expired lease is no error."""

    lease_id: str


class Group(msgspec.Struct, frozen=True):
    """What one caller asks in one trip, decided in this order."""

    caller_key: str
    limits: Limits
    asks: tuple[Admit | Release, ...]


# --- what is answered


class Usage(msgspec.Struct, frozen=True):
    """Where a caller stands after a decision: bucket levels (in the parts of their scale), quota used, leases held."""

    now_us: int
    calls_level: int = 0
    rows_level: int = 0
    quota_used: int = 0
    in_flight: int = 0


class Admitted(msgspec.Struct, frozen=True):
    """The cost has been charged; a lease, if one was asked for and limited, is held."""

    usage: Usage


class Refused(msgspec.Struct, frozen=True):
    """Nothing was charged. `wait_us`: the same request passes after that time if nothing else of this caller comes."""

    limit: Limit
    wait_us: int
    usage: Usage

    @property
    def retry_after_ms(self) -> int:
        """Whole milliseconds, rounded up, at least 1."""
        return max(1, -(-self.wait_us // 1000))


Decision = Admitted | Refused


class Answer(msgspec.Struct, frozen=True):
    """One decision for each `Admit` of a group, in order, None for each `Release`."""

    decisions: tuple[Decision | None, ...]


class StoreAwayError(Exception):
    """The shared counters did not answer, or answered with an error; whether they counted is unknown."""


class CounterStore(Protocol):
    """Keeps callers' counters. One suite of tests (tests/service/test_limits_contract.py) holds for every store."""

    async def decide(self, groups: Iterable[Group]) -> list[Answer | StoreAwayError]:
        """One answer per group, in order.

        A group is atomic against every other user of the store. Never retries what may have been counted. Raises
        StoreAwayError if no group was answered.
        """

    async def probe(self) -> None:
        """Returns if `decide` would work, everywhere the counters are; raises StoreAwayError if not."""

    async def aclose(self) -> None:
        """Closes connections. Once."""


# --- the rule


class _Now(msgspec.Struct, frozen=True):
    """A caller's counters brought to one moment."""

    limits: Limits
    now_us: int
    calls: Meter
    rows: Meter
    quota_window: int
    quota_used: int


@dataclass(slots=True)
class Counters:
    """All that is counted for one caller. Leases end at the microsecond they are mapped to."""

    calls: Meter = field(default_factory=Meter)
    rows: Meter = field(default_factory=Meter)
    quota_window: int = 0
    quota_used: int = 0
    leases: dict[str, int] = field(default_factory=dict)
    #: No lease ends before; looked at again once it has come, or if the clock went back behind `_looked_us`.
    _ends_us: int = 0
    _looked_us: int = 0

    def admit(self, limits: Limits, ask: Admit, now_us: int) -> Decision:
        """Charges `ask` or nothing. Of several limits in the way the one that lasts longest is named."""
        now = self._at(limits, now_us)
        if (refused := self._obstacle(now, ask)) is not None:
            return refused
        self._keep(now)
        if limits.calls:
            self.calls = now.calls.poured(scale(limits.calls), ask.calls)
        if limits.rows:
            self.rows = now.rows.poured(scale(limits.rows), ask.rows)
        if limits.quota:
            self.quota_used += _quota_cost(limits.quota, ask)
        if limits.concurrent is not None and ask.lease_ms > 0:
            self.hold(ask, now_us)
        return Admitted(Usage(now_us, self.calls.level, self.rows.level, self.quota_used, len(self.leases)))

    def peek(self, limits: Limits, ask: Admit, now_us: int) -> Refused | None:
        """What `admit` would refuse; charges nothing."""
        return self._obstacle(self._at(limits, now_us), ask)

    def hold(self, ask: Admit, now_us: int) -> None:
        """Takes a place until the lease ends."""
        ends_us = now_us + min(ask.lease_ms, MAX_LEASE_MS) * 1000
        self._ends_us = min(self._ends_us, ends_us) if self.leases else ends_us
        self.leases[ask.lease_id] = ends_us

    def release(self, lease_id: str) -> None:
        """Gives the place back; an unknown lease is no error."""
        self.leases.pop(lease_id, None)

    def _at(self, limits: Limits, now_us: int) -> _Now:
        if self.leases and (now_us >= self._ends_us or now_us < self._looked_us):
            ends = now_us + MAX_LEASE_MS * 1000  # a lease beyond that is a leftover of a clock that went back
            self.leases = {lease: until for lease, until in self.leases.items() if now_us < until <= ends}
            self._ends_us = min(self.leases.values(), default=0)
        self._looked_us = now_us
        calls = self.calls.leaked(scale(limits.calls), now_us) if limits.calls else self.calls
        rows = self.rows.leaked(scale(limits.rows), now_us) if limits.rows else self.rows
        window = now_us // (limits.quota.window_s * 1_000_000) if limits.quota else 0
        used = self.quota_used if self.quota_window >= window else 0  # a clock that went back keeps what was used
        now = _Now(limits, now_us, calls, rows, window, used)
        if (
            (limits.calls and self.calls.at_us > now_us)
            or (limits.rows and self.rows.at_us > now_us)
            or (limits.quota and self.quota_window > window)
        ):
            self._keep(now)  # the clock went back: count on from here, not only when the old time comes again
        return now

    def _keep(self, now: _Now) -> None:
        self.calls, self.rows = now.calls, now.rows
        if now.limits.quota:
            self.quota_window, self.quota_used = now.quota_window, now.quota_used

    def _obstacle(self, now: _Now, ask: Admit) -> Refused | None:
        limits, now_us = now.limits, now.now_us
        waits: list[tuple[int, Limit]] = []
        if limits.calls:
            waits.append((now.calls.wait_us(scale(limits.calls), ask.calls, now_us), "calls"))
        if limits.rows:
            waits.append((now.rows.wait_us(scale(limits.rows), ask.rows, now_us), "rows"))
        cost = _quota_cost(limits.quota, ask) if limits.quota else 0
        if limits.quota and cost > 0 and now.quota_used + cost > limits.quota.amount:
            waits.append(((now.quota_window + 1) * limits.quota.window_s * 1_000_000 - now_us, "quota"))
        if limits.concurrent is not None and ask.lease_ms > 0 and len(self.leases) >= limits.concurrent:
            waits.append((sorted(self.leases.values())[len(self.leases) - limits.concurrent] - now_us, "concurrent"))
        wait_us, limit = max(waits, key=lambda wait: wait[0], default=(0, None))
        if limit is None or wait_us <= 0:
            return None
        return Refused(limit, wait_us, Usage(now_us, now.calls.level, now.rows.level, now.quota_used, len(self.leases)))


def _quota_cost(quota: Quota, ask: Admit) -> int:
    return ask.calls if quota.counts == "calls" else ask.rows


def check_cost(limits: Limits, rows: int) -> None:
    """Raises PayloadTooLargeError for more rows than the whole limit: no wait would let them through."""
    most: list[tuple[int, str]] = []
    if limits.rows:
        most.append((limits.rows.burst, f"rows at once ({limits.rows.amount} rows per {limits.rows.period_s} s)"))
    if limits.quota and limits.quota.counts == "rows":
        most.append((limits.quota.amount, f"rows per {limits.quota.window_s} s"))
    for amount, name in most:
        if rows > amount:
            raise PayloadTooLargeError(
                f"{rows} rows are more than your whole limit of {amount} {name}; send fewer rows per request",
                reason="rows_over_limit",
            )


def refusal(limits: Limits, refused: Refused, headers: dict[str, str]) -> TooManyRequestsError:
    """The error for the caller: which limit, and how long to wait."""
    texts: dict[Limit, str] = {}
    if limits.calls:
        texts["calls"] = f"{limits.calls.amount} calls per {limits.calls.period_s} s"
    if limits.rows:
        texts["rows"] = f"{limits.rows.amount} rows per {limits.rows.period_s} s"
    if limits.quota:
        texts["quota"] = f"{limits.quota.amount} {limits.quota.counts} per {limits.quota.window_s} s"
    if limits.concurrent is not None:
        texts["concurrent"] = f"{limits.concurrent} requests at once"
    wait_ms = refused.retry_after_ms
    sooner = ", or sooner when one of yours has ended" if refused.limit == "concurrent" else ""
    return TooManyRequestsError(
        f"your limit of {texts[refused.limit]} is reached; try again in {wait_ms} ms{sooner}",
        retry_after_ms=wait_ms,
        reason=_REASONS[refused.limit],
        headers=headers,
    )
