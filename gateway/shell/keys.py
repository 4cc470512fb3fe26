"""Entra ID's signing keys: fetched over https, refreshed in the background, looked up by `kid`.

When to ask and what to believe meanwhile is decided by `gateway.core.key_ring`; this asks. Discovery first (one
document per tenant), then the key set it names; both over https only, without redirects, at most 1 MiB, within five
seconds in all. Requests wait for a fetch only if their `kid` is unknown, and all of them for the same one.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import httpx
import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from gateway.core.claims import ALGORITHM, refuse
from gateway.core.key_ring import KeyRing, KeyTimes, Verdict
from shared.errors import UnavailableError

FETCH_TIMEOUT_S = 5.0
MAX_DOCUMENT_BYTES = 1024 * 1024
#: A key below this is weaker than RS256 allows (RFC 7518, 3.3).
MIN_RSA_BITS = 2048

Outcome = Literal["ok", "failed"]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One published key. Equal if the public numbers are equal."""

    kid: str
    thumbprint: str
    key: RSAKey

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SigningKey) and (self.kid, self.thumbprint) == (other.kid, other.thumbprint)

    def __hash__(self) -> int:
        return hash((self.kid, self.thumbprint))


class KeySource(Protocol):
    """Where `authenticate` gets keys from."""

    def current(self, kid: str) -> SigningKey | None:
        """The key without asking anyone, if it is known and may still be used."""

    async def find(self, kid: str) -> SigningKey:
        """The key, asking for it if need be.

        Raises UnauthenticatedError if Entra does not publish it, UnavailableError if Entra cannot be asked.
        """


class KeyFetchError(Exception):
    """The signing keys could not be fetched."""


def entra_client(ca_file: str | None = None) -> httpx.AsyncClient:
    """The client for `EntraKeys`; close it when done. With `ca_file` (PEM) only that authority is trusted, no other."""
    # Read here: an OSError of ssl's own does not name the file.
    context = ssl.create_default_context(cadata=Path(ca_file).read_text("ascii") if ca_file else None)
    return httpx.AsyncClient(
        verify=context,
        follow_redirects=False,
        timeout=httpx.Timeout(FETCH_TIMEOUT_S, connect=2.0),
        headers={"Accept": "application/json", "User-Agent": "scoregate-gateway"},
    )


def discovery_urls(authority: str, tenants: Sequence[str]) -> tuple[str, ...]:
    """OpenID discovery of each tenant at an authority like `https://login.microsoftonline.com`."""
    return tuple(f"{authority.rstrip('/')}/{tenant}/v2.0/.well-known/openid-configuration" for tenant in tenants)


