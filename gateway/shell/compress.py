"""Large answers are sent as gzip to clients that take it. Never inside: between gateway and scorer nothing is compressed."""

from __future__ import annotations

import asyncio
import re
import zlib

#: Below, compressing costs more than it saves.
LEAST_BYTES = 8 * 1024
#: Above, in a thread: zlib lets the event loop run meanwhile.
_HERE_BYTES = 64 * 1024
#: Numbers as text: level 1 takes a tenth of the time of level 9 and leaves a tenth more.
_LEVEL = 1
_TAKES_GZIP = re.compile(rb"(?:^|[\s,])(?:x-)?gzip\s*(?:;\s*q=(?:0\.0*[1-9]|1)[0-9.]*\s*)?(?:,|$)", re.IGNORECASE)

Headers = list[tuple[bytes, bytes]]


def takes_gzip(accept_encoding: bytes) -> bool:
    """Whether an Accept-Encoding (RFC 9110, 12.5.3) names gzip with a weight above 0. `*` is not taken for it."""
    return _TAKES_GZIP.search(accept_encoding) is not None


async def compressed(body: bytes, accept_encoding: bytes) -> tuple[Headers, bytes]:
    """The body to send and the headers that say what became of it: none for one smaller than `LEAST_BYTES`."""
    if len(body) < LEAST_BYTES:
        return [], body
    vary = (b"vary", b"accept-encoding")
    if not takes_gzip(accept_encoding):
        return [vary], body
    packed = _gzip(body) if len(body) <= _HERE_BYTES else await asyncio.to_thread(_gzip, body)
    return [vary, (b"content-encoding", b"gzip")], packed


def _gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()
