"""The anonymous edge: what an address may do before anyone knows who calls. Failed authentications, and public pages.

Failures are counted after they fail and looked at only then, so a valid token is never refused for its address.
slowapi and its `limits` do the counting, in this process' memory, of a bounded number of addresses: a brake on guessing
and floods, not a shared limit. Nothing here waits.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from limits import RateLimitItem, parse
from limits.storage import Storage
from slowapi import Limiter
from slowapi.errors import RateLimitExceeded
from starlette.requests import Request
from starlette.responses import Response

from shared.errors import TooManyRequestsError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Page = Callable[[Request], Awaitable[Response]]

#: Hops of X-Forwarded-For looked at, from the right; a longer list is cut there.
MAX_HOPS = 20
#: A caller with one IPv6 address has 2^64 of them.
IPV6_PREFIX = 64
#: Peers that have no address: a unix socket.
NO_ADDRESS = "local"
MAX_ADDRESSES = 10_000


class EdgeLimiter:
    """Limits per address, and `reads` per caller. All are rates as slowapi writes them: "20/minute"."""

    def __init__(
        self,
        trusted_proxies: Iterable[str] = (),
        *,
        failures: str,
        pages: str,
        reads: str,
        max_addresses: int = MAX_ADDRESSES,
    ) -> None:
        """`trusted_proxies` are addresses or CIDR ranges. Raises ValueError for anything else or a malformed rate."""
        self._trusted = trusted_networks(trusted_proxies)
        self._failures: RateLimitItem = parse(failures)
        self._pages = str(parse(pages))
        self._reads: RateLimitItem = parse(reads)
        self._limiter = Limiter(
            key_func=lambda request: self.client_address(request.scope),
            storage_uri=f"{BoundedMemory.STORAGE_SCHEME[0]}://",
            storage_options={"max_keys": str(max_addresses)},
            strategy="fixed-window",
            key_style="endpoint",
        )
        self._limiter.enabled = True  # whatever RATELIMIT_ENABLED says: slowapi reads the environment
        self._limiter.logger.setLevel(logging.ERROR)  # it would write a line for each refusal, with the address
        self._counts = self._limiter.limiter

    def client_address(self, scope: MutableMapping[str, Any]) -> str:
        """The address that limits and logs mean: the peer, or behind trusted proxies what they say of it.

        From the right, the first address of X-Forwarded-For that is no trusted proxy: all to its left is the caller's
        own claim. An IPv6 address stands for its /64. Needs the peer itself as `scope["client"]`, so uvicorn must not
        rewrite it (`proxy_headers=False`).
        """
        peer = scope.get("client")
        address = _address(peer[0]) if peer else None
        if address is None:
            return NO_ADDRESS
        if self._is_trusted(address):
            for hop in _forwarded(scope):
                forwarded = _address(hop)
                if forwarded is None:  # not what a proxy of ours writes: as far as we can trust
                    break
                address = forwarded
                if not self._is_trusted(address):
                    break
        return _name(address)

    def check_failed(self, address: str) -> None:
        """To ask once an authentication has failed: raises TooManyRequestsError if its address failed too often."""
        if not self._counts.test(self._failures, "failed", address):
            raise self._by_address(
                self._failures, "failed", address, "too many failed authentications from your address"
            )

    def failed(self, address: str) -> None:
        """Counts one failed authentication."""
        self._counts.hit(self._failures, "failed", address)

    def read(self, caller_key: str) -> None:
        """Counts a caller's read of the catalogue; raises TooManyRequestsError if there were too many.

        Reads charge no limit of the policy: a client that asks for a model's columns before it scores has not scored twice.
        """
        if not self._counts.hit(self._reads, "read", caller_key):
            wait_ms = self._wait_ms(self._reads, "read", caller_key)
            raise TooManyRequestsError(
                f"too many reads of the catalogue; try again in {wait_ms} ms", retry_after_ms=wait_ms
            )

    def page(self, endpoint: Page) -> Page:
        """A public page that raises TooManyRequestsError where its address asked for this page too often."""
        limited: Page = self._limiter.limit(self._pages, key_func=self._key)(endpoint)

        @functools.wraps(endpoint)
        async def page(request: Request) -> Response:
            try:
                return await limited(request)
            except RateLimitExceeded as exceeded:
                item, (key, scope) = request.state.view_rate_limit
                raise self._by_address(item, key, scope, "too many requests from your address") from exceeded

        return page

    def _key(self, request: Request) -> str:
        return self.client_address(request.scope)

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)

    def _by_address(self, item: RateLimitItem, scope: str, key: str, text: str) -> TooManyRequestsError:
        wait_ms = self._wait_ms(item, scope, key)
        return TooManyRequestsError(
            f"{text}; try again in {wait_ms} ms", retry_after_ms=wait_ms, reason="address_limited"
        )

    def _wait_ms(self, item: RateLimitItem, scope: str, key: str) -> int:
        resets_at_s = self._counts.get_window_stats(item, scope, key).reset_time
        return max(1, int((resets_at_s - time.time()) * 1000) + 1)


def trusted_networks(ranges: Iterable[str]) -> tuple[Network, ...]:
    """Addresses and CIDR ranges. Raises ValueError that names the one that is neither."""
    networks = []
    for text in ranges:
        try:
            networks.append(ipaddress.ip_network(text.strip()))
        except ValueError as error:
            raise ValueError(f"{text!r} is no address and no CIDR range: {error}") from error
    return tuple(networks)


def _forwarded(scope: MutableMapping[str, Any]) -> list[str]:
    """The hops of all X-Forwarded-For fields, the nearest first."""
    lines = [value.decode("latin-1") for name, value in scope.get("headers", ()) if name == b"x-forwarded-for"]
    return [hop.strip() for hop in ",".join(lines).rsplit(",", MAX_HOPS)[-MAX_HOPS:]][::-1] if lines else []


def _address(text: str) -> Address | None:
    """An address with or without a port, as some proxies write it; None for anything else."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def _name(address: Address) -> str:
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
    return str(address)


