"""The shared counters for as long as they answer: trips under a deadline, and going on without them until a probe succeeds.

`admit` and `group_commit` look at `up` and go on from memory where it is false; a trip that finds the counters away says so
(`go_local`), and nobody waits for their return: that is found out in the background. Knows no caller and decides no request.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from gateway.core.admission import Answer, CounterStore, Group, StoreAwayError

if TYPE_CHECKING:
    from gateway.shell.admit import Observer

#: A trip that has not come back by then is given up: with `GRACE_S`, all the delay that an absent Redis ever causes.
TRIP_TIMEOUT_S = 0.040
#: After the timeout: what came while this process itself was held up is already in the socket.
GRACE_S = 0.005
GRACE_TURNS = 8
#: Of one probe, and of the first connection at start.
PROBE_TIMEOUT_S = 1.0
PROBE_PAUSES_S = (0.05, 1.0)
#: A connection that carried no trip for so long is probed, so that no request finds it dead.
IDLE_S = 15.0
#: A store lost again within so long of its return is not trusted at once.
STEADY_S = 10.0

log = structlog.get_logger("gateway.limits")


class SharedCounters:
    """A counter store, and whether it is there. Never there where `store` is None.

    `start` and `aclose` once each, in the event loop that admits.
    """

    def __init__(self, store: CounterStore | None, observer: Observer, *, trip_timeout_s: float, idle_s: float) -> None:
        #: Whether limits are counted together with the other processes just now.
        self.up = False
        #: Called when it is so again.
        self.on_back: Callable[[], None] = lambda: None
        self._store = store
        self._observer = observer
        self._trip_timeout_s = trip_timeout_s
        self._idle_s = idle_s
        self._keep: asyncio.Task[None] | None = None
        self._given_up: set[asyncio.Task[list[Answer | StoreAwayError]]] = set()
        self._lost = asyncio.Event()
        self._changed_s = 0.0
        self._last_trip_s = 0.0

    def __repr__(self) -> str:
        mode = "shared" if self.up else "local" if self._store else "local by choice"
        return f"<SharedCounters: {mode}, {self._store!r}>"

    async def start(self) -> None:
        """Connects; goes on without, and says so, if there is no answer within a second."""
        self._changed_s = time.monotonic() - STEADY_S
        if self._store is None:
            self._observer.shared(up=False)
            return
        reason = await self._probe(self._store)
        self.up = reason is None
        self._observer.shared(up=self.up)
        if reason is not None:
            log.warning("gateway.limits.local", reason=reason)
        self._keep = asyncio.create_task(self._keep_shared(self._store), name="limits: keep shared")

    async def aclose(self) -> None:
        """Ends what runs in the background, and closes the store."""
        self.up = False
        for task in (self._keep, *self._given_up):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
        if self._store is not None:
            await self._store.aclose()

    # --- a trip

    async def decide(self, groups: list[Group]) -> list[Answer | StoreAwayError]:
        """One trip: as `CounterStore.decide`, under a deadline. Raises StoreAwayError and nothing else, whatever is wrong."""
        if not self.up or self._store is None:
            raise StoreAwayError("away")
        left_s = time.monotonic()
        trip = asyncio.create_task(self._answers(self._store, groups))
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
        self._observer.trip(self._last_trip_s - left_s, sum(len(group.asks) for group in groups))
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

    # --- away and back

    def go_local(self, reason: str) -> None:
        """They are away, as a trip found. On repeat nothing."""
        if not self.up:
            return
        self.up = False
        self._lost.set()
        self._observer.shared(up=False)
        log.warning("gateway.limits.local", reason=reason, shared_for_s=round(time.monotonic() - self._changed_s, 1))

    def _go_shared(self) -> None:
        now = time.monotonic()
        self.up = True
        self._lost.clear()
        self._observer.shared(up=True)
        self.on_back()
        log.info("gateway.limits.shared", local_for_s=round(now - self._changed_s, 1))
        self._changed_s = now

    async def _keep_shared(self, store: CounterStore) -> None:
        """For ever: brings the shared counters back when they are lost, and looks after an idle connection."""
        least, most = PROBE_PAUSES_S
        while True:
            if self.up:
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
                self.go_local(reason)

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
