"""The gateway's proof to the scorer: an Ed25519 JWT for audience `scorer`, one minute long, naming its key.

The scorer holds a file of one or more public keys, so keys rotate by add, switch, remove. `kid` is the key's RFC 7638
thumbprint, which neither side has to be told. Files are PEM: PKCS#8 private; any number of SubjectPublicKeyInfo blocks.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

AUDIENCE = "scorer"
LIFETIME_S = 60
LEEWAY_S = 10
_ALGORITHMS = ["Ed25519"]
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----\s*", re.DOTALL)


class InternalTokenError(ValueError):
    """The internal token is missing, expired, or not signed by a key this scorer knows."""


def load_private_key(pem: bytes) -> OKPKey:
    """The gateway's signing key. Raises ValueError if it is not an Ed25519 private key."""
    key = OKPKey.import_key(pem)
    if key.curve_name != "Ed25519" or not key.is_private:
        raise ValueError("not an Ed25519 private key")
    return key


def load_public_keys(pem: bytes) -> dict[str, OKPKey]:
    """Every public key in the file, by thumbprint. Raises ValueError if there is none."""
    keys = [OKPKey.import_key(block) for block in _PEM.findall(pem)]
    if not keys or any(key.curve_name != "Ed25519" for key in keys):
        raise ValueError("no Ed25519 public key in the file")
    return {key.thumbprint(): key for key in keys}


def issue(key: OKPKey, *, issuer: str, now: float) -> str:
    """A token good for `LIFETIME_S` from `now` (seconds since 1970)."""
    header = {"alg": "Ed25519", "kid": key.thumbprint()}
    claims = {
        "iss": issuer,
        "aud": AUDIENCE,
        "iat": int(now),
        "exp": int(now) + LIFETIME_S,
        "jti": secrets.token_urlsafe(12),
    }
    return jwt.encode(header, claims, key, algorithms=_ALGORITHMS)


def verify(token: str, keys: Mapping[str, OKPKey], *, now: float) -> float:
    """Until when (seconds since 1970) the token holds; raises InternalTokenError."""

    def find(obj: Any) -> OKPKey:
        kid = obj.headers().get("kid")
        if not isinstance(kid, str) or kid not in keys:
            raise InternalTokenError("unknown kid")
        return keys[kid]

    try:
        claims = jwt.decode(token, find, algorithms=_ALGORITHMS).claims
    except (JoseError, ValueError) as error:
        raise InternalTokenError("not signed by a key this scorer knows") from error
    issued, expires = claims.get("iat"), claims.get("exp")
    if claims.get("aud") != AUDIENCE or not isinstance(issued, int) or not isinstance(expires, int):
        raise InternalTokenError("not for the scorer")
    if not issued - LEEWAY_S <= now < expires + LEEWAY_S or expires - issued > LIFETIME_S:
        raise InternalTokenError("expired or not yet valid")
    return float(expires + LEEWAY_S)
