"""Reading a body: sizes as sent and inflated, broken gzip, time; fed message by message."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import tracemalloc
import zlib
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.shell.body import MAX_MEMBERS, ClientDisconnectedError, Receive, read_body
from shared.errors import (
    MalformedRequestError,
    PayloadTooLargeError,
    RequestTimeoutError,
    UnsupportedMediaTypeError,
)

MIB = 1024 * 1024
GZIP = [(b"content-encoding", b"gzip")]


def sending(pieces: Iterable[bytes], *, whole: bool = True) -> Receive:
    """A client that sends these pieces and, unless `whole`, then nothing more for ever."""
    left = list(pieces)

    async def receive() -> dict[str, Any]:
        if not left and not whole:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": left.pop(0) if left else b"", "more_body": bool(left) or not whole}

    return receive


async def read(
    pieces: Iterable[bytes], headers: Iterable[tuple[bytes, bytes]] = (), limit: int = MIB, **options: Any
) -> bytes:
    return await read_body(sending(pieces, **options), dict(headers), limit=limit, within_s=0.2 if options else 10)


@given(st.lists(st.binary(max_size=50), max_size=6))
async def test_a_body_is_what_was_sent(pieces: list[bytes]) -> None:
    assert await read(pieces) == b"".join(pieces)


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=4), st.integers(1, 50))
async def test_gzip_in_any_cuts_and_members_is_inflated(members: list[bytes], cut: int) -> None:
    sent = b"".join(gzip.compress(member) for member in members)
    assert await read([sent[at : at + cut] for at in range(0, len(sent), cut)], GZIP) == b"".join(members)


@pytest.mark.parametrize("encoding", [b"gzip", b"GZIP", b" x-gzip "])
async def test_names_of_gzip(encoding: bytes) -> None:
    assert await read([gzip.compress(b"x")], [(b"content-encoding", encoding)]) == b"x"


@pytest.mark.parametrize("encoding", [b"deflate", b"br", b"zstd", b"gzip, gzip", b"\xff"])
async def test_other_encodings_are_refused(encoding: bytes) -> None:
    with pytest.raises(UnsupportedMediaTypeError):
        await read([b"x"], [(b"content-encoding", encoding)])


@pytest.mark.parametrize("pieces", [[b"x" * 10], [b"x" * 5, b"x" * 5], [b"x"] * 10])
async def test_the_limit_is_exact(pieces: list[bytes]) -> None:
    assert len(await read(pieces, limit=10)) == 10
    with pytest.raises(PayloadTooLargeError) as caught:
        await read(pieces, limit=9)
    assert caught.value.headers == {"Connection": "close"}


async def test_the_limit_is_exact_after_inflating_too() -> None:
    sent = gzip.compress(b"x" * 1000)
    assert len(await read([sent], GZIP, limit=1000)) == 1000
    with pytest.raises(PayloadTooLargeError):
        await read([sent], GZIP, limit=999)


async def test_what_is_announced_as_too_large_is_not_read() -> None:
    async def receive() -> dict[str, Any]:
        raise AssertionError("asked for the body")

    with pytest.raises(PayloadTooLargeError):
        await read_body(receive, {b"content-length": b"11"}, limit=10, within_s=1)


async def test_a_gzip_bomb_stops_at_the_limit_in_little_memory() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(MIB)) for _ in range(1000)) + packer.flush()
    assert len(bomb) < 2 * MIB
    tracemalloc.start()
    try:
        with pytest.raises(PayloadTooLargeError):
            await read([bomb], GZIP, limit=4 * MIB)
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()


async def test_inflating_lets_others_have_their_turn() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    others = asyncio.create_task(other())
    await read([gzip.compress(bytes(8 * MIB))], GZIP, limit=16 * MIB)
    others.cancel()
    assert turns >= 16


@pytest.mark.parametrize(
    "pieces",
    [
        [b"not gzip"],
        [gzip.compress(b"x" * 100)[:-1]],
        [gzip.compress(b"x" * 100)[:-5] + b"\0\0\0\0\0"],
        [gzip.compress(b"x"), b"junk"],
        [b"\x1f"],
    ],
)
async def test_broken_gzip_is_malformed(pieces: list[bytes]) -> None:
    with pytest.raises(MalformedRequestError):
        await read(pieces, GZIP)


async def test_a_gzip_body_may_have_many_members_but_not_without_end() -> None:
    assert await read([gzip.compress(b"x") * MAX_MEMBERS], GZIP) == b"x" * MAX_MEMBERS
    with pytest.raises(MalformedRequestError, match="members"):
        await read([gzip.compress(b"")] * (MAX_MEMBERS + 1), GZIP)


async def test_an_empty_body_is_empty_also_as_gzip() -> None:
    assert await read([]) == b""
    assert await read([], GZIP) == b""


@pytest.mark.parametrize("headers", [[], GZIP])
async def test_a_body_that_does_not_end_is_timed_out(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(RequestTimeoutError) as caught:
        await read([gzip.compress(b"x")[:5]], headers, whole=False)
    assert caught.value.headers == {"Connection": "close"}


async def test_a_client_that_goes_away_is_not_an_error_of_the_request() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnectedError):
        await read_body(receive, {}, limit=10, within_s=1)


@given(st.binary(max_size=300))
async def test_whatever_is_sent_as_gzip_gives_bytes_or_a_refusal(sent: bytes) -> None:
    with contextlib.suppress(MalformedRequestError, PayloadTooLargeError):
        assert isinstance(await read([sent], GZIP), bytes)
