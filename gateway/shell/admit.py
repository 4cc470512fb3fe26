"""The `admit` stage: charges one call and n rows of a caller, or refuses with 429 (413 where no wait would help).

Requests that wait while a trip to the shared counters is under way leave together in the next one (group commit): an
idle gateway adds no wait, a busy one makes no more trips. The work of a request that will be admitted by a wide margin may
begin before its decision is back (`is_sure`); its answer never leaves before. What nobody waits for yet makes no haste: the
trip leaves when the rows have (`hurry`), and places that are given back leave with the next trip. When the shared counters do not
answer, this process goes on from memory at once, with what it knew, until a probe in the background succeeds: no request
waits for that or fails.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import msgspec
import structlog

from gateway.core import ratelimit_fields
from gateway.core.admission import (
    Admit,
    Admitted,
    Answer,
    CounterStore,
    Group,
    Release,
    StoreAwayError,
    Usage,
    check_cost,
    refusal,
)
from gateway.core.limits import Limits
from gateway.shell.limits_memory import MemoryCounterStore
from gateway.shell.ticket import Ticket
from shared.errors import OverloadedError

#: A trip that has not come back by then is given up: with `GRACE_S`, all the delay that an absent Redis ever causes.
TRIP_TIMEOUT_S = 0.040
#: After the timeout: what came while this process itself was held up is already in the socket.
GRACE_S = 0.005
GRACE_TURNS = 8
#: More would make trips that a busy machine cannot bring back in time; trips grow no cheaper beyond.
MAX_PER_TRIP = 1_000
MAX_WAITING = 20_000
#: What nobody waits for leaves after so long at the latest: without rows that leave, or where a place is given back.
_LATER_S = 0.010
#: With fewer places than these one is given back at once, for nobody knows here what other processes have admitted since.
_MANY_PLACES = 32
#: Of one probe, and of the first connection at start.
PROBE_TIMEOUT_S = 1.0
PROBE_PAUSES_S = (0.05, 1.0)
#: A connection that carried no trip for so long is probed, so that no request finds it dead.
IDLE_S = 15.0
#: A store lost again within so long of its return is not trusted at once.
STEADY_S = 10.0

log = structlog.get_logger("gateway.limits")
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


class _Return(msgspec.Struct, frozen=True, eq=False):
    """A place that is given back to the shared counters, which nobody waits for."""

    caller_key: str
    limits: Limits
    ask: Release


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
        self._shared = shared
        self._local = local or MemoryCounterStore()
        self.observer: Observer = observer or Unobserved()
        self._trip_timeout_s = trip_timeout_s
        self._idle_s = idle_s
        self._up = False
        self._waiting: deque[Ticket | _Return] = deque()
        self._drain: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None
        self._keep: asyncio.Task[None] | None = None
        self._given_up: set[asyncio.Task[list[Answer | StoreAwayError]]] = set()
        self._lost = asyncio.Event()
        self._changed_s = 0.0
        self._last_trip_s = 0.0
        self._lease_ids = map(f"{secrets.token_hex(8)}.{{:x}}".format, itertools.count())

    def __repr__(self) -> str:
        mode = "shared" if self._up else "local" if self._shared else "local by choice"
        return f"<Admission: {mode}, {len(self._waiting)} waiting, {self._shared!r}, {self._local!r}>"

    @property
    def shared(self) -> bool:
        """Whether limits are counted together with the other processes just now."""
        return self._up

    async def start(self) -> None:
        """Connects to the shared counters; goes on alone, and says so, if they do not answer within a second."""
        self._changed_s = time.monotonic() - STEADY_S
        if self._shared is None:
            self.observer.shared(up=False)
            return
        reason = await self._probe(self._shared)
        self._up = reason is None
        self.observer.shared(up=self._up)
        if reason is not None:
            log.warning("gateway.limits.local", reason=reason)
        self._keep = asyncio.create_task(self._keep_shared(self._shared), name="limits: keep shared")

    async def aclose(self) -> None:
        """Gives back what is still to be given back, decides what still waits, closes the shared counters."""
        self.hurry()
        while self._drain is not None:
            await self._drain
            self.hurry()
        self._up = False
        if self._later is not None:
            self._later.cancel()
        for task in (self._keep, *self._given_up):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
        if self._shared is not None:
            await self._shared.aclose()

    def precheck(self, caller_key: str, limits: Limits) -> None:
        """Refuses, without a trip, a caller who is known to be over a limit or to have too much in flight here.

        Raises TooManyRequestsError. Knows only what this process was told or counted itself, so it passes many whom
        `admit` refuses; it refuses nobody who would get one call and one row from `admit`.
        """
        refused = self._local.peek(caller_key, limits, shared=self._up)
        if refused is not None:
            self.observer.decided(refused.limit, shared=self._up)
            raise refusal(limits, refused, ratelimit_fields.fields(limits, refused.usage))

    def is_sure(self, caller_key: str, limits: Limits, rows: int) -> bool:
        """Whether a request of this caller will be admitted for all that is known here, by a wide margin.

        A guess, and it decides nothing: the work of a request that is sure may begin while it is being decided. Half of what the
        shared counters last said was left is taken to be there for this process, less what it is sure of and not decided yet:
        `was_sure` ends that.
        """
        return self._up and self._local.is_sure(caller_key, limits, rows)

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
        if not self._up:
            self._decide_here(ticket)
        elif len(self._waiting) >= MAX_WAITING:
            raise OverloadedError("too many requests wait for their limits to be checked", retry_after_ms=1000)
        else:
            self._waiting.append(ticket)
            self._hurry_later()
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

    def give_back(self, caller_key: str, limits: Limits, lease_id: str, *, shared: bool) -> None:
        """The place of a request that is over: at once where another process may lack it."""
        places, in_flight = limits.concurrent or 0, self._local.in_flight(caller_key)
        self._local.release(caller_key, lease_id)
        if not shared or not self._up:  # it ends at its deadline
            return
        self._waiting.append(_Return(caller_key, limits, Release(lease_id)))
        if places < _MANY_PLACES or 4 * in_flight > places:
            self.hurry()
        else:
            self._hurry_later()

    def _decide_here(self, ticket: Ticket) -> None:
        (decision,) = self._local.decide_now(Group(ticket.caller_key, ticket.limits, (ticket.ask,))).decisions
        assert decision is not None  # noqa: S101  an Admit is always decided
        ticket.decided(decision, shared=False)

    # --- group commit

    def _hurry_later(self) -> None:
        if self._later is None:
            self._later = asyncio.get_running_loop().call_later(_LATER_S, self._hurry_now)

    def _hurry_now(self) -> None:
        self._later = None
        self.hurry()

    def hurry(self) -> None:
        """The trip leaves now, if none is under way that goes on with what waits: somebody waits, or there is time for it."""
        if self._waiting and self._drain is None:
            self._drain = asyncio.create_task(self._make_trips(), name="limits: trips")

    async def _make_trips(self) -> None:
        """Until nothing waits. One trip at a time: what comes meanwhile leaves with the next."""
        batch: list[Ticket | _Return] = []
        try:
            while self._waiting:
                batch = self._take()
                if not batch:
                    continue
                groups = _grouped(batch)
                try:
                    answers = await self._trip([Group(*key, asks=tuple(w.ask for w in ws)) for key, ws in groups])
                except StoreAwayError as away:
                    answers = [away] * len(groups)
                for (_, asked), answer in zip(groups, answers, strict=True):
                    if isinstance(answer, StoreAwayError):
                        self._go_local(str(answer))
                        self._settle_here(asked)
                    else:
                        self._settle(asked, answer)
        finally:
            self._drain = None
            self._settle_here([*batch, *self._waiting])  # whatever broke a trip, nobody waits for ever
            self._waiting.clear()

    def _take(self) -> list[Ticket | _Return]:
        batch: list[Ticket | _Return] = []
        while self._waiting and len(batch) < MAX_PER_TRIP:
            waiting = self._waiting.popleft()
            if isinstance(waiting, Ticket) and waiting.gone:
                if not waiting.begun:
                    continue
                waiting.ask = Admit(waiting.ask.rows, waiting.ask.calls)  # it needs no place any more
            batch.append(waiting)
        return batch

    async def _trip(self, groups: list[Group]) -> list[Answer | StoreAwayError]:
        if not self._up or self._shared is None:
            raise StoreAwayError("away")
        left_us, left_s = time.monotonic_ns() // 1000, time.monotonic()
        trip = asyncio.create_task(self._answers(self._shared, groups))
        try:
            await asyncio.wait({trip}, timeout=self._trip_timeout_s)
            if not trip.done():
                await asyncio.wait({trip}, timeout=GRACE_S)
            for _ in range(GRACE_TURNS):
                if not trip.done():
                    await asyncio.sleep(0)
            if not trip.done():
                raise StoreAwayError(f"no answer within {self._trip_timeout_s * 1000:.0f} ms")
        finally:
            if not trip.done():
                self._given_up.add(trip)
                trip.add_done_callback(self._forget)
                trip.cancel()
        answers = trip.result()
        self._last_trip_s = time.monotonic()
        self.observer.trip(self._last_trip_s - left_s, sum(len(group.asks) for group in groups))
        for group, answer in zip(groups, answers, strict=True):
            if isinstance(answer, Answer):
                self._local.learn(group, answer, left_us)
        return answers

    async def _answers(self, store: CounterStore, groups: Sequence[Group]) -> list[Answer | StoreAwayError]:
        try:
            return await store.decide(groups)
        except StoreAwayError:
            raise
        except Exception as error:  # whatever is wrong with the store, requests go on
            log.exception("gateway.limits.store_broken")
            raise StoreAwayError(repr(error)) from error

    def _forget(self, trip: asyncio.Task[list[Answer | StoreAwayError]]) -> None:
        self._given_up.discard(trip)
        if not trip.cancelled():
            trip.exception()  # nobody else will look at it

    def _settle(self, asked: Sequence[Ticket | _Return], answer: Answer) -> None:
        for waiting, decision in zip(asked, answer.decisions, strict=True):
            if isinstance(waiting, Ticket) and decision is not None:
                waiting.decided(decision, shared=True)

    def _settle_here(self, asked: Sequence[Ticket | _Return]) -> None:
        for waiting in asked:
            if isinstance(waiting, Ticket) and waiting.undecided and (waiting.begun or not waiting.gone):
                self._decide_here(waiting)

    # --- away and back

    def _go_local(self, reason: str) -> None:
        if not self._up:
            return
        self._up = False
        self._lost.set()
        self.observer.shared(up=False)
        log.warning("gateway.limits.local", reason=reason, shared_for_s=round(time.monotonic() - self._changed_s, 1))

    def _go_shared(self) -> None:
        now = time.monotonic()
        self._up = True
        self._lost.clear()
        self.observer.shared(up=True)
        log.info("gateway.limits.shared", local_for_s=round(now - self._changed_s, 1))
        self._changed_s = now

    async def _keep_shared(self, store: CounterStore) -> None:
        """For ever: brings the shared counters back when they are lost, and looks after an idle connection."""
        least, most = PROBE_PAUSES_S
        while True:
            if self._up:
                await self._lost_or_idle(store)
                continue
            flapping = time.monotonic() - self._changed_s < STEADY_S
            self._changed_s = time.monotonic()
            pause = most if flapping else least
            reason: str | None = "lost again" if flapping else await self._probe(store)
            while reason is not None:
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  spreads gateways, guards no secret
                pause = min(pause * 2, most)
                reason = await self._probe(store)
            self._go_shared()

    async def _lost_or_idle(self, store: CounterStore) -> None:
        try:
            async with asyncio.timeout(self._idle_s):
                await self._lost.wait()
        except TimeoutError:
            if (
                time.monotonic() - self._last_trip_s >= self._idle_s
                and (reason := await self._probe(store)) is not None
            ):
                self._go_local(reason)

    async def _probe(self, store: CounterStore) -> str | None:
        """None if the store would decide, else why not."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await store.probe()
        except StoreAwayError as away:
            return str(away)
        except TimeoutError:
            return f"no answer within {PROBE_TIMEOUT_S:g} s"
        except Exception as error:  # this must go on for as long as the process does
            log.exception("gateway.limits.store_broken")
            return repr(error)
        return None


def _grouped(batch: Sequence[Ticket | _Return]) -> list[tuple[tuple[str, Limits], list[Ticket | _Return]]]:
    groups: dict[tuple[str, Limits], list[Ticket | _Return]] = {}
    for waiting in batch:
        groups.setdefault((waiting.caller_key, waiting.limits), []).append(waiting)
    return list(groups.items())
