"""The life of a scoring request in flow order: authenticate, authorise, precheck, read, validate, admit, coalesce, forward.

One interface (`/v1`, `/v2`) is a `Form`: how a body becomes a frame and a frame an answer. Everything else is the same for all.
Each stage refuses by raising; `gateway.middleware.errors` renders. Nothing after a refusal has run, so nothing has to be undone
but the place among the concurrent, which the ticket gives back. With one exception: where limits are sure to admit, rows are scored
while they are asked, and the answer waits for them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, Protocol

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from gateway.core.caller import Caller
from gateway.core.catalogue import Index, Model, Served
from gateway.core.coalesce import Item, Place
from gateway.core.contract import Contract
from gateway.core.contract.tokens import Steps
from gateway.core.contracts import Contracts
from gateway.core.heads import Heads, Known, Sent
from gateway.core.policy import Grant, Policy
from gateway.core.shares import Shares
from gateway.core.stages import Clock, MarkedClock, server_timing
from gateway.core.tracing import Tracing
from gateway.core.uploads import Bodies, Uploads
from gateway.core.windows import FEW, Windows
from gateway.metrics import Metrics
from gateway.middleware.errors import request_id
from gateway.settings import GatewaySettings
from gateway.shell.admit import Admission
from gateway.shell.authenticate import Authenticator
from gateway.shell.body import ClientDisconnectedError, check_size, read_body
from gateway.shell.coalesce import Forwarder, Waiting
from gateway.shell.compress import LEAST_BYTES, compressed
from gateway.shell.edge import EdgeLimiter
from gateway.shell.pods import PodClient
from gateway.shell.ticket import Fields, Ticket
from shared.asgi import answer
from shared.deadline import CLIENT_TIMEOUT_HEADER, parse_timeout_ms
from shared.errors import (
    DeadlineExceededError,
    InvalidDataError,
    MalformedRequestError,
    NotFoundError,
    OverloadedError,
    PayloadTooLargeError,
    ScoregateError,
    UnauthenticatedError,
    UpstreamError,
)
from shared.messages import ALONE
from shared.wire import Frame, WireError

Headers = list[tuple[bytes, bytes]]
#: Of a model's name and of a version: no longer one exists, and messages repeat what was asked for.
MAX_NAME = 63
_TIMEOUT = CLIENT_TIMEOUT_HEADER.encode()
#: Of what `authorise` remembers.
MAX_ASKED = 10_000
#: What comes back, or would have: what was late is known of these.
_IN_TIME_OR_NOT = frozenset({200, 504})
#: Of the time it has, what a request may have waited when it is first looked at, if its caller has many in flight.
LOOKED_AT = 0.2
#: With more rows it may be the request itself that takes long.
_FEW_ROWS = 32


class Form(Protocol):
    """An interface's way to write requests and answers. Generators pause, so that long work lets others run."""

    def content_type(self, headers: dict[bytes, bytes]) -> None:
        """Raises UnsupportedMediaTypeError for a body this form does not take, before it is read."""

    def read(self, contract: Contract, body: bytes, headers: dict[bytes, bytes]) -> Steps[tuple[Frame, Any]]:
        """The rows, and what `write` needs to know of the request; raises as `Contract.parse` does."""

    def write(self, contract: Contract, frame: Frame, asked: Any) -> Steps[tuple[Headers, bytes]]:
        """Headers and body of the answer; raises WireError where the frame is not the signature's."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A caller's grant for a model version, and all else that is the same for each of its requests."""

    caller: Caller
    grant: Grant
    served: Served
    contract: Contract
    place: Place
    pods: Callable[[], frozenset[str]]


