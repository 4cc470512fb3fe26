"""Who takes gzip, and what is sent to them."""

from __future__ import annotations

import gzip

import pytest

from gateway.shell.compress import compressed, takes_gzip


@pytest.mark.parametrize(
    "text", ["gzip", "br, gzip", "gzip;q=0.5, *", "deflate,gzip ; q=1.0", "x-gzip", "GZIP", "gzip;q=0.001"]
)
def test_taken(text: str) -> None:
    assert takes_gzip(text.encode())


@pytest.mark.parametrize("text", ["", "br", "*", "gzip;q=0", "gzip; q=0.000", "gzipped", "notgzip", "identity"])
def test_not_taken(text: str) -> None:
    assert not takes_gzip(text.encode())


@pytest.mark.parametrize("size", [8 * 1024, 64 * 1024, 64 * 1024 + 1, 1024 * 1024])
async def test_large_answers_come_back_the_same(size: int) -> None:
    body = bytes(n % 251 for n in range(1024)) * (size // 1024) + b"x" * (size % 1024)
    headers, packed = await compressed(body, b"gzip")
    assert (b"content-encoding", b"gzip") in headers
    assert gzip.decompress(packed) == body
    assert await compressed(body, b"br") == ([(b"vary", b"accept-encoding")], body)


async def test_small_answers_are_left_alone() -> None:
    assert await compressed(b"x" * 8191, b"gzip") == ([], b"x" * 8191)
