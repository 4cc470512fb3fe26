"""The benchmarks' generator in C against a server of a few lines: what leaves when, and what it says came of it."""

from __future__ import annotations

import pytest

from client.openloop import NO_ANSWER, NOT_SENT
from load_tests.bench.flood import Flood
from load_tests.bench.ground import ANOTHER
from tests.service.test_openloop import Server


def asked(body: bytes) -> bytes:
    return b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def test_each_answer_is_compared_and_latencies_count_from_the_set_time() -> None:
    server = Server()
    server.how = lambda body: 503 if body == b"full" else 200
    shots = [
        (asked(b"one"), b"one"),
        (asked(b"two"), b"another"),
        (asked(b"full"), b"full"),
        (asked(b"z" * 9000), b"z" * 9000),
    ]
    async with server.listening() as url:
        flooded = await Flood(url, shots).fire(rate_per_s=400, seconds=0.5, at_once=50)
    report = flooded.report
    assert (report.intended, report.right) == (200, 100)
    assert dict(report.failures) == {ANOTHER: 50, "503": 50}
    assert len(report.failed_s["503"]) == len(report.failed_s[ANOTHER]) == 50
    assert len(flooded.late_s) == 200
    assert min(flooded.late_s) >= 0
    assert min(report.latencies_s) > 0
    assert report.latest_start_s == max(flooded.late_s)
    assert len(server.heads) == 200
    assert server.connections <= 50


async def test_what_nobody_answers_is_said_and_what_finds_no_connection_is_not_sent() -> None:
    server = Server()
    server.how = lambda _: 0
    async with server.listening() as url:
        flooded = await Flood(url, [(asked(b"x"), b"x")]).fire(rate_per_s=100, seconds=0.1, at_once=4, timeout_s=1)
    assert dict(flooded.report.failures) == {NO_ANSWER: 4, NOT_SENT: 6}
    assert len(flooded.late_s) == 4


async def test_another_machine_is_never_flooded() -> None:
    with pytest.raises(ValueError, match="not this machine"):
        await Flood("http://192.0.2.1:80", [(b"", b"")]).fire(rate_per_s=1, seconds=1, at_once=1)
