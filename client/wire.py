"""A connection of the open-loop generator: one HTTP/1.1 request, one answer, over TCP or a unix socket.

As little work per request as there can be, since what the generator takes is missing from what it measures: no headers are
parsed but the answer's status and length. Answers must have a Content-Length.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)

#: Called once for each request: the status and body of its answer, or 0 and why there is none.
OnAnswer = Callable[[int, bytes], None]


class Connection(asyncio.Protocol):
    """`send` while no answer is due. `on_free` is called when the next request may be sent, unless the connection is over."""

    def __init__(
        self,
        on_free: Callable[[Connection], object],
        on_lost: Callable[[Connection], object],
        heard: Callable[[bytes], object] | None = None,
    ) -> None:
        self._on_free = on_free
        self._heard = heard
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._on_answer: OnAnswer | None = None
        self._data = b""
        self._whole = 0

    def send(self, request: bytes, on_answer: OnAnswer) -> None:
        """Send one; without a connection `on_answer` is called at once."""
        self._on_answer = on_answer
        if self._transport is None or self._transport.is_closing():
            self._answered(0, b"the connection is closed")
        else:
            self._transport.write(request)

    def close(self) -> None:
        """Close it, whatever is due."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """asyncio's."""
        data = self._data + data if self._data else data
        if not self._whole:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._data = data
                return
            found = _LENGTH.search(data, 0, end + 2)
            self._whole = end + 4 + int(found[1]) if found else len(data)
        if len(data) < self._whole:
            self._data = data
            return
        end = data.find(b"\r\n\r\n")
        status, body = int(data[9:12]), data[end + 4 :]
        self._data, self._whole = b"", 0
        if self._heard is not None:
            self._heard(data[: end + 2])
        if _CLOSE.search(data, 0, end + 2):
            self.close()
            self._transport = None
        self._answered(status, body)
        if self._transport is not None:
            self._on_free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's."""
        self._transport = None
        self._on_lost(self)
        self._answered(0, (str(exc) if exc else "the connection was closed without an answer").encode())

    def _answered(self, status: int, body: bytes) -> None:
        if self._on_answer is not None:
            on_answer, self._on_answer = self._on_answer, None
            on_answer(status, body)
