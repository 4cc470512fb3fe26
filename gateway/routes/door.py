"""Where requests wait whose like was refused a moment ago: a flood is answered with the time that serving others leaves.

The pipeline tells of each request that it refused before reading the body, by token and address as they were sent. For a second
whole requests with the same bytes in both places are not parsed but wait here, and are asked the very same question
(`Entry.may_enter`): whoever would now be let in goes the usual way, others get the same refusal for a fraction of its price. So
nobody is refused here who would not be there. What is not known here, and whose end is not beyond doubt, never comes here.

Newest first, and after each turn of the event loop for at most a share of what that turn took: where even refusing is too much
work, those whose clients have waited for longest are served worst, and goodput does not suffer.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from typing import Final

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from gateway.core.heads import REQUEST_ID
from gateway.core.problem_json import render
from gateway.core.stages import Clock, server_timing
from gateway.metrics import Metrics
from gateway.middleware.errors import Note
from gateway.protocol import ProtectProtocol, new_request_id
from gateway.routes.entry import Asked, Entry
from shared.errors import MalformedRequestError, ScoregateError

log = structlog.get_logger(__name__)
#: For how long a refusal is remembered; then one request goes the usual way, and for so long the others wait here.
REMEMBER_S: Final = 1.0
_TRY_S: Final = 0.1
MAX_REMEMBERED: Final = 256
#: Of the time that a turn of the event loop took for all else, what may be spent here after it; and at least so long.
SHARE: Final = 0.15
LEAST_S: Final = 0.001
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]{1,9})\r\n")
#: What may mean another end of the request than its length says, or that the client waits for a word before its body.
_DOUBTS = (b"transfer-encoding", b"\r\nexpect", b"\r\nupgrade", b"\r\nconnection: close")


@dataclass(slots=True, eq=False)
class Refused:
    """What was refused, and until when that is remembered."""

    asked: Asked
    until_s: float


@dataclass(slots=True, eq=False)
class Visitor:
    """A whole request that waits; `rest`: what its connection has said after it."""

    connection: ProtectProtocol
    data: bytes
    rest: bytes
    target: bytes
    asked: Asked
    came_s: float

    @property
    def gone(self) -> bool:
        """Whether its connection is lost, or it has said so much more that it waits no longer."""
        return self.connection.visit is not self


class Door:
    """One process'. `note` is told of each refusal, for the log."""

    def __init__(self, entry: Entry, metrics: Metrics, note: Note) -> None:
        self._entry = entry
        self._metrics = metrics
        self._note = note
        #: By token and address; the first to be forgotten on the left.
        self._refused: OrderedDict[tuple[bytes, bytes], Refused] = OrderedDict()
        self._waiting: deque[Visitor] = deque()  # the newest on the right
        self._called = False
        self._ended_s = 0.0
        self._entering: Counter[str] = Counter()  # let in by the `_serve` that runs, and not yet seen by the pipeline

    def __len__(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    def remember(self, authorization: bytes, target: bytes, asked: Asked) -> None:
        """A request with this token for this address was refused before its body was read.

        At most `MAX_REMEMBERED` tokens are kept; one whose time has been over for `REMEMBER_S` goes with anybody's next refusal.
        """
        now = time.monotonic()
        self._refused[authorization, target] = Refused(asked, now + REMEMBER_S)
        self._refused.move_to_end((authorization, target))
        while len(self._refused) > MAX_REMEMBERED or now > next(iter(self._refused.values())).until_s + REMEMBER_S:
            self._refused.popitem(last=False)

    def takes(self, connection: ProtectProtocol, data: bytes) -> bool:
        """As `gateway.protocol.Door` says."""
        if not self._refused or not data.startswith(b"POST /"):
            return False
        end = data.find(b"\r\n\r\n")
        at = data.find(b" HTTP/1.1\r\n", 5, end)
        if at < 0:
            return False
        head = data[at : end + 2].lower()
        token_at = head.find(b"\r\nauthorization: ")
        if token_at < 0:
            return False
        token_at += at + 17
        target = data[5:at]
        key = data[token_at : data.find(b"\r\n", token_at)], target
        refused = self._refused.get(key)
        if refused is None:
            return False
        now = time.monotonic()
        if now > refused.until_s:
            if now > refused.until_s + REMEMBER_S:
                del self._refused[key]
            else:
                refused.until_s = now + _TRY_S
                self._refused.move_to_end(key)
            return False
        length = _length(head)
        if length is None or (whole := end + 4 + length) > len(data):
            return False
        connection.visit = visitor = Visitor(connection, data[:whole], data[whole:], target, refused.asked, now)
        self._waiting.append(visitor)
        if not self._called:
            self._called = True
            asyncio.get_running_loop().call_soon(self._serve)
        return True

    def _serve(self) -> None:
        """Once in a turn of the event loop, while somebody waits."""
        began_s = now = time.monotonic()
        self._entering.clear()
        until_s = began_s + max(LEAST_S, SHARE * (began_s - self._ended_s))
        try:
            self._forget_the_gone()
            if self._waiting:
                self._see(self._waiting.popleft(), now)  # nobody waits for ever
            while self._waiting and now < until_s:
                self._see(self._waiting.pop(), now)
                now = time.monotonic()
        finally:  # whatever happens: no other turn would be called
            self._ended_s = now
            self._called = bool(self._waiting)
            if self._called:
                asyncio.get_running_loop().call_soon(self._serve)

    def _forget_the_gone(self) -> None:
        """Those who have waited for longest leave first: kept until their turn, a flood's dead connections would be ever more."""
        while self._waiting and self._waiting[0].gone:
            self._waiting.popleft()

    def _see(self, visitor: Visitor, now: float) -> None:
        """It goes in or is refused. A mistake of ours about one costs the others nothing."""
        if visitor.gone:
            return
        visitor.connection.visit = None
        try:
            self._answer(visitor, now)
        except Exception:
            log.exception("gateway.door.failed", path=visitor.target.decode("latin-1")[:200])
            visitor.connection.transport.close()

    def _answer(self, visitor: Visitor, now: float) -> None:
        connection, asked = visitor.connection, visitor.asked
        try:
            timeout_ms = self._entry.timeout_ms(_field(visitor.data, b"x-request-timeout-ms"), asked.grant)
            entering = self._entering[asked.caller.key]
            self._entry.may_enter(asked, visitor.came_s, timeout_ms / 1000, entering)
        except MalformedRequestError:
            connection.enter(visitor.data + visitor.rest)
        except ScoregateError as error:
            connection.refused_at_the_door(self._refusal(error, visitor, now), asked.caller.key)
            if visitor.rest:
                connection.data_received(visitor.rest)
        else:
            self._entering[asked.caller.key] += 1
            connection.enter(visitor.data + visitor.rest)

    def _refusal(self, error: ScoregateError, visitor: Visitor, now: float) -> list[bytes]:
        sent_id = _field(visitor.data, b"x-request-id")
        request = sent_id.decode() if sent_id and REQUEST_ID.fullmatch(sent_id) else new_request_id()
        clock = Clock(visitor.came_s)
        clock.end(now)
        self._metrics.answered(visitor.asked.served.entry.model, error.status, error.reason, clock)
        path = visitor.target.decode("latin-1")
        self._note(error, request, path, visitor.asked.caller.key, {})
        headers, body = render(error, oip=path.startswith("/v2"), request=request)
        lines = [b"%b: %b\r\n" % field for field in headers]
        return [STATUS_LINE[error.status], *lines, b"server-timing: %b\r\n\r\n" % server_timing(clock.spent_s), body]


def _length(head: bytes) -> int | None:
    """So many bytes behind its head the request ends; None where that is not beyond doubt."""
    length = _LENGTH.search(head)
    if (
        length is None
        or head.count(b"content-length") != 1
        or head.count(b"authorization") != 1
        or head.count(b"\n") != head.count(b"\r\n")
        or any(doubt in head for doubt in _DOUBTS)
    ):
        return None
    return int(length[1])


_FIELDS = {
    name: re.compile(rb"\r\n%b: ([^\r]*)\r\n" % name, re.IGNORECASE)
    for name in (b"x-request-timeout-ms", b"x-request-id")
}


def _field(data: bytes, name: bytes) -> bytes | None:
    """The value of a field as it was sent; what follows the head has no field's name at a line's beginning."""
    found = _FIELDS[name].search(data, 0, data.find(b"\r\n\r\n") + 2)
    return found[1] if found else None
