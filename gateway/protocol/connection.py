"""`protect`: what a connection may cost before a request is known. A subclass of uvicorn's protocol.

uvicorn has none of these limits. The facts that force the shape:

* Its parser hands out a header field only once it is whole, so a field of 60 MB would be gathered unseen. Bytes
  are fed in slices, and a slice that completes nothing is part of the field being gathered.
* A refusal must not be written into the answer to an earlier, pipelined request: it waits for its turn, and
  parsing ends.
* A trailer field after a chunked body would be appended to the header of a request that is already being served.

Refusals are whole problem+json answers with `Connection: close`. Nothing is logged: it is the client's doing.

`head` says what a head may be, `arrival` when it came, `polite` how the connection ends. What `door` answers at once is neither
parsed nor becomes a task.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import TimerHandle
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, ClassVar, Final, NoReturn, Protocol, Self, cast

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from gateway.core.crowd import Crowd
from gateway.core.heads import Heads, Known, Sent, cut
from gateway.protocol.arrival import MANY, Arrival
from gateway.protocol.head import FRAMING, MAX_FIELDS, MAX_HEAD_BYTES, request_id_of
from gateway.protocol.polite import Polite
from gateway.protocol.refusal import new_request_id, problem
from shared.errors import (
    HeadTooLargeError,
    MalformedRequestError,
    OverloadedError,
    RequestTimeoutError,
    ScoregateError,
)
from shared.http_server import ANSWERED, Cycle, WholeProtocol

#: Requests of one connection that wait for their turn; HTTP libraries send one at a time.
MAX_PIPELINED: Final = 32
_SLICE_BYTES: Final = 16 * 1024
_NO_SCOPE: Final[Any] = {}


class Door(Protocol):
    """Where a request may have to wait before it is parsed."""

    def takes(self, connection: ProtectProtocol, data: bytes) -> bool:
        """Whether the whole request that `data` begins with waits there, as the connection's `visit`.

        What comes after it is kept in `visit.rest`. Unless that has ended meanwhile, `enter` follows, or `refused_at_the_door` and
        `data_received` with the rest.
        """


class _Input(Enum):
    """What the next byte belongs to."""

    IDLE = auto()  # no request, or empty lines before one
    HEAD = auto()
    BODY = auto()
    OVER = auto()  # nothing: it is thrown away


_IDLE, _HEAD, _BODY, _OVER = _Input.IDLE, _Input.HEAD, _Input.BODY, _Input.OVER  # an enum's members are slow to look up


class ProtectProtocol(WholeProtocol):
    """Give it to uvicorn as `http=`. Limits are class attributes, so that a subclass can have others.

    An app may set `scope["state"]["on_client_left"]`: called once if the client goes before its answer is out. If it has gone
    before that was set, the state has `client_left`.
    A request that passes has `scope["state"]["request_id"]`: its own `X-Request-Id` if fit for logs, or a new one; `began_s`,
    when its head was whole on the monotonic clock; `body`, where all of it came with its head; and, where `heads` has been told
    of its head before, `known`, else perhaps `sent`, to tell it by.
    """

    #: Seconds from a head's first byte to its last; 408.
    head_timeout_s: ClassVar[float] = 10.0
    #: Seconds without a byte of a next request, or of the first one: the connection is closed.
    idle_timeout_s: ClassVar[float] = 75.0
    #: Seconds for the rest of a body whose request has been answered already.
    drain_timeout_s: ClassVar[float] = 10.0
    #: Seconds in which a client must take some of its answer.
    stall_timeout_s: ClassVar[float] = 30.0
    #: Seconds for which input is thrown away after a refusal, so that the answer is seen.
    linger_timeout_s: ClassVar[float] = 3.0
    #: The open connections of the process, if they are bounded.
    crowd: ClassVar[Crowd[Any] | None] = None
    door: ClassVar[Door | None] = None
    #: Heads that need not be parsed again.
    heads: ClassVar[Heads | None] = None

    transport: Polite

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._input = _IDLE
        self._all_read = False  # OVER, and the client has nothing more to say
        self._refusal: ScoregateError | None = None
        self._head_bytes = self._unseen = self._fields = 0
        self._progress = False
        self._upgrading = False
        self._sent: Sent | None = None  # what comes now, if it is one whole request
        self._serving: Any = None  # the cycle that the app answers: `cycle` is the newest, which may wait for its turn
        self._idle_since_s = 0.0
        self._caller: str | None = None
        self.visit: Any = None  # what waits at the door
        self._timers: dict[str, TimerHandle] = {}

    @staticmethod
    def on_refused(error: ScoregateError) -> None:
        """Told of each refusal, for metrics. Must not raise."""

    @staticmethod
    def leaving() -> bool:
        """Whether the process drains: what the door answers then is the connection's last. The app says so by itself."""
        return False

    # --- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection that never says anything is closed as an idle one is."""
        super().connection_made(transport)
        self._raw = transport
        self._arrival = Arrival(transport)
        self.transport = Polite(transport, self)
        if self.crowd is not None and not self._is_let_in(self.crowd):
            return
        self._await_request()

    def _is_let_in(self, crowd: Crowd[Self]) -> bool:
        is_in, longest_idle = crowd.enter(self, time.monotonic())
        if longest_idle is not None:
            longest_idle.transport.close()
        if not is_in:
            if len(self.connections) > 2 * crowd.most:
                self._raw.abort()  # to listen to what is said to those that were refused takes room, too
            else:
                self._refuse(
                    OverloadedError("This gateway has as many connections open as it takes.", retry_after_ms=1000)
                )
        return is_in

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing of this connection stays behind."""
        self._refusal = None
        self._arrival.over()
        self.visit = None
        self._input = _OVER
        if self.crowd is not None:
            self.crowd.leave(self)
        self._unset_keepalive_if_required()
        for name in tuple(self._timers):
            self._cancel(name)
        serving, self._serving = self._serving, None
        if serving is not None and not serving.response_complete:
            serving.disconnected = True
            serving.message_event.set()
            state = serving.scope["state"]
            state["client_left"] = True
            left = state.get("on_client_left")
            if left is not None:
                left()  # what the request still waits for is dropped
        super().connection_lost(exc)
        self.pipeline.clear()
        # No ring is left: it would wait for the garbage collector, which comes too rarely for connections (`gateway.server`).
        self.transport = self._raw  # type: ignore[assignment]
        self.cycle = None  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """It waits at the door, or goes the usual way."""
        if self.visit is not None:
            self.visit.rest += data
            if len(self.visit.rest) <= _SLICE_BYTES:
                return
            data, self.visit = self.visit.data + self.visit.rest, None  # so much goes the usual way
        elif self.door is not None and self._input is _IDLE and not self._unseen and self._all_answered:
            if self.crowd is not None:
                self.crowd.wake(self)
            if self.door.takes(self, data):
                self._idle_since_s = time.monotonic()
                return
        self.enter(data)

    def enter(self, data: bytes) -> None:
        """The usual way of what was received: feeds the parser in slices, and counts what it does not hand out."""
        if self._over:
            return
        self._with_head = False
        if self.crowd is not None:
            self.crowd.wake(self)
        self._sent = None
        if self.heads is not None and self._input is _IDLE and not self._unseen and self._all_answered:
            self._sent = sent = cut(data)
            if sent is not None and (known := self.heads.find(sent)) is not None:
                self._begin_known(known, sent, data)
                return
        for at in range(0, len(data), _SLICE_BYTES):
            piece = data if len(data) <= _SLICE_BYTES else data[at : at + _SLICE_BYTES]
            self._progress = False
            self._feed(piece)
            if self._over:
                return
            if not self._progress and self._input is not _BODY:
                self._unseen += len(piece)
                if self._head_bytes + self._unseen > MAX_HEAD_BYTES:
                    self._refuse(HeadTooLargeError())
                    return
        if self._input is _HEAD or self._unseen:
            self.start("head", self.head_timeout_s, self._head_overdue)
        elif self._input is _IDLE and self._all_answered:
            self._await_request()

    @property
    def _all_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def refused_at_the_door(self, answer: list[bytes], caller: str) -> None:
        """Its request was not let in: the parts of the answer, the status line first, and whose it was."""
        if self.transport.is_closing():
            return
        self.server_state.total_requests += 1
        self._idle_since_s = time.monotonic()
        default = [b"%b: %b\r\n" % field for field in self.server_state.default_headers]
        crowd, self._caller = self.crowd, caller
        if crowd is not None:
            crowd.belong(self, caller)
        if self.leaving() or (crowd is not None and crowd.crowds(caller)):
            self._raw.write(b"".join((answer[0], b"connection: close\r\n", *default, *answer[1:])))
            self.transport.close()
            return
        if crowd is not None:
            crowd.rest(self, self._idle_since_s)
        self._raw.write(b"".join((answer[0], *default, *answer[1:])))

    @property
    def _over(self) -> bool:
        return self._input is _OVER

    def _feed(self, piece: bytes) -> None:
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade()
            self._feed(piece[upgrade.args[0] :])
        except httptools.HttpParserError:
            if self._input is not _OVER:
                self._refuse(self._refusal or MalformedRequestError("This is not an HTTP/1.1 request."))

    def _decline_upgrade(self) -> None:
        """Serves the request as if it had not asked (RFC 9110, 7.8); Java's HttpClient asks for h2c on every first call.

        The parser believes that another protocol follows the head, so another parser, told only how the body is framed,
        goes on behind it.
        """
        framing = [b"%b: %b\r\n" % field for field in self.headers if field[0] in FRAMING]
        close = b"" if self.cycle.keep_alive else b"Connection: close\r\n"
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._upgrading = True
        self.parser.feed_data(b"POST / HTTP/1.1\r\n%b%b\r\n" % (b"".join(framing), close))

    # --- what the parser calls; an exception ends the parsing

    def on_message_begin(self) -> None:
        """A head begins."""
        if self._upgrading:
            return
        self._input = _HEAD
        self._head_bytes = self._fields = self._unseen = 0
        self._progress = True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Comes in parts if the head does."""
        if self._upgrading:
            return
        self._count(len(url))
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A whole field. After the body it is a trailer: counted, and dropped."""
        if self._upgrading:
            return
        self._progress = True
        self._unseen = 0
        self._fields += 1
        self._head_bytes += len(name) + len(value) + 4
        if self._fields > MAX_FIELDS or self._head_bytes > MAX_HEAD_BYTES:
            self._stop(HeadTooLargeError())
        if self._input is _HEAD:
            # White space behind a value is no part of it (RFC 9110, 5.5). How a body is framed the parser has decided
            # from the value as it came, so that is what gets checked.
            name = name.lower()
            if name not in FRAMING:
                value = value.rstrip(b" \t")
                if name == b"expect" and value.lower() == b"100-continue":
                    # Of HTTP/1.0 it is ignored (RFC 9110, 10.1.1).
                    self.expect_100_continue = self.parser.get_http_version() != "1.0"
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole and is checked; the request begins."""
        if self._upgrading:
            self._upgrading = False
            return
        self._progress = True
        self._unseen = 0
        if self._timers:
            self._cancel("head")
        if len(self.pipeline) >= MAX_PIPELINED:
            self._stop(MalformedRequestError(f"More than {MAX_PIPELINED} requests wait on this connection."))
        state = self.scope["state"]
        try:
            state["request_id"] = request_id_of(self.headers)
        except MalformedRequestError as error:
            self._stop(error)
        state["began_s"] = time.monotonic() - (self._arrival.waited_s() if len(self.tasks) >= MANY else 0.0)
        self._begin()
        if self._sent is not None and self.cycle.keep_alive:
            state["sent"], self._sent = self._sent, None
        self._with_head = True
        self._input = _BODY
        self._upgrading = self.parser.should_upgrade()

    def _begin_known(self, known: Known, sent: Sent, data: bytes) -> None:
        """A whole request whose head was parsed and checked before: what follows from the head is known."""
        state = self.app_state.copy()
        state["request_id"] = sent.request_id or new_request_id()
        state["began_s"] = time.monotonic() - (self._arrival.waited_s() if len(self.tasks) >= MANY else 0.0)
        state["body"] = data[sent.body_at :]
        state["known"], state["sent"] = known, sent
        self.expect_100_continue = False
        headers = [*known.scope["headers"], (b"authorization", sent.authorization)]
        scope: Any = {
            **known.scope, "headers": headers, "state": state, "client": self.client, "server": self.server
        }  # fmt: skip
        self.scope = scope
        self.cycle = self._cycle(scope, keep_alive=True)
        self.cycle.more_body = False
        self._start_asgi_task(self.cycle, self.app)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._serving = cycle
        super()._start_asgi_task(cycle, app)

    def _cycle(self, scope: Any, *, keep_alive: bool) -> Cycle:
        if self.crowd is not None and self._caller is not None and self.crowd.crowds(self._caller):
            keep_alive = False
        return super()._cycle(scope, keep_alive=keep_alive)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._progress = True
        if self.cycle.response_complete:
            return
        whole = self.cycle.body
        whole += body
        if len(whole) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        """The request is whole. After `Connection: close` nothing more is read."""
        if self._upgrading:  # only for the parser that expects another protocol
            return
        self._progress = True
        self._unseen = 0
        if self._timers:
            self._cancel("drain")
        super().on_message_complete()
        self._all_read = not self.parser.should_keep_alive()
        self._input = _OVER if self._all_read else _IDLE
        self._head_bytes = self._fields = 0

    def _count(self, size: int) -> None:
        """Something was handed out: what had been counted as unseen was part of it."""
        self._progress = True
        self._unseen = 0
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._stop(HeadTooLargeError())

    def _stop(self, error: ScoregateError) -> NoReturn:
        self._refusal = error
        try:
            raise error
        finally:
            del error  # its traceback has this frame: a ring, were it kept here

    # --- refusing

    def _head_overdue(self) -> None:
        if self.flow.read_paused:  # the rest may long be here: we do not look, because of earlier requests
            self.start("head", self.head_timeout_s, self._head_overdue)
        elif self._input in (_IDLE, _HEAD):
            self._refuse(
                RequestTimeoutError(f"The request's head was not whole within {self.head_timeout_s:g} seconds.")
            )

    def _refuse(self, error: ScoregateError) -> None:
        """Ends the input; answers now or, while earlier requests are being served, when it is this one's turn."""
        self._cancel("head")
        broken = self.cycle if self._input is _BODY else None
        self._input = _OVER
        self._refusal = error
        if broken is not None and self.pipeline and self.pipeline[0][0] is broken:
            self.pipeline.popleft()  # the newest is on the left
        elif broken is not None and broken.response_started:
            # Its answer is out, or half out; another one would be taken for the next request's.
            self._refusal = None
            broken.keep_alive = False
            if broken.response_complete:
                self.transport.close()
        elif broken is not None:
            broken.disconnected = True  # the app sees its client go, and what it still sends is dropped
            broken.message_event.set()
            self._answer()
        elif not self.pipeline and self._all_answered:
            self._answer()

    def on_response_complete(self) -> None:
        """Starts the next request or waits for one, as uvicorn does; a refusal that waited for its turn is answered."""
        self.server_state.total_requests += 1
        self._serving = None
        if self._refusal is not None and not self.pipeline:
            self._answer()
            return
        if self.crowd is not None and self.cycle is not None:  # it is None where the connection was lost meanwhile
            self._caller = self.cycle.scope["state"].get("caller")
            if self._caller is not None:
                self.crowd.belong(self, self._caller)
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._await_request()
            if self._input is _IDLE:  # an idle connection keeps nothing of its last request
                self.cycle, self.scope, self.headers, self._sent = cast("Any", ANSWERED), _NO_SCOPE, [], None
        if self._input is _BODY and self.cycle.response_complete:
            self.start("drain", self.drain_timeout_s, self.transport.close)

    def _answer(self) -> None:
        error, self._refusal = self._refusal, None
        if error is not None and not self.transport.is_closing():
            self.on_refused(error)
            self._raw.write(problem(error, new_request_id()))
            self.transport.close()

    # --- ending

    def shutdown(self) -> None:
        """As uvicorn does. What waits at the door is served first: its connection looks idle, and would be closed."""
        if self.visit is not None:
            data, self.visit = self.visit.data + self.visit.rest, None
            self.enter(data)
        super().shutdown()

    def end_input(self) -> bool:
        """As `polite.Ends` says."""
        clean = self._all_read or (self._input is _IDLE and not self._unseen)
        self._input = _OVER
        self.visit = None
        self.flow.resume_reading()
        return clean

    def pause_writing(self) -> None:
        """The client takes its answer slowly, or not at all."""
        super().pause_writing()
        self.transport.watch_output()

    # --- time

    def _await_request(self) -> None:
        """The connection is idle from now on. One timer looks after it, however many requests come and go meanwhile."""
        self._idle_since_s = time.monotonic()
        if self.crowd is not None:
            self.crowd.rest(self, self._idle_since_s)
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(self.idle_timeout_s, self._idle_overdue)

    def _idle_overdue(self) -> None:
        self.timeout_keep_alive_task = None
        if self._input is not _IDLE or not self._all_answered:
            return  # the end of what is being served begins another wait
        left_s = self._idle_since_s + self.idle_timeout_s - time.monotonic()
        if left_s > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left_s, self._idle_overdue)
        else:
            self.transport.close()

    def start(self, name: str, after_s: float, then: Callable[[], None]) -> None:
        """A timer, unless it runs already."""
        if name not in self._timers:
            self._timers[name] = self.loop.call_later(after_s, self._fire, name, then)

    def _fire(self, name: str, then: Callable[[], None]) -> None:
        del self._timers[name]
        then()

    def _cancel(self, name: str) -> None:
        if timer := self._timers.pop(name, None):
            timer.cancel()
