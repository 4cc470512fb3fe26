"""The anonymous edge: whose address it is, how often it may fail, and that a bounded number is remembered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from gateway.shell.edge import MAX_HOPS, NO_ADDRESS, BoundedMemory, EdgeLimiter
from shared.errors import TooManyRequestsError

PROXY = "10.0.0.1"


def scope(peer: str | None, *forwarded: str) -> dict[str, Any]:
    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in forwarded]
    client = None if peer is None else (peer, 1234)
    return {"type": "http", "method": "GET", "path": "/docs", "headers": headers, "client": client}


def limiter(trusted_proxies: Iterable[str] = (), **changes: Any) -> EdgeLimiter:
    """One that refuses nothing but what `changes` say."""
    plenty: dict[str, Any] = {"failures": "1000/second", "pages": "1000/second", "reads": "1000/second"}
    return EdgeLimiter(trusted_proxies, **plenty | changes)


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("198.51.100.7", (), "198.51.100.7"),
        ("198.51.100.7", ("203.0.113.9",), "198.51.100.7"),  # anyone can send the header
        (PROXY, (), PROXY),
        (PROXY, ("203.0.113.9",), "203.0.113.9"),
        (PROXY, ("1.1.1.1, 203.0.113.9",), "203.0.113.9"),  # the left one is the caller's own claim
        (PROXY, ("1.1.1.1", "203.0.113.9, 10.2.3.4"), "203.0.113.9"),  # a second trusted hop; two fields are one list
        (PROXY, ("10.9.9.9, 10.2.3.4",), "10.9.9.9"),  # all trusted: the farthest
        (PROXY, ("203.0.113.9:4711",), "203.0.113.9"),  # Azure Application Gateway adds the port
        (PROXY, ("[2001:db8::1]:4711",), "2001:db8::/64"),
        (PROXY, ("2001:db8:0:0:ffff::1",), "2001:db8::/64"),
        (PROXY, ("fe80::1%eth0",), "fe80::/64"),
        (PROXY, ("::ffff:203.0.113.9",), "203.0.113.9"),
        (PROXY, ("203.0.113.9, unknown",), PROXY),
        (PROXY, ("203.0.113.9, ",), PROXY),
        (PROXY, ("203.0.113.9, <script>, 10.2.3.4",), "10.2.3.4"),
        ("::ffff:10.0.0.1", ("203.0.113.9",), "203.0.113.9"),
        ("2001:db8:1::5", ("203.0.113.9",), "203.0.113.9"),
        (None, ("203.0.113.9",), NO_ADDRESS),
        ("", ("203.0.113.9",), NO_ADDRESS),
    ],
)
def test_the_address_is_the_nearest_that_is_no_trusted_proxy(
    peer: str | None, forwarded: tuple[str, ...], address: str
) -> None:
    edge = limiter(["10.0.0.0/8", "2001:db8:1::/48"])
    assert edge.client_address(scope(peer, *forwarded)) == address


def test_a_header_of_a_million_hops_is_cut() -> None:
    edge = limiter(["10.0.0.0/8"])
    assert edge.client_address(scope(PROXY, "203.0.113.9," + "10.1.1.1," * 10**6 + "10.1.1.1")) == "10.1.1.1"
    assert edge.client_address(scope(PROXY, "1.1.1.1, 203.0.113.9" + ", 10.1.1.1" * (MAX_HOPS - 1))) == "203.0.113.9"


@pytest.mark.parametrize("proxies", [["10.0.0.0/33"], ["proxy.example"], ["10.0.0.1/8"]])
def test_a_proxy_that_is_no_range_is_refused_by_name(proxies: list[str]) -> None:
    with pytest.raises(ValueError, match=proxies[0]):
        limiter(proxies)


def test_failures_are_limited_per_address_and_only_after_they_failed() -> None:
    edge = limiter(failures="3/hour")
    for _ in range(3):
        edge.check_failed("a")
        edge.failed("a")
    with pytest.raises(TooManyRequestsError) as refused:
        edge.check_failed("a")
    assert refused.value.reason == "address_limited"
    assert refused.value.retry_after_ms is not None
    assert 3_590_000 < refused.value.retry_after_ms <= 3_600_001
    edge.check_failed("b")


def test_a_bounded_number_of_addresses_is_remembered() -> None:
    edge = limiter(failures="1/hour", max_addresses=100)
    for n in range(1000):
        edge.failed(f"10.0.{n // 256}.{n % 256}")
    storage = edge._limiter.limiter.storage
    assert isinstance(storage, BoundedMemory)
    assert len(storage) == 100
    with pytest.raises(TooManyRequestsError):
        edge.check_failed("10.0.3.231")
    edge.check_failed("10.0.0.0")


def test_two_edges_share_nothing() -> None:
    one, other = limiter(failures="1/hour"), limiter(failures="1/hour")
    one.failed("a")
    other.check_failed("a")
    with pytest.raises(TooManyRequestsError):
        one.check_failed("a")


async def test_public_pages_are_limited_per_address() -> None:
    edge = limiter(pages="2/hour")

    @edge.page
    async def docs(request: Request) -> Response:
        return PlainTextResponse("docs")

    for _ in range(2):
        assert (await docs(Request(scope("198.51.100.7")))).status_code == 200
    with pytest.raises(TooManyRequestsError) as refused:
        await docs(Request(scope("198.51.100.7")))
    assert refused.value.retry_after_ms is not None
    assert (await docs(Request(scope("198.51.100.8")))).status_code == 200


def test_a_malformed_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="often"):
        limiter(failures="often")


def test_a_window_over_is_a_new_window(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_790_000_000.0
    monkeypatch.setattr("gateway.shell.edge.time.time", lambda: now)
    edge = limiter(failures="1/minute")
    edge.failed("a")
    with pytest.raises(TooManyRequestsError):
        edge.check_failed("a")
    now += 61
    edge.check_failed("a")
    edge.failed("a")
    with pytest.raises(TooManyRequestsError):
        edge.check_failed("a")
