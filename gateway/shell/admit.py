"""The `admit` stage: charges one call and n rows of a caller, or refuses with 429 (413 where no wait would help).

Requests that wait while a trip to the shared counters is under way leave together in the next one (`group_commit`). When the
shared counters do not answer, this process goes on from memory at once, with what it knew, until they are back (`failover`): no
request waits for that or fails. The work of a request that will be admitted by a wide margin may begin before its decision is
back (`is_sure`); its answer never leaves before.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from typing import Protocol

from gateway.core import ratelimit_fields
from gateway.core.admission import Admit, Admitted, CounterStore, Release, Usage, check_cost, refusal
from gateway.core.limits import Limits
from gateway.shell.failover import IDLE_S, TRIP_TIMEOUT_S, SharedCounters
from gateway.shell.group_commit import GroupCommit, Return
from gateway.shell.limits_memory import MemoryCounterStore
from gateway.shell.ticket import Ticket
from shared.errors import OverloadedError

#: More waiting for their trip are answered 503.
MAX_WAITING = 20_000
#: With fewer places than these one is given back at once, for nobody knows here what other processes have admitted since.
_MANY_PLACES = 32
_UNLIMITED = Admitted(Usage(0))


class Observer(Protocol):
    """What the metrics want to know. Called in the event loop: must not block."""

    def shared(self, up: bool) -> None:
        """At start and on each change: whether limits are counted together or by this process alone."""

    def trip(self, took_s: float, requests: int) -> None:
        """One trip to the shared counters came back."""

    def decided(self, outcome: str, *, shared: bool) -> None:
        """One request: "admitted", or the limit that refused it."""


class Unobserved:
    """An `Observer` that looks away."""

    def shared(self, up: bool) -> None:
        """Ignored."""

    def trip(self, took_s: float, requests: int) -> None:
        """Ignored."""

    def decided(self, outcome: str, *, shared: bool) -> None:
        """Ignored."""


class Admission:
    """Admits requests against `shared` counters, or against `local` ones alone where `shared` is None or away.

    `start` and `aclose` once each, in the event loop that admits. `repr` is a status line for operators.
    """

    def __init__(
        self,
        shared: CounterStore | None,
        local: MemoryCounterStore | None = None,
        *,
        observer: Observer | None = None,
        trip_timeout_s: float = TRIP_TIMEOUT_S,
        idle_s: float = IDLE_S,
    ) -> None:
        self.observer: Observer = observer or Unobserved()
        self.shared = SharedCounters(shared, self.observer, trip_timeout_s=trip_timeout_s, idle_s=idle_s)
        self._local = local or MemoryCounterStore()
        self._trips = GroupCommit(self.shared, self._local)
        #: The next trip leaves now: somebody waits, or there is time for it. Every ticket calls it, so nothing stands between.
        self.hurry = self._trips.hurry
        self._lease_ids = map(f"{secrets.token_hex(8)}.{{:x}}".format, itertools.count())

    def __repr__(self) -> str:
        return f"<Admission: {len(self._trips.waiting)} waiting, {self.shared!r}, {self._local!r}>"

    async def start(self) -> None:
        """Connects to the shared counters; goes on alone, and says so, if they do not answer within a second."""
        await self.shared.start()

    async def aclose(self) -> None:
        """Gives back what is still to be given back, decides what still waits, closes the shared counters."""
        await self._trips.aclose()
        await self.shared.aclose()

    def precheck(self, caller_key: str, limits: Limits) -> None:
        """Refuses, without a trip, a caller who is known to be over a limit or to have too much in flight here.

        Raises TooManyRequestsError. Knows only what this process was told or counted itself, so it passes many whom
        `admit` refuses; it refuses nobody who would get one call and one row from `admit`.
        """
        refused = self._local.peek(caller_key, limits, shared=self.shared.up)
        if refused is not None:
            self.observer.decided(refused.limit, shared=self.shared.up)
            raise refusal(limits, refused, ratelimit_fields.fields(limits, refused.usage))

    def is_sure(self, caller_key: str, limits: Limits, rows: int) -> bool:
        """Whether a request of this caller will be admitted for all that is known here, by a wide margin.

        A guess, and it decides nothing: the work of a request that is sure may begin while it is being decided. Half of what the
        shared counters last said was left is taken to be there for this process, less what it is sure of and not decided yet:
        `was_sure` ends that.
        """
        return self.shared.up and self._local.is_sure(caller_key, limits, rows)

    def was_sure(self, caller_key: str, rows: int) -> None:
        """What `is_sure` took to be admitted is decided."""
        self._local.was_sure(caller_key, rows)

    def ask(self, caller_key: str, limits: Limits, *, rows: int, calls: int = 1, lease_ms: int = 0) -> Ticket:
        """Ask for `calls` and `rows`, all or nothing; wait with `Ticket.admitted`, and release the ticket at the end.

        `lease_ms` is the time to the request's deadline: so long, at most, it counts as concurrent (0: it does not, as
        a request whose data was refused, which costs a call and no rows). Raises PayloadTooLargeError for more rows
        than the whole limit, OverloadedError if 20,000 requests wait.
        """
        check_cost(limits, rows)
        if limits.concurrent is None:
            lease_ms = 0
            if limits.calls is None and limits.rows is None and limits.quota is None:
                return Ticket(self, caller_key, limits, Admit(rows, calls), _UNLIMITED)
        ticket = Ticket(
            self, caller_key, limits, Admit(rows, calls, lease_ms, next(self._lease_ids) if lease_ms > 0 else "")
        )
        if not self.shared.up:
            self._trips.decide_here(ticket)
        elif len(self._trips.waiting) >= MAX_WAITING:
            raise OverloadedError("too many requests wait for their limits to be checked", retry_after_ms=1000)
        else:
            self._trips.add(ticket)
        return ticket

    async def admit(self, caller_key: str, limits: Limits, *, rows: int, calls: int = 1, lease_ms: int = 0) -> Ticket:
        """`ask`, and wait until it is admitted: raises TooManyRequestsError if it is not, and nothing was charged then.

        On cancellation a place already given is given back; calls and rows stay charged.
        """
        ticket = self.ask(caller_key, limits, rows=rows, calls=calls, lease_ms=lease_ms)
        try:
            await ticket.admitted()
        except BaseException:
            ticket.release()
            raise
        return ticket

    def give_back(self, caller_key: str, limits: Limits, lease_id: str, *, shared: bool) -> asyncio.Future[None] | None:
        """The place of a request that is over: at once where another process may lack it, and then what says that it is done."""
        places, in_flight = limits.concurrent or 0, self._local.in_flight(caller_key)
        self._local.release(caller_key, lease_id)
        if not shared:
            return None
        if not self.shared.up:
            self._trips.owe(Return(caller_key, limits, Release(lease_id)))
            return None
        if places < _MANY_PLACES or 4 * in_flight > places:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._trips.add_now(Return(caller_key, limits, Release(lease_id), done))
            return done
        self._trips.add(Return(caller_key, limits, Release(lease_id)))
        return None
