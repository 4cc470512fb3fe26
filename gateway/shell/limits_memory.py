"""Callers' counters in this process: the whole limiter without Redis, its stand-in while Redis is away, and what this
process knows of callers meanwhile, for `precheck`.

Bounded: beyond `max_callers` the one not seen for longest is forgotten, and starts afresh. Never waits.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gateway.core.admission import Admit, Admitted, Answer, Counters, Decision, Group, Refused, StoreAwayError, Usage
from gateway.core.gcra import Meter, scales
from gateway.core.limits import Limits


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000


def _epoch_us() -> int:
    return time.time_ns() // 1000


@dataclass(slots=True)
class _Known:
    """One caller. `shared`: these are the shared store's figures, at most what it has now; otherwise our own."""

    counters: Counters = field(default_factory=Counters)
    shared: bool = False
    #: As the shared store last said.
    in_flight: int = 0
    #: Under these limits the last decision left room in rates and quota; they only gain by time.
    roomy: Limits | None = None
    #: Half of what was left under these limits: calls, rows, places.
    spare_of: Limits | None = None
    spare_calls: float = 0.0
    spare_rows: float = 0.0
    spare_places: float = 0.0
    #: What `is_sure` has been sure of and is not decided yet.
    sure_calls: int = 0
    sure_rows: int = 0


class MemoryCounterStore:
    """A `CounterStore` in memory.

    Its clock runs monotonically from the time of day at start, or, once `learn` was called, along the shared store's:
    quota windows are the same ones.
    """

    def __init__(
        self,
        *,
        max_callers: int = 10_000,
        monotonic_us: Callable[[], int] = _monotonic_us,
        epoch_us: Callable[[], int] = _epoch_us,
    ) -> None:
        self._max_callers = max_callers
        self._monotonic_us = monotonic_us
        self._offset_us = epoch_us() - monotonic_us()
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def __repr__(self) -> str:
        return f"<MemoryCounterStore: {len(self._known)} of {self._max_callers} callers>"

    def now_us(self) -> int:
        """Microseconds since 1970 on this store's clock."""
        return self._monotonic_us() + self._offset_us

    async def decide(self, groups: Iterable[Group]) -> list[Answer | StoreAwayError]:
        """As `decide_now`, which never waits."""
        return [self.decide_now(group) for group in groups]

    async def probe(self) -> None:
        """Memory is always there."""

    async def aclose(self) -> None:
        """Nothing to close."""

    def decide_now(self, group: Group) -> Answer:
        """Decides and charges here."""
        known = self._get(group.caller_key)
        known.shared, known.roomy, known.spare_of = False, None, None
        now_us = self.now_us()
        decisions: list[Decision | None] = []
        for ask in group.asks:
            if isinstance(ask, Admit):
                decisions.append(known.counters.admit(group.limits, ask, now_us))
            else:
                known.counters.release(ask.lease_id)
                decisions.append(None)
        return Answer(tuple(decisions))

    def release(self, caller_key: str, lease_id: str) -> None:
        """Gives a place back; nothing happens if it is not held here."""
        if known := self._known.get(caller_key):
            known.counters.release(lease_id)

    def in_flight(self, caller_key: str) -> int:
        """Requests of this caller at once, for all that is known here: what the shared store last said, or more of our own."""
        known = self._known.get(caller_key)
        return 0 if known is None else max(known.in_flight, len(known.counters.leases))

    def learn(self, group: Group, answer: Answer, asked_us: int) -> None:
        """Takes over what the shared store said; `asked_us` is our monotonic clock when the question left.

        The store decided after that, so counting from then puts our clock ahead of its by the way there, never behind:
        what we know leaks early, never late, and `peek` refuses nobody whom the store would admit.
        """
        decided = [(ask, decision) for ask, decision in zip(group.asks, answer.decisions, strict=True) if decision]
        if not decided:
            return
        known = self._get(group.caller_key)
        counters = known.counters
        if not known.shared:
            counters.leases.clear()  # given by us alone; the shared store knows nothing of them
            known.shared = True
        for ask, decision in decided:
            if isinstance(decision, Admitted) and isinstance(ask, Admit) and ask.lease_ms > 0:
                counters.hold(ask, decision.usage.now_us)
        last = decided[-1][1].usage
        self._offset_us = last.now_us - asked_us
        calls, rows = scales(group.limits)
        # The store may be up to a tick further in a leak than the level tells.
        counters.calls = Meter(last.calls_level, last.now_us - calls.tick_us + 1, calls.parts) if calls else Meter()
        counters.rows = Meter(last.rows_level, last.now_us - rows.tick_us + 1, rows.parts) if rows else Meter()
        counters.quota_used = last.quota_used
        quota = group.limits.quota
        counters.quota_window = last.now_us // (quota.window_s * 1_000_000) if quota else 0
        roomy = (
            (calls is None or last.calls_level + calls.parts <= calls.capacity)
            and (rows is None or last.rows_level + rows.parts <= rows.capacity)
            and (quota is None or last.quota_used < quota.amount)
        )
        known.roomy = group.limits if roomy else None
        _set_spare(known, group.limits, last)

    def is_sure(self, caller_key: str, limits: Limits, rows: int) -> bool:
        """Whether half of what the shared store last said was left holds one more call with so many rows, until `was_sure`.

        The other half is for what other processes have spent since. Rates only gain by time, so an old word is a careful one.
        """
        known = self._known.get(caller_key)
        if known is None or (known.spare_of is not limits and known.spare_of != limits):
            return False
        calls = known.sure_calls + 1
        if calls > known.spare_calls or known.sure_rows + rows > known.spare_rows or calls > known.spare_places:
            return False
        known.sure_calls = calls
        known.sure_rows += rows
        return True

    def was_sure(self, caller_key: str, rows: int) -> None:
        """One call that `is_sure` was sure of has been decided."""
        if (known := self._known.get(caller_key)) is not None:
            known.sure_calls = max(0, known.sure_calls - 1)
            known.sure_rows = max(0, known.sure_rows - rows)

    def peek(self, caller_key: str, limits: Limits, *, shared: bool) -> Refused | None:
        """Whether this caller's least request (one call, one row) is known to be refused; charges nothing.

        With `shared`, only what the shared store last said counts, not what was decided here while it was away.
        """
        known = self._known.get(caller_key)
        if known is None or (shared and not known.shared):
            return None
        if known.roomy is limits and (limits.concurrent is None or len(known.counters.leases) < limits.concurrent):
            return None
        return known.counters.peek(limits, Admit(rows=1, lease_ms=1), self.now_us())

    def _get(self, caller_key: str) -> _Known:
        known = self._known.get(caller_key)
        if known is None:
            known = self._known[caller_key] = _Known()
            while len(self._known) > self._max_callers:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(caller_key)
        return known


def _set_spare(known: _Known, limits: Limits, last: Usage) -> None:
    calls, rows = scales(limits)
    known.spare_of, known.in_flight = limits, last.in_flight
    known.spare_calls = calls.left(last.calls_level) / 2 if calls else math.inf
    known.spare_rows = rows.left(last.rows_level) / 2 if rows else math.inf
    known.spare_places = math.inf if limits.concurrent is None else (limits.concurrent - last.in_flight) / 2
    if (quota := limits.quota) is not None:
        left = (quota.amount - last.quota_used) / 2
        if quota.counts == "calls":
            known.spare_calls = min(known.spare_calls, left)
        else:
            known.spare_rows = min(known.spare_rows, left)
