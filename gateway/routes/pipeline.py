"""The life of a scoring request in flow order: authenticate, authorise, precheck, read, validate, admit, coalesce, forward.

One interface (`/v1`, `/v2`) is a `Form`: how a body becomes a frame and a frame an answer. Everything else is the same for all;
who may come in is `gateway.routes.entry`'s to say. Each stage refuses by raising; `gateway.middleware.errors` answers. Nothing
after a refusal has run, so nothing has to be undone but the place among the concurrent, which the ticket gives back. With one
exception: where limits are sure to admit, rows are scored while they are asked, and the answer waits for them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from functools import partial
from typing import Any, Protocol, TypeVar

from starlette.types import Receive, Scope, Send

from gateway.core.caller import Caller
from gateway.core.coalesce import Item, Place
from gateway.core.contract import Contract
from gateway.core.contract.tokens import Steps
from gateway.core.stages import Clock, MarkedClock, server_timing
from gateway.core.tracing import Tracing
from gateway.core.uploads import Bodies, BodyRoom, Uploads
from gateway.metrics import Metrics
from gateway.middleware.errors import request_id
from gateway.routes.entry import Asked, Entry, too_many
from gateway.settings import GatewaySettings
from gateway.shell.admit import Admission
from gateway.shell.body import ClientDisconnectedError, check_size, read_body
from gateway.shell.coalesce import Forwarder, Waiting
from gateway.shell.compress import LEAST_BYTES, compressed
from gateway.shell.ticket import Fields, Ticket
from shared.asgi import answer
from shared.deadline import CLIENT_TIMEOUT_HEADER
from shared.errors import (
    DeadlineExceededError,
    InvalidDataError,
    MalformedRequestError,
    PayloadTooLargeError,
    RequestTimeoutError,
    ScoregateError,
    UpstreamError,
)
from shared.wire import Frame, WireError

T = TypeVar("T")
Headers = list[tuple[bytes, bytes]]
_TIMEOUT = CLIENT_TIMEOUT_HEADER.encode()
#: What comes back, or would have: what was late is known of these.
_IN_TIME_OR_NOT = frozenset({200, 504})
#: With more rows it may be the request itself that takes long.
_FEW_ROWS = 32
#: For so long, at most, an answer waits for its place among the concurrent to be given back.
_RETURNS_WITHIN_S = 0.010


class Form(Protocol):
    """An interface's way to write requests and answers. Generators pause, so that long work lets others run."""

    def content_type(self, headers: dict[bytes, bytes]) -> None:
        """Raises UnsupportedMediaTypeError for a body this form does not take, before it is read."""

    def read(self, contract: Contract, body: bytes, headers: dict[bytes, bytes]) -> Steps[tuple[Frame, Any]]:
        """The rows, and what `write` needs to know of the request; raises as `Contract.parse` does."""

    def write(self, contract: Contract, frame: Frame, asked: Any) -> Steps[tuple[Headers, bytes]]:
        """Headers and body of the answer; raises WireError where the frame is not the signature's."""


