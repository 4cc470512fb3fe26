"""One kept HTTP/1.1 connection between two of our own processes: a request out, its answer back, one at a time.

httptools' parser straight on an asyncio protocol: where both ends speak one known form, a general client's pool, URLs and timers
cost more than the call (docs/explanation/performance.md). Whoever asks keeps order and time, and writes whole requests: nothing
here quotes, redirects, retries or decompresses. Answers without a length are not understood; our servers always send one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Self, cast

import httptools
import msgspec

_MAX_HEADER_BYTES = 64 * 1024


class LostError(ConnectionError):
    """The connection broke, or what came over it was no answer."""


class Reply(msgspec.Struct, frozen=True, eq=False):
    """An answer as it came. Names of header fields are in lower case; of one that came twice the last counts."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


OnReply = Callable[[Reply | LostError], None]


def into(future: asyncio.Future[Reply]) -> OnReply:
    """A callback for `Connection.send` that settles the future, unless somebody has given it up."""

    def done(reply: Reply | LostError) -> None:
        if future.done():
            return
        if isinstance(reply, Reply):
            future.set_result(reply)
        else:
            future.set_exception(reply)

    return done


class Connection(asyncio.Protocol):
    """`send` takes a callback that is called exactly once. `on_lost` is called once, after it, when the connection has ended."""

    def __init__(self, max_body_bytes: int) -> None:
        """A longer answer ends the connection."""
        self._max_body_bytes = max_body_bytes
        self._transport: asyncio.Transport | None = None
        self._on_reply: OnReply | None = None
        self.on_lost: Callable[[], object] = _nothing
        self._reset()

    @classmethod
    async def to_socket(cls, path: Path, max_body_bytes: int) -> Self:
        """Over a unix socket. Raises OSError if nothing listens there."""
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_unix_connection(lambda: cls(max_body_bytes), str(path))
        return protocol

    @classmethod
    async def to_host(cls, host: str, port: int, max_body_bytes: int, tls: ssl.SSLContext | None = None) -> Self:
        """Over TCP, with TLS for the name `host` if there is a context. Raises OSError (ssl.SSLError is one)."""
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(lambda: cls(max_body_bytes), host, port, ssl=tls)
        return protocol

    @property
    def free(self) -> bool:
        """Whether a request may be sent now."""
        return self._on_reply is None and self._transport is not None and not self._transport.is_closing()

    @property
    def due(self) -> bool:
        """Whether a reply is due."""
        return self._on_reply is not None

    def send(self, request: bytes, on_reply: OnReply) -> None:
        """Send one whole request. Raises RuntimeError while another's reply is due."""
        if self._on_reply is not None:
            raise RuntimeError("one request at a time")
        self._on_reply = on_reply
        if self._transport is None or self._transport.is_closing():
            self._done(LostError("the connection is closed"))
            return
        self._transport.write(request)

    async def ask(self, request: bytes) -> Reply:
        """`send` to wait for. Raises LostError; on cancellation the connection is closed, as the answer is still to come."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.send(request, into(future))
        try:
            return await future
        except asyncio.CancelledError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; a reply that is due becomes LostError."""
        if self._transport is not None:
            self._transport.abort()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._reply: Reply | None = None
        self._surplus = self._keeps = False
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size = 0

    def _done(self, reply: Reply | LostError) -> None:
        if self._on_reply is not None:
            on_reply, self._on_reply = self._on_reply, None
            on_reply(reply)

    def _break(self, why: str) -> None:
        """At once: the parser may hand out the rest of a message that must not be believed."""
        self.close()
        self._done(LostError(why))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so

    def data_received(self, data: bytes) -> None:
        if self._on_reply is None:  # nobody asked
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self._reply is None:
                self._break(f"no answer in HTTP/1.1: {error}")
                return
            self._surplus = True
        if (reply := self._reply) is not None:
            if self._surplus or not self._keeps:
                self.close()
            self._reset()
            self._done(reply)  # last: whoever is told may send the next request

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._done(LostError(str(exc) if exc else "the other side closed its connection"))
        self.on_lost()

    # httptools' callbacks; behind a whole answer nothing is believed

    def on_message_begin(self) -> None:
        """Something begins that may be more than was asked for."""
        self._surplus = self._reply is not None

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field."""
        if self._reply is not None:
            return
        self._size += len(name) + len(value)
        if self._size > _MAX_HEADER_BYTES:
            self._break(f"a head of more than {_MAX_HEADER_BYTES} bytes")
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The body counts from here."""
        self._size = 0

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        if self._reply is not None:
            return
        self._size += len(data)
        if self._size > self._max_body_bytes:
            self._break(f"an answer of more than {self._max_body_bytes} bytes")
            return
        self._body.append(data)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if self._reply is None:
            self._reply = Reply(self._parser.get_status_code(), self._headers, b"".join(self._body))
            self._keeps = self._parser.should_keep_alive()


def _nothing() -> None:
    """Nobody wants to know yet."""
