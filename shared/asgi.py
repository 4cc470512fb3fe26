"""An extension of ASGI between our server and our apps: an answer in one message instead of two.

An app may send `WHOLE_ANSWER` (`status`, `headers`, `body`) where `scope["extensions"]` names it; it says its own Content-Length.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Final

from starlette.types import Scope, Send

Headers = Sequence[tuple[bytes, bytes]]

WHOLE_ANSWER: Final = "http.response.whole"
#: The messages with which an answer begins.
BEGINNINGS: Final = frozenset({"http.response.start", WHOLE_ANSWER})


def answer(scope: Scope, send: Send, status: int, headers: Headers, body: bytes) -> Awaitable[None]:
    """Send an answer, in one message if the server takes that."""
    if WHOLE_ANSWER in scope.get("extensions", ()):
        return send({"type": WHOLE_ANSWER, "status": status, "headers": headers, "body": body})
    return _in_two(send, status, headers, body)


async def _in_two(send: Send, status: int, headers: Headers, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
