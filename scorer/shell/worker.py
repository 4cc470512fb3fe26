"""One worker's socket: frames out, frames in, one at a time over one kept connection.

HTTP/1.1 with httptools' parser straight on an asyncio protocol: between two processes that speak one known form, a general
client's pool, URLs and timers cost more than the call (docs/explanation/performance.md). The caller keeps order and time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import httptools

_MAX_HEADER_BYTES = 64 * 1024


class WorkerLostError(ConnectionError):
    """The worker's connection broke, or what came over it was no answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A worker's answer as it came."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def rows(self) -> int:
        """`X-Rows`; -1 if it is missing or no number."""
        text = self.headers.get(b"x-rows", b"")
        return int(text) if text.isdigit() and len(text) < 12 else -1


class WorkerConnection(asyncio.Protocol):
    """`predict` and `ping` take a callback that is called exactly once, with a Reply or a WorkerLostError."""

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._transport: asyncio.Transport | None = None
        self._on_reply: Callable[[Reply | WorkerLostError], None] | None = None
        self.on_lost: Callable[[], object] = _nothing
        self._reset()

    @classmethod
    async def connect(cls, path: Path, max_body_bytes: int) -> WorkerConnection:
        """Raises OSError if nothing listens there."""
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_unix_connection(lambda: cls(max_body_bytes), str(path))
        return protocol

    def predict(self, body: bytes, rows: int, on_reply: Callable[[Reply | WorkerLostError], None]) -> None:
        """Send one frame. Only when no other reply is due."""
        head = f"POST /predict HTTP/1.1\r\nHost: worker\r\nX-Rows: {rows}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._send(head.encode() + body, on_reply)

    def ping(self, on_reply: Callable[[Reply | WorkerLostError], None]) -> None:
        """Ask whether it answers."""
        self._send(b"GET /ping HTTP/1.1\r\nHost: worker\r\n\r\n", on_reply)

    async def ask(self, body: bytes, rows: int) -> Reply:
        """`predict` to wait for. Raises WorkerLostError."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def done(reply: Reply | WorkerLostError) -> None:
            if future.done():
                return
            if isinstance(reply, Reply):
                future.set_result(reply)
            else:
                future.set_exception(reply)

        self.predict(body, rows, done)
        return await future

    def close(self) -> None:
        """Close the connection; a reply that is due becomes WorkerLostError."""
        if self._transport is not None:
            self._transport.abort()

    def _send(self, data: bytes, on_reply: Callable[[Reply | WorkerLostError], None]) -> None:
        if self._on_reply is not None:
            raise RuntimeError("one request at a time")
        self._on_reply = on_reply
        if self._transport is None or self._transport.is_closing():
            self._done(WorkerLostError("the connection is closed"))
            return
        self._transport.write(data)

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size = 0

    def _done(self, reply: Reply | WorkerLostError) -> None:
        if self._on_reply is not None:
            on_reply, self._on_reply = self._on_reply, None
            on_reply(reply)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._done(WorkerLostError(str(exc) if exc else "the worker closed its connection"))
        self.on_lost()

    # httptools' callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field."""
        self._size += len(name) + len(value)
        if self._size > _MAX_HEADER_BYTES:
            self.close()
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The body counts from here."""
        self._size = 0

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        self._size += len(data)
        if self._size > self._max_body_bytes:
            self.close()
            return
        self._body.append(data)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        reply = Reply(self._parser.get_status_code(), self._headers, b"".join(self._body))
        self._reset()
        self._done(reply)


def _nothing() -> None:
    """Nobody wants to know yet."""