@dataclass(slots=True)
class _Window:
    count: int
    ends_s: float


class BoundedMemory(Storage):
    """Storage for `limits`: fixed windows of at most `max_keys` keys; the one begun first goes first.

    `limits`' own memory storage keeps every key it ever saw until a timer thread comes by; here is no thread.
    """

    STORAGE_SCHEME = ["scoregate-memory"]  # noqa: RUF012  limits' registry wants a list

    def __init__(
        self, uri: str | None = None, wrap_exceptions: bool = False, max_keys: str = str(MAX_ADDRESSES)
    ) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._max_keys = int(max_keys)
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    @property
    def base_exceptions(self) -> type[Exception]:
        """Nothing here fails."""
        return ValueError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Counts in the key's window, or in a new one of `expiry` seconds."""
        now_s = time.time()
        window = self._windows.get(key)
        if window is None or window.ends_s <= now_s:
            window = self._windows[key] = _Window(0, now_s + expiry)
            self._windows.move_to_end(key)
            while len(self._windows) > self._max_keys:
                self._windows.popitem(last=False)
        window.count += amount
        return window.count

    def get(self, key: str) -> int:
        """The count of the window that is open."""
        window = self._windows.get(key)
        return window.count if window is not None and window.ends_s > time.time() else 0

    def get_expiry(self, key: str) -> float:
        """When the key's window ends, in seconds since 1970."""
        window = self._windows.get(key)
        return window.ends_s if window is not None else time.time()

    def check(self) -> bool:
        """Memory is always there."""
        return True

    def reset(self) -> int | None:
        """Forgets all."""
        count = len(self._windows)
        self._windows.clear()
        return count

    def clear(self, key: str) -> None:
        """Forgets one key."""
        self._windows.pop(key, None)
