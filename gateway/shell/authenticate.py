"""`authenticate`: the Authorization header in, a Caller out; what costs nothing is refused before anything is computed.

Signature and keys here, rules in `gateway.core.claims`. A verified token is remembered until it expires, by the
SHA-256 of its text and only while the very key that verified it is still published: RS256 is paid once per token.
Refusals are never remembered, permissions neither.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import JoseError

from gateway.core.caller import Caller
from gateway.core.claims import ALGORITHM, TokenRules, check_header, identify, refuse
from gateway.shell.keys import KeySource, SigningKey

#: Entra's tokens are 1 to 3 KiB; those of users in very many groups carry a link in their stead.
MAX_TOKEN_BYTES = 8 * 1024
MAX_REMEMBERED = 10_000

# RFC 6750, 2.1; the scheme in any case (RFC 9110, 11.1). A JWS in compact form has exactly two dots.
_SCHEME = re.compile(rb"bearer(?: +|$)", re.IGNORECASE)
_COMPACT = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class _Remembered:
    caller: Caller
    key: SigningKey
    until_s: float


class Authenticator:
    """Remembers the callers it has verified, at most `max_remembered`; the longest unused leave first."""

    def __init__(
        self,
        keys: KeySource,
        rules: TokenRules,
        *,
        clock: Callable[[], float] = time.time,
        max_remembered: int = MAX_REMEMBERED,
        on_verified: Callable[[], None] | None = None,
    ) -> None:
        """`clock` gives seconds since 1970; `on_verified` is called for each signature checked (once per token)."""
        self._keys = keys
        self._rules = rules
        self._clock = clock
        self._max = max_remembered
        self._on_verified = on_verified
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()
        # Unknown header parameters must be ignored (RFC 7515, 4); the dangerous ones are refused by check_header.
        self._registry = jws.JWSRegistry(algorithms=[ALGORITHM], strict_check_header=False)

    def __repr__(self) -> str:
        return f"Authenticator({len(self._remembered)} callers remembered)"

    async def authenticate(self, authorization: bytes | None) -> Caller:
        """The caller. Suspends only if the token's kid is unknown and Entra is asked for it.

        Raises UnauthenticatedError, or UnavailableError when Entra ID's keys cannot be had.
        """
        token = authorization[7:] if authorization and authorization[:7] == b"Bearer " else self._token(authorization)
        digest = hashlib.sha256(token).digest()
        if caller := self.recall(digest):
            return caller
        if (plain := self._token(authorization)) != token:
            token, digest = plain, hashlib.sha256(plain).digest()
            if caller := self.recall(digest):
                return caller
        if not _COMPACT.fullmatch(token):
            raise refuse("JwtInvalid", "The token is not a signed JWT in compact form.")
        try:
            signature = jws.extract_compact(token, registry=self._registry)
            header = signature.headers()
        except (JoseError, ValueError, TypeError, AttributeError, RecursionError) as error:
            # The last three: a header that is JSON, but no object.
            raise refuse("JwtInvalid", "The token's header cannot be read.") from error
        if not isinstance(header, dict):
            raise refuse("JwtInvalid", "The token's header cannot be read.")
        kid = check_header(header)
        key = self._keys.current(kid) or await self._keys.find(kid)
        caller = self._verify(signature, key)
        self._remember(digest, caller, key)
        return caller

    def _token(self, authorization: bytes | None) -> bytes:
        scheme = _SCHEME.match(authorization or b"")
        if authorization is None or scheme is None or scheme.end() == len(authorization):
            raise refuse("TokenNotPresent", "Send an Entra ID access token: Authorization: Bearer <token>.")
        if len(authorization) - scheme.end() > MAX_TOKEN_BYTES:
            raise refuse("JwtInvalid", f"The token is longer than {MAX_TOKEN_BYTES} bytes.")
        return authorization[scheme.end() :].strip(b" \t")

    def _verify(self, signature: jws.CompactSignature, key: SigningKey) -> Caller:
        try:
            holds = jws.validate_compact(signature, key.key, algorithms=[ALGORITHM], registry=self._registry)
        except (JoseError, ValueError, TypeError) as error:
            raise refuse("TokenSignatureInvalid", "The token's signature cannot be checked.") from error
        if self._on_verified is not None:
            self._on_verified()
        if not holds:
            raise refuse("TokenSignatureInvalid", "The token's signature does not hold.")
        try:
            claims = msgspec.json.decode(signature.payload or b"", type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError) as error:
            raise refuse("JwtInvalid", "The token's claims are not a JSON object.") from error
        return identify(claims, self._rules, self._clock())

    def recall(self, digest: bytes) -> Caller | None:
        """The caller whose token has this SHA-256, if it was verified and still holds."""
        entry = self._remembered.get(digest)
        if entry is None:
            return None
        if self._clock() < entry.until_s and self._keys.current(entry.key.kid) is entry.key:
            self._remembered.move_to_end(digest)
            return entry.caller
        del self._remembered[digest]
        return None

    def _remember(self, digest: bytes, caller: Caller, key: SigningKey) -> None:
        self._remembered[digest] = _Remembered(caller, key, caller.expires_at_s + self._rules.leeway_s)
        if len(self._remembered) > self._max:
            self._remembered.popitem(last=False)
