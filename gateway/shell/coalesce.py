"""Carries out what `gateway.core.coalesce` decides: batches leave as tasks, answers go to whoever still waits.

A caller waits until its own deadline and no longer; the batch runs on. A batch whose pod gave no answer is sent again, once,
elsewhere, each item alone, from the retry budget; an item that has lost two pods is refused. Of a batch over which R took far too
long each caller's rows go once more by themselves, and what they cost then is counted (`gateway.core.losses`).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable
from functools import partial

import msgspec
import structlog

from gateway.core.coalesce import OVERDUE_S, Batch, Coalescer, Item, Place
from gateway.core.contract import Contract
from gateway.core.losses import Losses
from gateway.core.stages import Trip
from gateway.core.tracing import Trace, Tracing
from gateway.shell.body import ClientDisconnectedError
from gateway.shell.pods import NoAnswerError, PodClient
from gateway.shell.ticket import Ticket
from shared.deadline import Deadline
from shared.errors import (
    ITEM_ERRORS,
    DeadlineExceededError,
    OverdueError,
    ScoregateError,
    SetAsideError,
    TooManyRequestsError,
    UnavailableError,
    UpstreamError,
    VersionDownError,
    VersionNotHereError,
    WorkerCrashedError,
)
from shared.messages import ALONE, Answer, ItemError
from shared.stages import Times
from shared.wire import Frame, merge, split

log = structlog.get_logger(__name__)
#: However much each turn of the event loop brings, what was offered first waits for no longer for it to leave together.
_GATHER_S = 0.005
#: Turns that have to bring nothing: with one, a fourth of the batches left with half of what was on its way, at 64 connections.
_QUIET_TURNS = 2
#: So much later than its deadline a caller may hear of it. Each step in which a request's time ends has one timer and an
#: empty set until then, some 0.3 kB: 2 MB where all allow themselves a minute.
_EXPIRE_EVERY_S = 0.010
#: Answers that are written in one turn of the event loop, so that a large batch does not keep others waiting to be read.
_ANSWERS_PER_TURN = 64
#: A batch with such an item was away for longer than others will be.
_OVERDUE = frozenset({OverdueError.code, SetAsideError.code})
#: For so long at least a batch of a caller whose rows have cost R much is away: in 50 ms it would not be known what they did.
_LEARN_MS = 1500
_UNUSUAL = _OVERDUE | {WorkerCrashedError.code}
#: `Item.overdue` of one that goes to R with no other row.
_ALONE = 2
_UNTRACED: contextlib.AbstractContextManager[str | None] = contextlib.nullcontext()


class Waiting(msgspec.Struct, eq=False):
    """A caller that waits: its contract, the pods that have the version, the id of its request, its place among its own.

    With a `ticket` its rows are handed out when that is decided, too.
    """

    contract: Contract
    pods: Callable[[], frozenset[str]]
    request_id: str
    answer: asyncio.Future[Frame]
    retry: bool
    own_place: Place
    ticket: Ticket | None = None
    trip: Trip = msgspec.field(default_factory=Trip)
    trace: Trace | None = None


class Forwarder:
    """The coalescer of one process at work.

    `on_batch(model, rows, items)` is told of every batch that was answered: its rows, and its items that R has done with.
    `on_departed` is called when what was to leave has left: R works, and what nobody waits for is in nobody's way.
    """

    def __init__(
        self,
        pods: PodClient,
        coalescer: Coalescer[Waiting],
        on_batch: Callable[[str, int, int], None],
        on_departed: Callable[[], None],
        losses: Losses,
        tracing: Tracing | None = None,
    ) -> None:
        self.coalescer = coalescer
        self._losses = losses
        self._tracing = tracing
        self._pods = pods
        self._on_batch = on_batch
        self._on_departed = on_departed
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._departing = False
        self._offered = self._seen = self._quiet_turns = 0
        self._gather_until_s = 0.0
        #: By the end of their time, in steps.
        self._expiring_at: dict[int, set[asyncio.Future[Frame]]] = {}

    async def score(self, item: Item[Waiting]) -> Frame:
        """The item's rows, scored. Raises DeadlineExceededError 10 ms after its deadline at the latest, or what became of it."""
        now = time.monotonic()
        lost = self._losses.check(item.place.caller, item.place.group, now, another=True) if self._losses else None
        self._pods.pods.earn_retry()
        self.coalescer.slots = self._pods.slots()
        self.coalescer.offer(item, now, self._pods.slots(item.reply.pods()))
        self._offered += 1
        loop = asyncio.get_running_loop()
        if not self._departing:
            # Not now but when turns of the event loop have brought no more: what comes in one moment leaves together.
            self._departing = True
            self._quiet_turns = 0
            self._seen, self._gather_until_s = self._offered, now + _GATHER_S
            loop.call_soon(self._depart)
        answer = item.reply.answer
        expiring = self._expiring(item.deadline_s, now)
        expiring.add(answer)
        if lost is not None:
            lost.in_flight += 1
        try:
            return await answer
        finally:
            if lost is not None:
                lost.in_flight -= 1
            expiring.discard(answer)
            if not expiring:
                expiring.clear()  # which alone gives back the room that it had for many
            self.coalescer.withdraw(item)

    def _expiring(self, deadline_s: float, now: float) -> set[asyncio.Future[Frame]]:
        """The answers whose time is up together with this one's: a timer for each of them would cost more than the wait."""
        at = math.ceil(deadline_s / _EXPIRE_EVERY_S)
        expiring = self._expiring_at.get(at)
        if expiring is None:
            expiring = self._expiring_at[at] = set()
            after_s = max(0.0, at * _EXPIRE_EVERY_S - now)
            asyncio.get_running_loop().call_later(after_s, self._expire, at)
        return expiring

    def _expire(self, at: int) -> None:
        for answer in self._expiring_at.pop(at):
            if not answer.done():
                answer.set_exception(DeadlineExceededError())

    def leave(self, item: Item[Waiting]) -> None:
        """The caller has gone: an item that waits is dropped, one that is away comes back for nobody."""
        if not item.reply.answer.done():
            item.reply.answer.set_exception(ClientDisconnectedError())

    def check(self, place: Place, deadline_s: float, rows: int = 1) -> None:
        """Raise OverloadedError or TooManyRequestsError where an item of so many rows would be refused now."""
        now = time.monotonic()
        if self._losses:
            self._losses.check(place.caller, place.group, now, another=True)
        self.coalescer.check(place, deadline_s, now, rows)

    def place(self, shared: Place, own: Place) -> Place:
        """Where a caller's rows wait: with those of others, or, where they have cost R much of late, among its own."""
        if self._losses and self._losses.is_apart(shared.caller, shared.group, time.monotonic()):
            return own
        return shared

    def tick(self, now: float) -> None:
        """A few times a second: what need not wait any longer leaves."""
        self._send_off(self.coalescer.tick(now))

    async def close(self) -> None:
        """Give up what is still away; whoever waits for it is told."""
        self._closing = True
        await asyncio.sleep(0)  # a task that is cancelled before its first step never comes to its `finally`
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _depart(self) -> None:
        now, loop = time.monotonic(), asyncio.get_running_loop()
        self._quiet_turns = self._quiet_turns + 1 if self._offered == self._seen else 0
        if self._quiet_turns < _QUIET_TURNS and now < self._gather_until_s:
            self._seen = self._offered
            loop.call_soon(self._depart)
            return
        self._departing = False
        self._send_off(self.coalescer.depart(now))
        loop.call_soon(self._on_departed)  # after the first steps of the tasks that send

    def _send_off(self, batches: list[Batch[Waiting]]) -> None:
        leaving = deque(batches)
        while leaving:
            batch = leaving.popleft()
            if self._closing:
                _refuse(batch.items, _shutting_down())
            elif self._losses:
                self._refuse_the_harmful(batch)
            if self._closing or not batch.items:
                leaving += self.coalescer.finish(batch, time.monotonic(), answered=False)
                continue
            for item in batch.items:
                item.reply.trip.left_s = item.reply.trip.left_s or batch.left_at_s
            task = asyncio.create_task(self._run(batch), name="batch")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _refuse_the_harmful(self, batch: Batch[Waiting]) -> None:
        """Those that were let in before it was known what their caller's rows do."""
        now, kept = time.monotonic(), []
        for item in batch.items:
            try:
                self._losses.check(item.place.caller, item.place.group, now)
                kept.append(item)
            except TooManyRequestsError as error:
                _refuse([item], error)
        batch.keep(kept)

    async def _run(self, batch: Batch[Waiting]) -> None:
        answered: tuple[Answer, Times] | None = None
        try:
            try:
                answered = await self._send(batch)
            finally:  # before answers are written: the slot is free, and writing them is not R's time
                usual = answered is not None and not any(error.code in _UNUSUAL for error in answered[0].errors)
                self._send_off(self.coalescer.finish(batch, time.monotonic(), answered=usual))
            if answered is not None:
                await self._deliver(batch, *answered)
        except OverdueError as error:
            now, shared = time.monotonic(), isinstance(error, SetAsideError)
            again = [item for item in batch.items if self._overdue(batch, item, now, shared=shared)]
            self._send_off(self.coalescer.again(again, now))
        except ScoregateError as error:
            _refuse(batch.items, error)
        except asyncio.CancelledError:
            _refuse(batch.items, _shutting_down())
            raise
        except Exception:
            log.exception("gateway.batch.failed")
            _refuse(batch.items, ScoregateError())

    async def _send(self, batch: Batch[Waiting]) -> tuple[Answer, Times] | None:
        """The batch's answer; None where there was none, and what can be sent again is on its way."""
        now = time.monotonic()
        first = batch.items[0]
        contract = first.reply.contract
        lost = frozenset().union(*(item.lost_pods for item in batch.items))
        pod = self._pods.pods.choose(first.reply.pods(), now, avoid=lost)
        if pod is None:
            raise UnavailableError("no scorer has this model version just now", retry_after_ms=1000)
        timeout_ms = Deadline(batch.deadline_s).inner_ms(now)
        if timeout_ms == 0:
            raise DeadlineExceededError
        if self._losses and self._losses.is_apart(first.place.caller, first.place.group, now):
            timeout_ms = max(timeout_ms, _LEARN_MS)
        sizes = [item.frame.rows for item in batch.items]
        entry = contract.entry
        try:
            with self._traced(batch) as traceparent:
                answer, times = await self._pods.infer(
                    pod,
                    entry.model,
                    entry.version,
                    contract.input_specs,
                    contract.output_specs,
                    merge([item.frame for item in batch.items]),
                    sizes,
                    timeout_ms,
                    first.reply.request_id,
                    ALONE if first.overdue == _ALONE else first.place.share,
                    traceparent,
                )
        except (NoAnswerError, VersionNotHereError) as error:
            self._again(batch, pod.address, error)
            return None
        again = sum(error.code in _OVERDUE for error in answer.errors)  # these cost calls of their own
        self._on_batch(entry.model, batch.rows, len(sizes) - again)
        self.coalescer.learn(batch.group, batch.rows, times.predict_s)
        return answer, times

    async def _deliver(self, batch: Batch[Waiting], answer: Answer, times: Times) -> None:
        """To each who still waits his own rows, or his own error."""
        contract = batch.items[0].reply.contract
        back_s = time.monotonic()
        errors = {error.item: error for error in answer.errors}
        again: list[Item[Waiting]] = []
        slow = back_s - batch.left_at_s >= OVERDUE_S
        for index, (item, frame) in enumerate(
            zip(batch.items, split(contract.output_specs, answer.frame, answer.items), strict=True)
        ):
            if index and index % _ANSWERS_PER_TURN == 0:
                await asyncio.sleep(0)
            item.reply.trip.back_s, item.reply.trip.times = back_s, times
            if index in errors:
                if self._failed(batch, item, errors[index], back_s):
                    again.append(item)
                continue
            if slow and item.overdue:  # it may be slow by right, but not for others
                self._losses.suspect(item.place.caller, item.place.group, _share_s(batch, back_s), back_s)
            if item.reply.answer.done():
                continue
            if (ticket := item.reply.ticket) is not None and ticket.undecided:
                item.reply.trip.split_s = time.monotonic()
                ticket.when_admitted(partial(_hand_out, item.reply.answer, frame))
            else:
                item.reply.answer.set_result(frame)
        if len(errors) < len(batch.items):
            self._losses.scored(batch.group, back_s)
        if again:
            self._send_off(self.coalescer.again(again, time.monotonic()))
        elif self._losses and not errors and not slow and batch.of_one_caller:
            self._losses.clear(batch.items[0].place.caller, batch.group)

    def _failed(self, batch: Batch[Waiting], item: Item[Waiting], error: ItemError, now: float) -> bool:
        """R has no rows for this item: what that cost is counted, whether or not he still waits. Whether to send it again."""
        if error.code in _OVERDUE:
            return self._overdue(batch, item, now, shared=error.code == SetAsideError.code)
        if error.code == WorkerCrashedError.code:
            self._losses.crashed(item.place.caller, item.place.group, now)
        if not item.reply.answer.done():
            item.reply.answer.set_exception(ITEM_ERRORS.get(error.code, UpstreamError)(error.detail))
        return False

    def _overdue(self, batch: Batch[Waiting], item: Item[Waiting], now: float, *, shared: bool) -> bool:
        """R took far longer over this batch than over others, or over a run that others `shared`. Whether to send the item again.

        Whose rows it was is known once it happens to one caller's alone; so they first go once more among their caller's only. If
        it was them, each goes once more alone, for as long as not much of that counts: one of them may be slow by right.
        """
        caller, group = item.place.caller, item.place.group
        blamed = item.overdue > 0 or (batch.of_one_caller and not shared)
        may_go = now < item.deadline_s and item.reply.retry and not item.reply.answer.done()
        if blamed:
            self._losses.count(caller, group, _share_s(batch, now), now)
        elif not may_go:  # it cannot be asked again
            self._losses.suspect(caller, group, _share_s(batch, now), now)
        if item.reply.answer.done():
            return False
        if may_go and not blamed:
            item.overdue, item.place = 1, item.reply.own_place
            return True
        if may_go and item.overdue < _ALONE and len(batch.items) > 1 and self._losses.has_few(caller, group, now):
            item.overdue, item.alone = _ALONE, True
            return True
        item.reply.answer.set_exception(
            DeadlineExceededError("R takes far longer over these rows than over others and was not done in time")
        )
        return False

    def _traced(self, batch: Batch[Waiting]) -> contextlib.AbstractContextManager[str | None]:
        if self._tracing is None:
            return _UNTRACED
        entry = batch.items[0].reply.contract.entry
        traces = [item.reply.trace for item in batch.items]
        return self._tracing.leaves(entry.model, entry.version, batch.rows, traces, batch.left_at_s)

    def _again(self, batch: Batch[Waiting], lost: str, error: Exception) -> None:
        log.debug("gateway.batch.lost", pod=lost, items=len(batch.items), error=str(error))
        now = time.monotonic()
        retry: list[Item[Waiting]] = []
        for item in batch.items:
            item.alone = True
            item.lost_pods |= {lost}
            elsewhere = self._pods.pods.has_other(item.reply.pods(), item.lost_pods)
            if item.reply.answer.done():
                continue
            if isinstance(error, VersionNotHereError) and elsewhere and len(item.lost_pods) < 3:
                retry.append(item)  # "not here" means another pod, not a failure
            elif len(item.lost_pods) < 2 and elsewhere and item.reply.retry and self._pods.pods.spend_retry():
                retry.append(item)
            elif isinstance(error, VersionNotHereError):
                item.reply.answer.set_exception(_nowhere(error))
            else:
                item.reply.answer.set_exception(UpstreamError(retry_after_ms=1000))
        if retry:
            self._send_off(self.coalescer.again(retry, now))


def _share_s(batch: Batch[Waiting], now: float) -> float:
    """What one of its items counts for of how long it was away, in seconds."""
    return (now - batch.left_at_s) / len(batch.items)


def _nowhere(error: VersionNotHereError) -> UnavailableError:
    """No pod that is known to have the version has it."""
    if isinstance(error, VersionDownError):
        return UnavailableError(
            "the R processes of this model version do not stay up; try again later", retry_after_ms=5000
        )
    return UnavailableError("the version is being replaced; try again", retry_after_ms=500)


def _hand_out(answer: asyncio.Future[Frame], frame: Frame) -> None:
    if not answer.done():
        answer.set_result(frame)


def _shutting_down() -> UnavailableError:
    return UnavailableError("this gateway is shutting down", retry_after_ms=1000)


def _refuse(items: list[Item[Waiting]], error: ScoregateError) -> None:
    for item in items:
        if not item.reply.answer.done():
            item.reply.answer.set_exception(
                type(error)(error.detail, retry_after_ms=error.retry_after_ms, reason=error.reason)
            )