class EntraKeys:
    """The published keys of one authority. Use as an async context manager: it refreshes in the background while open.

    `on_fetch(outcome, kids, detail)` is called after each attempt, with the kids now in use and what went wrong: for
    metrics and logs. It must not raise.
    """

    def __init__(
        self,
        urls: Sequence[str],
        client: httpx.AsyncClient,
        *,
        times: KeyTimes | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        on_fetch: Callable[[Outcome, frozenset[str], str], None] | None = None,
    ) -> None:
        if not urls or not all(_is_https(url) for url in urls):
            raise ValueError("signing keys are fetched over https only")
        self._urls = tuple(urls)
        self._client = client
        self._ring: KeyRing[SigningKey] = KeyRing(times or KeyTimes())
        self._monotonic = monotonic
        self._on_fetch = on_fetch
        self._fetching: asyncio.Task[None] | None = None
        self._background: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"EntraKeys({len(self._ring.keys)} keys, usable={self.usable})"

    async def __aenter__(self) -> EntraKeys:
        """Starts refreshing; does not wait for the first keys."""
        self._background = asyncio.create_task(self._refresh(), name="entra-keys")
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._background, self._fetching):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    @property
    def usable(self) -> bool:
        """Whether there are keys that may be used now."""
        return self._ring.usable(self._monotonic())

    @property
    def ever_obtained(self) -> bool:
        """Whether keys were had once: part of the gateway's readiness, which never goes back for a neighbour."""
        return self._ring.obtained_at is not None

    @property
    def age_s(self) -> float | None:
        """Seconds since the keys in use were obtained."""
        return None if self._ring.obtained_at is None else self._monotonic() - self._ring.obtained_at

    def current(self, kid: str) -> SigningKey | None:
        """As KeySource."""
        return self._ring.current(kid, self._monotonic())

    async def find(self, kid: str) -> SigningKey:
        """As KeySource. Waits for at most one fetch."""
        if key := self.current(kid):
            return key
        # Whoever asked for a fetch that is under way, its answer serves this kid too.
        if self._fetching is None:
            verdict = self._ring.judge_missing(self._monotonic())
            if verdict is not Verdict.FETCH:
                raise self._missing(verdict)
        await self._fetch()
        if key := self.current(kid):
            return key
        raise self._missing(self._ring.judge_after_fetch(self._monotonic()))

    def _missing(self, verdict: Verdict) -> Exception:
        if verdict is Verdict.UNKNOWN:
            return refuse("TokenSignatureKeyNotFound", "Entra ID publishes no key of this token's kid.")
        wait_ms = int(self._ring.retry_after_s(self._monotonic()) * 1000) + 1000
        return UnavailableError(
            "Entra ID's signing keys cannot be fetched just now, so this token cannot be checked; try again later.",
            reason="identity_unavailable",
            retry_after_ms=wait_ms,
        )

    async def _refresh(self) -> None:
        while True:
            now = self._monotonic()
            wait_s = self._ring.next_refresh_at(now) - now
            if wait_s > 0:
                # Up to a tenth earlier, so that many gateways do not ask in step.
                await asyncio.sleep(wait_s * random.uniform(0.9, 1.0))  # noqa: S311 (spreads load, guards nothing)
            await self._fetch()

    async def _fetch(self) -> None:
        """One attempt, shared by all who ask meanwhile. Cancelling stops only the asker."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._attempt(), name="entra-keys-fetch")
        await asyncio.shield(self._fetching)

    async def _attempt(self) -> None:
        detail = ""
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                keys = await self._ask()
        except Exception as error:  # whatever Entra answered, the refreshing goes on
            detail = str(error) or type(error).__name__
            self._ring.failed(self._monotonic())
        else:
            self._ring.obtained(keys, self._monotonic())
        finally:
            self._fetching = None
        if self._on_fetch is not None:
            self._on_fetch("failed" if detail else "ok", frozenset(self._ring.keys), detail)

    async def _ask(self) -> Mapping[str, SigningKey]:
        """All tenants' keys. One that fails fails all: half a key set would refuse good tokens."""
        found: dict[str, SigningKey] = {}
        for key_set in {(await self._document(url)).get("jwks_uri"): None for url in self._urls}:
            if not isinstance(key_set, str) or not _is_https(key_set):
                raise KeyFetchError("the discovery document names no https jwks_uri")
            found.update(read_key_set(await self._document(key_set)))
        if not found:
            raise KeyFetchError(f"the key set holds no key for {ALGORITHM}")
        return found

    async def _document(self, url: str) -> dict[str, Any]:
        async with self._client.stream("GET", url) as response:
            if response.status_code != 200:
                raise KeyFetchError(f"{url} answered {response.status_code}")
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_DOCUMENT_BYTES:
                    raise KeyFetchError(f"{url} answered more than {MAX_DOCUMENT_BYTES} bytes")
        try:
            return msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise KeyFetchError(f"{url} did not answer with a JSON object") from error


def read_key_set(document: Mapping[str, Any]) -> dict[str, SigningKey]:
    """The RSA signature keys of a JWK set (RFC 7517), by kid; others are passed over, as section 5 asks."""
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise KeyFetchError("the key set has no list of keys")
    found = {}
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("kty") != "RSA":
            continue
        if entry.get("use", "sig") != "sig" or entry.get("alg", ALGORITHM) != ALGORITHM:
            continue
        kid, modulus = entry.get("kid"), entry.get("n")
        if not isinstance(kid, str) or not kid or not isinstance(modulus, str) or len(modulus) * 6 < MIN_RSA_BITS:
            continue
        try:
            # Only the public numbers: whatever else the entry says is not asked for.
            key = RSAKey.import_key({"kty": "RSA", "n": modulus, "e": entry.get("e", "")})
            found[kid] = SigningKey(kid=kid, thumbprint=key.thumbprint(), key=key)
        except (JoseError, ValueError, TypeError):
            continue
    return found


def _is_https(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" and bool(parts.hostname)
