"""Group commit of what asks the shared counters: one trip at a time, and what comes meanwhile leaves together with the next.

An idle gateway adds no wait, a busy one makes no more trips. What nobody waits for yet makes no haste: the trip leaves
when somebody waits (`hurry`), or after ten milliseconds. What a trip cannot decide is decided from memory, and at once.
A trip that was given up may arrive all the same: what it may have taken is given back when the counters are there again.
Bounds nothing: `admit` refuses where too many wait.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence

import msgspec

from gateway.core.admission import Admit, Answer, Group, Release, StoreAwayError
from gateway.core.limits import Limits
from gateway.shell.failover import SharedCounters
from gateway.shell.limits_memory import MemoryCounterStore
from gateway.shell.ticket import Ticket

#: More would make trips that a busy machine cannot bring back in time; trips grow no cheaper beyond.
MAX_PER_TRIP = 1_000
#: What nobody waits for leaves after so long at the latest: without rows that leave, or where a place is given back.
_LATER_S = 0.010


class Return(msgspec.Struct, frozen=True, eq=False):
    """A place that is given back to the shared counters. `done`, where somebody waits for that: it is, or could not be."""

    caller_key: str
    limits: Limits
    ask: Release
    done: asyncio.Future[None] | None = None


class GroupCommit:
    """The trips to `shared`; what is learned on them is kept in `local`, which decides where they fail.

    `aclose` once, in the event loop that admits.
    """

    def __init__(self, shared: SharedCounters, local: MemoryCounterStore) -> None:
        #: What the next trips take, first come, first served.
        self.waiting: deque[Ticket | Return] = deque()
        self._shared = shared
        self._local = local
        self._drain: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None
        #: Places that a trip may have taken, or not given back, before the counters went away, and those that ended meanwhile.
        self._owed: list[Return] = []
        shared.on_back = self._pay

    async def aclose(self) -> None:
        """Gives back what is still to be given back, and decides what still waits."""
        self.hurry()
        while self._drain is not None:
            await self._drain
            self.hurry()
        if self._later is not None:
            self._later.cancel()

    def add(self, waiting: Ticket | Return) -> None:
        """To leave with the next trip, which somebody will hurry, or soon in any case."""
        self.waiting.append(waiting)
        if self._later is None:
            self._later = asyncio.get_running_loop().call_later(_LATER_S, self._hurry_now)

    def add_now(self, waiting: Ticket | Return) -> None:
        """To leave at once, or as soon as the trip that is under way is back."""
        self.waiting.append(waiting)
        if self._drain is None:
            self._drain = asyncio.create_task(self._make_trips(), name="limits: trips")

    def owe(self, place: Return) -> None:
        """To leave when the counters, which are away, are there again. If they forget it sooner, that is no mistake."""
        self._owed.append(place)

    def hurry(self) -> None:
        """The trip leaves now, if none is under way that goes on with what waits: somebody waits, or there is time for it."""
        if self.waiting and self._drain is None:
            self._drain = asyncio.create_task(self._make_trips(), name="limits: trips")

    def decide_here(self, ticket: Ticket) -> None:
        """Decide from memory."""
        (decision,) = self._local.decide_now(Group(ticket.caller_key, ticket.limits, (ticket.ask,))).decisions
        assert decision is not None  # noqa: S101  an Admit is always decided
        ticket.decided(decision, shared=False)

    def _pay(self) -> None:
        """The counters are there again."""
        owed, self._owed = self._owed, []
        for place in owed:
            self.add(place)

    def _hurry_now(self) -> None:
        self._later = None
        self.hurry()

    async def _make_trips(self) -> None:
        """Until nothing waits. One trip at a time: what comes meanwhile leaves with the next."""
        batch: list[Ticket | Return] = []
        try:
            while self.waiting:
                batch = self._take()
                if not batch:
                    continue
                waiters = _grouped(batch)
                groups = [Group(*key, asks=tuple(w.ask for w in ws)) for key, ws in waiters]
                left_us = time.monotonic_ns() // 1000
                try:
                    answers = await self._shared.decide(groups)
                except StoreAwayError as away:
                    answers = [away] * len(groups)
                for group, answer in zip(groups, answers, strict=True):
                    if isinstance(answer, Answer):
                        self._local.learn(group, answer, left_us)
                for (_, asked), answer in zip(waiters, answers, strict=True):
                    if isinstance(answer, StoreAwayError):
                        self._shared.go_local(str(answer))
                        self._owed += _places(asked)
                        self._settle_here(asked)
                    else:
                        self._settle(asked, answer)
        finally:
            self._drain = None
            self._settle_here([*batch, *self.waiting])  # whatever broke a trip, nobody waits for ever
            self.waiting.clear()

    def _take(self) -> list[Ticket | Return]:
        batch: list[Ticket | Return] = []
        while self.waiting and len(batch) < MAX_PER_TRIP:
            waiting = self.waiting.popleft()
            if isinstance(waiting, Ticket) and waiting.gone:
                if not waiting.begun:
                    continue
                waiting.ask = Admit(waiting.ask.rows, waiting.ask.calls)  # it needs no place any more
            batch.append(waiting)
        return batch

    def _settle(self, asked: Sequence[Ticket | Return], answer: Answer) -> None:
        for waiting, decision in zip(asked, answer.decisions, strict=True):
            if isinstance(waiting, Return):
                _end(waiting)
            elif decision is not None:
                waiting.decided(decision, shared=True)

    def _settle_here(self, asked: Sequence[Ticket | Return]) -> None:
        for waiting in asked:
            if isinstance(waiting, Return):
                _end(waiting)
            elif waiting.undecided and (waiting.begun or not waiting.gone):
                self.decide_here(waiting)


def _end(returned: Return) -> None:
    if returned.done is not None and not returned.done.done():
        returned.done.set_result(None)


def _places(asked: Sequence[Ticket | Return]) -> list[Return]:
    return [
        Return(w.caller_key, w.limits, Release(w.ask.lease_id)) if isinstance(w, Ticket) else w
        for w in asked
        if isinstance(w, Return) or w.ask.lease_ms > 0
    ]


def _grouped(batch: Sequence[Ticket | Return]) -> list[tuple[tuple[str, Limits], list[Ticket | Return]]]:
    groups: dict[tuple[str, Limits], list[Ticket | Return]] = {}
    for waiting in batch:
        groups.setdefault((waiting.caller_key, waiting.limits), []).append(waiting)
    return list(groups.items())
