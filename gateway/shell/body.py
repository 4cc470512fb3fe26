"""Reads a request's body: within a size, within a time, and through gzip, whose size is bounded after inflating.

Called after `precheck`, so a caller who is over a limit sends no body in vain. A body that is announced as too large is
refused before a byte of it is asked for, also before `100 Continue`.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from shared.errors import (
    MalformedRequestError,
    PayloadTooLargeError,
    RequestTimeoutError,
    UnsupportedMediaTypeError,
)

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

#: Inflated at a time; between pieces other requests get their turn.
_PIECE_BYTES = 256 * 1024
_GZIP = 16 + zlib.MAX_WBITS
#: Of a gzip body. Writers that cut begin one for 64 KiB and more; a body of empty ones costs half a second per MiB.
MAX_MEMBERS = 1_000


class ClientDisconnectedError(Exception):
    """The client has gone before its request was whole; there is nobody to answer."""


def check_size(body: bytes, *, limit: int) -> None:
    """Of a body that came with its head, not encoded. Raises PayloadTooLargeError."""
    if len(body) > limit:
        raise _too_large(limit)


async def read_body(
    receive: Receive,
    headers: Mapping[bytes, bytes],
    *,
    limit: int,
    within_s: float,
    hold: Callable[[int], None] = lambda _: None,
) -> bytes:
    """The whole body, inflated if `Content-Encoding: gzip`; at most `limit` bytes, both as sent and inflated.

    `headers` are the scope's (names in lower case). `hold` is told of so many bytes more before they are kept, and may raise.
    Raises PayloadTooLargeError, RequestTimeoutError after `within_s`
    seconds in all, UnsupportedMediaTypeError for another encoding, MalformedRequestError for broken gzip,
    ClientDisconnectedError.
    """
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    length = int(headers.get(b"content-length", 0))
    if encoding not in (b"identity", b"gzip", b"x-gzip", b""):
        raise UnsupportedMediaTypeError(
            "Content-Encoding must be gzip, or left out.", headers={"Accept-Encoding": "gzip"}
        )
    if length > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(within_s):
            if encoding in (b"gzip", b"x-gzip"):
                return await _inflated(receive, limit, hold)
            return await _plain(receive, limit, hold)
    except TimeoutError as error:
        raise RequestTimeoutError(
            f"The request's body was not whole within {within_s:g} seconds.", headers={"Connection": "close"}
        ) from error


async def _plain(receive: Receive, limit: int, hold: Callable[[int], None]) -> bytes:
    body, more = await _next(receive)
    if len(body) > limit:
        raise _too_large(limit)
    hold(len(body))
    if not more:
        return body
    whole = bytearray(body)
    while more:
        body, more = await _next(receive)
        if len(whole) + len(body) > limit:
            raise _too_large(limit)
        hold(len(body))
        whole += body
    return bytes(whole)


async def _inflated(receive: Receive, limit: int, hold: Callable[[int], None]) -> bytes:
    """A body may be several gzip members one after another (RFC 1952, 2.2)."""
    inflater = zlib.decompressobj(_GZIP)
    whole = bytearray()
    sent, members, more = 0, 1, True
    while more:
        piece, more = await _next(receive)
        sent += len(piece)
        if sent > limit:
            raise _too_large(limit)
        while piece:
            if inflater.eof:
                inflater = zlib.decompressobj(_GZIP)
                members += 1
                if members > MAX_MEMBERS:
                    raise MalformedRequestError(f"The gzip body has more than {MAX_MEMBERS} members.")
            try:
                # One byte beyond the limit is enough to know.
                inflated = inflater.decompress(piece, min(_PIECE_BYTES, limit - len(whole) + 1))
            except zlib.error as error:
                raise MalformedRequestError("The body is not the gzip that Content-Encoding says.") from error
            hold(len(inflated))
            whole += inflated
            if len(whole) > limit:
                raise _too_large(limit)
            piece = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            if piece:
                await asyncio.sleep(0)
    if sent and not inflater.eof:
        raise MalformedRequestError("The gzip body ends too early.")
    return bytes(whole)


async def _next(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnectedError
    return message.get("body", b""), message.get("more_body", False)


def _too_large(limit: int) -> PayloadTooLargeError:
    """The rest of the body is not read, so the connection cannot be used again."""
    return PayloadTooLargeError(
        f"The body may have at most {limit} bytes, also after inflating.", headers={"Connection": "close"}
    )
