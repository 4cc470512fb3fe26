"""Heads of requests that were seen before: what a client sends with each of its requests is parsed and checked once.

From one request to the next a client's head differs in the length of the body and in an id, and in nothing else. Of two heads
that differ in nothing else a parser makes the same, so what came of the first, after it was parsed, checked, dispatched and
answered with 200, serves for the next. Only the bytes decide: a head that differs in a blank is another one. Whether its token
still holds, and what its caller may do, is asked anew each time. Pure.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

MAX_KNOWN: Final = 1024
MAX_BYTES: Final = 8 * 1024
REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_DIGITS: Final = re.compile(rb"[0-9]{1,9}")
#: Fields whose values do not change what becomes of a request whose body is here. A value with other bytes is part of the head.
_VARIES: Final = re.compile(
    rb"\r\n(content-length|x-request-id|traceparent|tracestate): ([\x21-\x7e]*)(?=\r\n)", re.IGNORECASE
)
VARYING: Final = frozenset({b"content-length", b"x-request-id", b"traceparent", b"tracestate"})


class Sent(msgspec.Struct, frozen=True, eq=False):
    """One whole request as it was sent: what its head has in common with others, its own id, and where its body begins."""

    key: tuple[bytes, ...]
    request_id: str | None
    body_at: int


class Known(msgspec.Struct, frozen=True, eq=False):
    """What came of a head: the ASGI scope without what belongs to one request or connection, its fields, its token's digest."""

    scope: dict[str, Any]
    headers: dict[bytes, bytes]
    digest: bytes


def cut(data: bytes) -> Sent | None:
    """None for what is not, beyond doubt, one POST whose body is as long as its head says."""
    end = data.find(b"\r\n\r\n", 0, MAX_BYTES)
    if end < 0 or not data.startswith(b"POST /"):
        return None
    parts = _VARIES.split(data[: end + 2])
    names, values = parts[1::3], parts[2::3]
    length = request_id = None
    for name, value in zip(names, values, strict=True):
        match name.lower():
            case b"content-length" if length is None and _DIGITS.fullmatch(value):
                length = int(value)
            case b"x-request-id" if request_id is None and REQUEST_ID.fullmatch(value):
                request_id = value.decode()
            case b"traceparent" | b"tracestate":
                pass
            case _:
                return None
    if length != len(data) - end - 4:
        return None
    return Sent((*parts[::3], *names), request_id, end + 4)


def what_came_of(scope: dict[str, Any], digest: bytes) -> Known | None:
    """What to keep of a request that was answered; None where its head says more than `cut` looks at."""
    fields = [field for field in scope["headers"] if field[0] not in VARYING]
    names = {name for name, _ in fields}
    if not names.isdisjoint((b"transfer-encoding", b"content-encoding", b"expect", b"upgrade")):
        return None
    kept = {key: value for key, value in scope.items() if key not in ("state", "headers", "client", "server", "app")}
    return Known({**kept, "headers": fields}, dict(fields), digest)


class Heads:
    """At most `MAX_KNOWN` of them; beyond, the one that was learned first is forgotten."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, ...], Known] = {}

    def __len__(self) -> int:
        return len(self._known)

    def find(self, sent: Sent) -> Known | None:
        """What is known of its head."""
        return self._known.get(sent.key)

    def learn(self, sent: Sent, found: Known) -> None:
        """A request with this head was answered with 200."""
        if len(self._known) >= MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[sent.key] = found