async def in_steps(steps: Steps[Any], deadline_s: float) -> Any:
    """The generator's result, with the event loop free between its steps. Raises DeadlineExceededError, a step late at most."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value
        await asyncio.sleep(0)
        if time.monotonic() > deadline_s:
            raise DeadlineExceededError


def _must_be_there(scope: Scope) -> None:
    """Raise ClientDisconnectedError where the client has left: what is begun now would be for nobody."""
    if "client_left" in scope["state"]:
        raise ClientDisconnectedError


def _give_up(answered: asyncio.Future[Frame], error: ScoregateError) -> None:
    """The request was refused while it was being scored already."""
    if not answered.done():
        answered.set_exception(error)


async def _decided(ticket: Ticket, deadline_s: float) -> Fields:
    """As `Ticket.admitted`, but not beyond the deadline: raises DeadlineExceededError."""
    if not ticket.undecided:
        return await ticket.admitted()
    return await _in_time(ticket.admitted(), deadline_s)


async def _in_time(work: Awaitable[T], deadline_s: float) -> T:
    try:
        async with asyncio.timeout(max(0.0, deadline_s - time.monotonic())):
            return await work
    except TimeoutError as error:
        raise DeadlineExceededError from error


class Pipeline:
    """The stages of one gateway process, composed by `gateway.app`."""

    def __init__(
        self,
        settings: GatewaySettings,
        entry: Entry,
        admission: Admission,
        forwarder: Forwarder,
        metrics: Metrics,
        tracing: Tracing | None = None,
    ) -> None:
        self.settings = settings
        self.admission = admission
        self.forwarder = forwarder
        self.metrics = metrics
        self.tracing = tracing
        self._clock = Clock if tracing is None else MarkedClock
        self.in_flight = 0
        self._shares = entry.shares
        self._windows = entry.windows
        # Bound once: each request asks all of them.
        self._identify = entry.identify
        self._authorise = entry.authorise
        self._timeout_ms = entry.timeout_ms
        self._enter = entry.enter
        self._learn = entry.learn
        self._bodies = Bodies(settings.max_buffered_bytes)
        self._uploads = Uploads()

    async def score(self, form: Form, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scoring request of `form` whose path names `model` and perhaps `version`."""
        now = time.monotonic()
        clock = scope["state"]["clock"] = self._clock(scope["state"].get("began_s") or now)
        scope["state"]["late_s"] = now - clock.began_s  # until there was time for it
        params = scope["path_params"]
        label, status, code = "unknown", 500, "internal_error"
        caller: Caller | None = None
        allowed_s = 0.0
        self.in_flight += 1
        try:
            if self.in_flight > self._shares.most:
                raise too_many()
            identified, headers = await self._identify(scope)
            if self.tracing is not None:
                self.tracing.begins(scope, clock)
            asked = self._authorise(identified, params["model"], params.get("version"))
            label = asked.served.entry.model
            clock.enter("admit", time.monotonic())
            allowed_s = self._timeout_ms(headers.get(_TIMEOUT), asked.grant) / 1000
            self._enter(asked, scope, headers, clock.began_s, allowed_s)
            self._shares.take(identified.key, 1)
            caller = identified
            out_headers, body = await self._score(
                form, asked, scope, headers, receive, clock, clock.began_s + allowed_s
            )
            await answer(scope, send, 200, out_headers, body)
            status, code = 200, "ok"
            if "known" not in scope["state"] and self.tracing is None:  # with traces on, each head is read for its own
                self._learn(scope)
        except ScoregateError as error:
            status, code = error.status, error.reason
            raise
        except (asyncio.CancelledError, ClientDisconnectedError):
            status, code = 499, "client_left"
            raise
        finally:
            self.in_flight -= 1
            now = time.monotonic()
            clock.end(now)
            if caller is not None:
                self._answered(caller.key, scope, status, clock, allowed_s, now)
            self.metrics.answered(label, status, code, clock)
            if self.tracing is not None:
                self.tracing.answered(scope, clock, label, status, code)

    def _answered(self, key: str, scope: Scope, status: int, clock: Clock, allowed_s: float, now: float) -> None:
        """Its place is free; and what is learned from how long it took, but for what the client took to send its body."""
        held = self._shares.held(key)
        self._shares.give(key, 1)
        if held == 1:
            self._windows.gone(key)
        elif status in _IN_TIME_OR_NOT and scope["state"].get("rows", 0) <= _FEW_ROWS:
            took_s = clock.total_s - clock.spent_s.get("read", 0.0)
            lag_s = scope["state"]["late_s"] + clock.spent_s.get("split", 0.0)
            self._windows.answered(key, held, took_s, allowed_s, now, lag_s)

    async def _score(
        self,
        form: Form,
        asked: Asked,
        scope: Scope,
        headers: dict[bytes, bytes],
        receive: Receive,
        clock: Clock,
        deadline_s: float,
    ) -> tuple[Headers, bytes]:
        request = request_id(scope)
        key, limits, contract = asked.caller.key, asked.grant.limits, asked.contract
        form.content_type(headers)
        body = None if b"content-encoding" in headers else scope["state"].pop("body", None)
        frame, wanted = await self._read(form, asked, headers, receive, deadline_s, clock, body)
        scope["state"]["rows"] = frame.rows
        _must_be_there(scope)
        clock.enter("admit", time.monotonic())
        place = self._place(asked, frame.rows, deadline_s)
        lease_ms = max(1, int((deadline_s - time.monotonic()) * 1000))
        rows = contract.cost_rows(frame)
        answered: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        with self.admission.ask(key, limits, rows=rows, lease_ms=lease_ms) as ticket:
            if ticket.may_begin():
                ticket.on_refused = partial(_give_up, answered)
            else:
                await _decided(ticket, deadline_s)
                _must_be_there(scope)
            clock.enter("wait", time.monotonic())
            waiting = Waiting(
                contract, asked.pods, request, answered, asked.served.entry.retry, asked.own_place, ticket
            )
            if self.tracing is not None:
                waiting.trace = self.tracing.waits(scope, asked.served.entry.version, frame.rows)
            item = Item(place, frame, deadline_s, waiting)
            scope["state"]["on_client_left"] = lambda: self.forwarder.leave(item)
            try:
                scored = await self.forwarder.score(item)
            finally:
                # The connection keeps the scope until its next request: the rows and their answer would stay with it.
                del scope["state"]["on_client_left"]
                clock.scored(item.reply.trip, time.monotonic())
            clock.enter("write", time.monotonic())
            limit_fields = ticket.fields()
            if scored.rows != frame.rows:
                raise UpstreamError
            try:
                steps = form.write(contract, scored, wanted)
                try:
                    next(steps)
                except StopIteration as stop:  # as most end after one step, they cost no coroutine
                    out, content = stop.value
                else:
                    out, content = await in_steps(steps, deadline_s)
            except WireError as error:
                raise UpstreamError from error
        if ticket.returned is not None:  # the caller's next request may come to another process
            await asyncio.wait((ticket.returned,), timeout=_RETURNS_WITHIN_S)
        if len(content) >= LEAST_BYTES:
            encoding, content = await _in_time(compressed(content, headers.get(b"accept-encoding", b"")), deadline_s)
            out += encoding
        clock.end(time.monotonic())
        return [
            *out,
            (b"content-length", b"%d" % len(content)),
            (b"x-request-id", request.encode()),
            (b"cache-control", b"no-store"),
            *limit_fields,
            (b"server-timing", server_timing(clock.spent_s)),
        ], content

    def _place(self, asked: Asked, rows: int, deadline_s: float) -> Place:
        """Where so many rows wait. Raises OverloadedError where they could not be back in time: before they are charged."""
        place = self.forwarder.place(asked.place, asked.own_place)
        if rows > 1:  # of one row it was asked before its body was read
            self.forwarder.check(place, deadline_s, rows)
        return place

    async def _read(
        self,
        form: Form,
        asked: Asked,
        headers: dict[bytes, bytes],
        receive: Receive,
        deadline_s: float,
        clock: Clock,
        body: bytes | None,
    ) -> tuple[Frame, Any]:
        """The rows of the body, which may be here already, and what `Form.write` needs to know of the request."""
        key, limits = asked.caller.key, asked.grant.limits
        clock.enter("read", time.monotonic())
        limit = self.settings.max_body_bytes
        try:
            if body is not None:
                check_size(body, limit=limit)
                clock.enter("validate", time.monotonic())
                # Of most no step is left after the first, so they never wait and need no room.
                steps = form.read(asked.contract, body, headers)
                try:
                    next(steps)
                except StopIteration as stop:
                    found: tuple[Frame, Any] = stop.value
                    return found
                with self._bodies.of(key) as room:
                    room.hold(len(body))
                    frame, wanted = await in_steps(steps, deadline_s)
            else:
                with self._bodies.of(key) as room:
                    left_s = max(0.001, deadline_s - time.monotonic())
                    body = await self._receive(asked, headers, receive, left_s, room)
                    clock.enter("validate", time.monotonic())
                    frame, wanted = await in_steps(form.read(asked.contract, body, headers), deadline_s)
        except (InvalidDataError, MalformedRequestError, PayloadTooLargeError):
            # Refused data costs one call and no rows, so that nobody can have unlimited work done by sending nonsense.
            clock.enter("admit", time.monotonic())
            (await self.admission.admit(key, limits, rows=0)).release()
            raise
        return frame, wanted

    async def _receive(
        self, asked: Asked, headers: dict[bytes, bytes], receive: Receive, left_s: float, room: BodyRoom
    ) -> bytes:
        """The body that is still to come; raises RequestTimeoutError, or DeadlineExceededError where that is nearer."""
        within_s = min(self.settings.body_timeout_s, left_s)
        with self._uploads.sending(asked.caller.key, asked.grant.limits, within_s=within_s):
            try:
                return await read_body(
                    receive, headers, limit=self.settings.max_body_bytes, within_s=within_s, hold=room.hold
                )
            except RequestTimeoutError as error:
                if within_s < left_s:
                    raise
                raise DeadlineExceededError from error