async def in_steps(steps: Steps[Any]) -> Any:
    """The generator's result, with the event loop free between its steps."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value
        await asyncio.sleep(0)


def _check_names(model: str, version: str | None) -> None:
    if len(model) > MAX_NAME or len(version or "") > MAX_NAME:
        raise NotFoundError(f"there is no model or version of that name: they have at most {MAX_NAME} characters")


def _too_many() -> OverloadedError:
    return OverloadedError("this gateway has as many requests in flight as it takes; try again", retry_after_ms=1000)


def _give_up(answered: asyncio.Future[Frame], error: ScoregateError) -> None:
    """The request was refused while it was being scored already."""
    if not answered.done():
        answered.set_exception(error)


async def _decided(ticket: Ticket, deadline_s: float) -> Fields:
    """As `Ticket.admitted`, but not beyond the deadline: raises DeadlineExceededError."""
    if not ticket.undecided:
        return await ticket.admitted()
    try:
        async with asyncio.timeout(max(0.0, deadline_s - time.monotonic())):
            return await ticket.admitted()
    except TimeoutError as error:
        raise DeadlineExceededError from error


class Pipeline:
    """The stages of one gateway process, composed by `gateway.app`."""

    def __init__(
        self,
        settings: GatewaySettings,
        policy: Policy,
        authenticator: Authenticator,
        admission: Admission,
        edge: EdgeLimiter,
        pods: PodClient,
        contracts: Contracts,
        forwarder: Forwarder,
        metrics: Metrics,
        tracing: Tracing | None = None,
    ) -> None:
        self.settings = settings
        self.policy = policy
        self.authenticator = authenticator
        self.admission = admission
        self.edge = edge
        self.pods = pods
        self.contracts = contracts
        self.forwarder = forwarder
        self.metrics = metrics
        self.tracing = tracing
        self._clock = Clock if tracing is None else MarkedClock
        self.in_flight = 0
        self._served = Shares(settings.max_in_flight)
        self._windows = Windows(settings.max_in_flight)
        #: Told of each request that was refused before its body was read: its Authorization, its target, and what it asked for.
        self.on_turned_away: Callable[[bytes, bytes, Asked], None] = lambda *_: None
        self.heads = Heads()
        self._bodies = Bodies(settings.max_buffered_bytes)
        self._uploads = Uploads()
        #: By caller, model and version, as asked for under the index that they are of.
        self._asked: dict[tuple[Caller, str, str | None], Asked] = {}
        self._asked_of: Index | None = None

    @property
    def index(self) -> Index:
        """What the pods serve."""
        return self.pods.index

    # --- stages before the body

    async def authenticate(self, scope: Scope, headers: dict[bytes, bytes], digest: bytes | None = None) -> Caller:
        """The caller; a failure counts against the address it came from, a success never does. `digest`: of the token, if known."""
        caller = None if digest is None else self.authenticator.recall(digest)
        try:
            if caller is None:
                caller = await self.authenticator.authenticate(headers.get(b"authorization"))
        except UnauthenticatedError as error:
            self.metrics.authentications.labels(error.reason).inc()
            address = self.edge.client_address(scope)
            self.edge.check_failed(address)
            self.edge.failed(address)
            raise
        scope["state"]["caller"] = caller.key  # for the log of a refusal
        return caller

    async def _identify(self, scope: Scope) -> tuple[Caller, dict[bytes, bytes]]:
        """The caller, and the fields of the head, which may be known."""
        known: Known | None = scope["state"].get("known")
        if known is None:
            headers = dict(scope["headers"])
            return await self.authenticate(scope, headers), headers
        sent: Sent = scope["state"]["sent"]
        headers = {**known.headers, b"authorization": sent.authorization}
        return await self.authenticate(scope, headers, sent.digest), headers

    def _learn(self, scope: Scope) -> None:
        """It was answered with 200: its head need not be parsed again. With traces on, each is read for its own."""
        sent: Sent | None = scope["state"].get("sent")
        if sent is not None and self.tracing is None:
            self.heads.learn(sent, dict(scope))

    async def reader(self, request: Request) -> Caller:
        """The caller of a route that shows what there is; raises TooManyRequestsError for one who looks too often."""
        caller = await self.authenticate(request.scope, dict(request.scope["headers"]))
        self.edge.read(caller.key)
        return caller

    def authorise(self, caller: Caller, model: str, version: str | None) -> Asked:
        """The grant, and the version that will answer: resolved once, here. Remembered until the index changes."""
        if self._asked_of is not self.pods.index or len(self._asked) >= MAX_ASKED:
            self._asked_of = self.pods.index
            self._asked.clear()
        asked = self._asked.get((caller, model, version))
        if asked is None:
            _check_names(model, version)
            grant = self.policy.authorise(caller, model, known=model in self.index.models)
            asked = self._asked[caller, model, version] = self._resolve(caller, grant, self.index.find(model, version))
        return asked

    def _resolve(self, caller: Caller, grant: Grant, served: Served) -> Asked:
        entry, rules = served.entry, grant.rules
        model, version, digest = entry.model, entry.version, entry.digest

        def pods() -> frozenset[str]:
            models = self.pods.index.models
            now = models[model].versions.get(version) if model in models else None
            if now is None:  # retracted meanwhile: pods go on serving it for those it was promised to
                return served.pods
            return now.pods if now.entry.digest == digest else frozenset()

        lane: tuple[object, ...] = (model, version, digest)
        share = ""
        if rules.coalesce == "own":
            lane += (caller.key,)
            share = sha256(caller.key.encode()).hexdigest()[:32]  # who it is does not concern the scorer
        elif rules.coalesce == "off":
            share = ALONE
        alone = share == ALONE or not entry.batchable
        place = Place(lane, (model, version), caller.key, alone, share)
        return Asked(caller, grant, served, self.contracts.of(entry, rules.max_rows), place, pods)

    def model(self, caller: Caller, name: str) -> Model:
        """A model that the caller may score, to be shown."""
        _check_names(name, None)
        self.policy.authorise(caller, name, known=name in self.index.models)
        return self.index.models[name]

    def may_enter(self, asked: Asked, began_s: float, allowed_s: float, entering: int = 0) -> None:
        """Raise what a request is refused with before its body is read. It began then, and has so many seconds.

        `entering`: so many of the same caller's were let in and have not come here yet. Of a caller with many in flight, what has
        waited for long only to be looked at would wait for long at each further step, too.
        """
        key = asked.caller.key
        held = self._served.held(key) + entering
        if not self._served.fits(key, 1 + entering):
            raise _too_many()
        self.admission.precheck(key, asked.grant.limits)
        waited_s = time.monotonic() - began_s
        if waited_s > (allowed_s if held < FEW else LOOKED_AT * allowed_s):
            raise OverloadedError(
                "this gateway is too busy to answer within the time that this request allows; try again",
                retry_after_ms=1000,
            )
        if not self._windows.fits(key, held, allowed_s):
            raise OverloadedError(
                "this gateway has as many requests of yours as it can answer in time; try again", retry_after_ms=1000
            )
        self.forwarder.check(asked.place, began_s + allowed_s)

    def _enter(self, asked: Asked, scope: Scope, headers: dict[bytes, bytes], began_s: float, allowed_s: float) -> None:
        """`may_enter`, and whoever wants to know is told if not."""
        try:
            self.may_enter(asked, began_s, allowed_s)
        except ScoregateError:
            query = scope["query_string"]
            target = scope.get("raw_path", b"") + (b"?" + query if query else b"")
            self.on_turned_away(headers.get(b"authorization", b""), target, asked)
            raise

    # --- the whole

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
            if self.in_flight > self._served.most:
                raise _too_many()
            identified, headers = await self._identify(scope)
            if self.tracing is not None:
                self.tracing.begins(scope, clock)
            asked = self.authorise(identified, params["model"], params.get("version"))
            label = asked.served.entry.model
            clock.enter("admit", time.monotonic())
            allowed_s = self.timeout_ms(headers.get(_TIMEOUT), asked.grant) / 1000
            self._enter(asked, scope, headers, clock.began_s, allowed_s)
            self._served.take(identified.key, 1)
            caller = identified
            out_headers, body = await self._score(
                form, asked, scope, headers, receive, clock, clock.began_s + allowed_s
            )
            await answer(scope, send, 200, out_headers, body)
            status, code = 200, "ok"
            if "known" not in scope["state"]:
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
        held = self._served.held(key)
        self._served.give(key, 1)
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
        within_s = min(self.settings.body_timeout_s, max(0.001, deadline_s - time.monotonic()))
        body = None if b"content-encoding" in headers else scope["state"].pop("body", None)
        frame, wanted = await self._read(form, asked, headers, receive, within_s, clock, body)
        scope["state"]["rows"] = frame.rows
        clock.enter("admit", time.monotonic())
        lease_ms = max(1, int((deadline_s - time.monotonic()) * 1000))
        rows = contract.cost_rows(frame)
        answered: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        with self.admission.ask(key, limits, rows=rows, lease_ms=lease_ms) as ticket:
            if ticket.may_begin():
                ticket.on_refused = partial(_give_up, answered)
            else:
                await _decided(ticket, deadline_s)
            clock.enter("wait", time.monotonic())
            waiting = Waiting(contract, asked.pods, request, answered, asked.served.entry.retry, ticket)
            if self.tracing is not None:
                waiting.trace = self.tracing.waits(scope, asked.served.entry.version, frame.rows)
            item = Item(asked.place, frame, deadline_s, waiting)
            scope["state"]["on_client_left"] = lambda: self.forwarder.leave(item)
            try:
                answer = await self.forwarder.score(item)
            finally:
                # The connection keeps the scope until its next request: the rows and their answer would stay with it.
                del scope["state"]["on_client_left"]
                clock.scored(item.reply.trip, time.monotonic())
            clock.enter("write", time.monotonic())
            limit_fields = ticket.fields()
            if answer.rows != frame.rows:
                raise UpstreamError
            try:
                steps = form.write(contract, answer, wanted)
                try:
                    next(steps)
                except StopIteration as stop:  # as most end after one step, they cost no coroutine
                    out, content = stop.value
                else:
                    out, content = await in_steps(steps)
            except WireError as error:
                raise UpstreamError from error
        if len(content) >= LEAST_BYTES:
            encoding, content = await compressed(content, headers.get(b"accept-encoding", b""))
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

    async def _read(
        self,
        form: Form,
        asked: Asked,
        headers: dict[bytes, bytes],
        receive: Receive,
        within_s: float,
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
                    frame, wanted = await in_steps(steps)
            else:
                with self._bodies.of(key) as room:
                    with self._uploads.sending(key, limits, within_s=within_s):
                        body = await read_body(receive, headers, limit=limit, within_s=within_s, hold=room.hold)
                    clock.enter("validate", time.monotonic())
                    frame, wanted = await in_steps(form.read(asked.contract, body, headers))
        except (InvalidDataError, MalformedRequestError, PayloadTooLargeError):
            # Refused data costs one call and no rows, so that nobody can have unlimited work done by sending nonsense.
            clock.enter("admit", time.monotonic())
            (await self.admission.admit(key, limits, rows=0)).release()
            raise
        return frame, wanted

    def timeout_ms(self, text: bytes | None, grant: Grant) -> int:
        """What the client allows (`X-Request-Timeout-Ms`), or the default. Raises MalformedRequestError for what is no time."""
        if text is None:
            return grant.rules.timeout_ms or self.settings.default_timeout_ms
        try:
            return parse_timeout_ms(text.decode("latin-1"))
        except ValueError as error:
            raise MalformedRequestError(f"X-Request-Timeout-Ms {error}") from error
