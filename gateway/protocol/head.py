"""What a head may be: its bounds, and that no two readers can read it in two ways. Pure.

RFC 9112 leaves much to the reader; whatever a proxy before us might have read otherwise is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from gateway.core.heads import REQUEST_ID
from gateway.protocol.refusal import new_request_id
from shared.errors import MalformedRequestError

MAX_HEAD_BYTES: Final = 16 * 1024
MAX_FIELDS: Final = 100
#: Fields that say how the body is framed: the parser has decided by them.
FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
#: Fields that two readers could read in two ways if they came twice (RFC 9110, 5.3; RFC 9112, 6.3).
_ONCE: Final = frozenset(
    {b"host", b"authorization", b"content-type", b"content-encoding", b"x-request-timeout-ms", *FRAMING}
)
_DIGITS: Final = re.compile(rb"[0-9]{1,18}")


def request_id_of(fields: Iterable[tuple[bytes, bytes]]) -> str:
    """The request's own id if it is fit for logs, or a new one. Raises MalformedRequestError for a head that is not clear."""
    seen: set[bytes] = set()
    ids = []
    for name, value in fields:
        if name == b"x-request-id":
            ids.append(value)
        elif name in _ONCE:
            if name in seen:
                raise MalformedRequestError(f"The header field {name.decode()} may come only once.")
            seen.add(name)
            if name == b"content-length" and not _DIGITS.fullmatch(value):
                raise MalformedRequestError("Content-Length is not a number.")
            if name == b"transfer-encoding" and value.lower() != b"chunked":
                raise MalformedRequestError("Transfer-Encoding must be chunked.")
    if b"host" not in seen:
        raise MalformedRequestError("The header field host is missing.")
    if b"content-length" in seen and b"transfer-encoding" in seen:
        raise MalformedRequestError("Content-Length and Transfer-Encoding exclude each other.")
    return ids[0].decode() if len(ids) == 1 and REQUEST_ID.fullmatch(ids[0]) else new_request_id()
