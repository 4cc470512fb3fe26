"""A body that does not come: which of the two times was over decides what the client hears."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.service.gateway_alone import FakePod, running
from tests.service.test_gateway_stages import SCORE


@pytest.mark.parametrize(
    ("allowed_ms", "body_timeout_s", "status", "code"),
    [(60, 30.0, 504, "deadline_exceeded"), (30_000, 0.06, 408, "request_timeout")],
)
async def test_a_body_that_does_not_come(
    tmp_path: Path, allowed_ms: int, body_timeout_s: float, status: int, code: str
) -> None:
    async with running(tmp_path, FakePod(), body_timeout_s=body_timeout_s) as gateway:
        at = urlsplit(gateway.url)
        reader, writer = await asyncio.open_connection(at.hostname, at.port)
        head = (
            f"POST {SCORE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ann\r\nContent-Type: application/json\r\n"
            f"X-Request-Timeout-Ms: {allowed_ms}\r\nContent-Length: 10\r\n\r\n"
        )
        writer.write(head.encode() + b"{")
        async with asyncio.timeout(10):
            said = await reader.readuntil(b"\r\n\r\n")
            body = await reader.read(4096)
        writer.close()
        assert said.split()[1] == b"%d" % status
        assert f'"code":"{code}"'.encode() in body.replace(b": ", b":")
