"""Heads of requests that were seen before: what a client sends with each of its requests is parsed and checked once.

From one request to the next a client's head differs in the length of the body and in ids, and in nothing else. Of two heads
that differ in nothing else a parser makes the same, so what came of the first, after it was parsed, checked, dispatched and
answered with 200, serves for the next. Only the bytes decide: a head that differs in a blank is another one. Whether its token
still holds, and what its caller may do, is asked anew each time. Tokens are known by their digest, never kept. Pure.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

import msgspec

MAX_KNOWN: Final = 1024
MAX_BYTES: Final = 8 * 1024
#: Digests of heads that were answered once: only what comes again is worth keeping.
MAX_SEEN: Final = 4096
REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_DIGITS: Final = re.compile(rb"[0-9]{1,9}")
#: Ids that clients and proxies give each request anew, and that nothing here reads.
_IDS: Final = (
    b"traceparent", b"tracestate", b"request-id", b"x-correlation-id", b"x-ms-client-request-id", b"x-azure-ref",
    b"x-appgw-trace-id",
)  # fmt: skip
#: Fields whose values do not change what becomes of a request whose body is here. A value with other bytes is part of the head.
VARYING: Final = frozenset({b"content-length", b"x-request-id", b"authorization", *_IDS})
_VARIES: Final = re.compile(rb"\r\n(" + b"|".join(sorted(VARYING)) + rb"): ([\x20-\x7e]*)(?=\r\n)", re.IGNORECASE)


class Sent(msgspec.Struct, frozen=True, eq=False):
    """One whole request as it was sent: what its head has in common with others, and what is its own."""

    key: tuple[bytes, ...]
    authorization: bytes
    #: SHA-256 of the token.
    digest: bytes
    request_id: str | None
    body_at: int


class Known(msgspec.Struct, frozen=True, eq=False):
    """What came of a head: the ASGI scope and the fields, without what belongs to one request or connection."""

    scope: dict[str, Any]
    headers: dict[bytes, bytes]


def cut(data: bytes) -> Sent | None:
    """None for what is not, beyond doubt, one POST with a bearer token whose body is as long as its head says."""
    end = data.find(b"\r\n\r\n", 0, MAX_BYTES)
    if end < 0 or not data.startswith(b"POST /"):
        return None
    # The token is most of a head: a search for it, and the expression on what is left, take half of what the expression alone took.
    at = max(data.find(b"\r\nAuthorization: Bearer ", 0, end), data.find(b"\r\nauthorization: Bearer ", 0, end))
    if at < 0:
        return None
    token_at, token_end = at + 24, data.find(b"\r\n", at + 24, end + 2)
    parts = _VARIES.split(data[:at] + data[token_end : end + 2])
    names = parts[1::3]
    length = request_id = None
    for name, value in zip(names, parts[2::3], strict=True):
        match name.lower():
            case b"content-length" if length is None and _DIGITS.fullmatch(value):
                length = int(value)
            case b"x-request-id" if request_id is None and REQUEST_ID.fullmatch(value):
                request_id = value.decode()
            case b"content-length" | b"x-request-id" | b"authorization":
                return None
    if length != len(data) - end - 4:
        return None
    digest = hashlib.sha256(data[token_at:token_end]).digest()
    return Sent((*parts[::3], *names, digest), data[at + 17 : token_end], digest, request_id, end + 4)


def what_came_of(scope: dict[str, Any]) -> Known | None:
    """What to keep of a request that was answered; None where its head says more than `cut` looks at."""
    fields = [field for field in scope["headers"] if field[0] not in VARYING]
    names = {name for name, _ in fields}
    if not names.isdisjoint((b"transfer-encoding", b"content-encoding", b"expect", b"upgrade")):
        return None
    kept = {key: value for key, value in scope.items() if key not in ("state", "headers", "client", "server", "app")}
    return Known({**kept, "headers": fields}, dict(fields))


class Heads:
    """At most `MAX_KNOWN` of them; beyond, the one that was learned first is forgotten."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, ...], Known] = {}
        self._seen: set[int] = set()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, sent: Sent) -> Known | None:
        """What is known of its head."""
        return self._known.get(sent.key)

    def learn(self, sent: Sent, scope: dict[str, Any]) -> None:
        """A request with this head was answered with 200: the second time it is kept."""
        mark = hash(sent.key)
        if mark not in self._seen:
            if len(self._seen) >= MAX_SEEN:
                self._seen.clear()
            self._seen.add(mark)
        elif sent.key not in self._known and (known := what_came_of(scope)) is not None:
            if len(self._known) >= MAX_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[sent.key] = known
