"""What stands in the stand-in's tokens: the claims Entra ID writes, in both forms, and any deviation a test asks for.

Forms as documented at https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import uuid
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from joserfc import jws
from joserfc.jwk import RSAKey

from devkit.entra.directory import API_CLIENT_ID, APP_ID_URI, TENANT, App, User, Version
from devkit.entra.signing import kid_of

LIFETIME_S = 3600
V1_ISSUER = "https://sts.windows.net/{tid}/"

#: How a test wants a token signed: properly; by a key that is not published; as `alg: none`; by HMAC with the public
#: key.
Signing = Literal["proper", "other", "none", "hmac"]


def access_claims(
    app: App, *, authority: str, now: int, version: Version | None = None, user: User | None = None
) -> dict[str, Any]:
    """An access token for the API: the app's own, or a user's through the app."""
    version = version or app.version
    claims: dict[str, Any] = {
        "aud": APP_ID_URI if version == 1 else API_CLIENT_ID,
        "iss": issuer(version, authority),
        "iat": now,
        "nbf": now,
        "exp": now + LIFETIME_S,
        "aio": secrets.token_urlsafe(24),
        "oid": user.object_id if user else app.object_id,
        "sub": pairwise(user, app) if user else app.object_id,
        "tid": TENANT,
        "uti": secrets.token_urlsafe(16),
        "ver": f"{version}.0",
        "idtyp": "user" if user else "app",
    }
    acr = "0" if app.public else "1"
    claims |= {"appid": app.client_id, "appidacr": acr} if version == 1 else {"azp": app.client_id, "azpacr": acr}
    if user:
        claims |= {"name": user.name, "scp": " ".join(user.scopes)}
        claims |= {"upn": user.username} if version == 1 else {"preferred_username": user.username}
    elif app.roles:
        claims["roles"] = list(app.roles)
    return claims


def id_claims(app: App, user: User, *, authority: str, now: int, nonce: str | None = None) -> dict[str, Any]:
    """An ID token: it tells the app who signed in, and its audience is the app."""
    claims: dict[str, Any] = {
        "aud": app.client_id,
        "iss": issuer(2, authority),
        "iat": now,
        "nbf": now,
        "exp": now + LIFETIME_S,
        "name": user.name,
        "oid": user.object_id,
        "preferred_username": user.username,
        "sub": pairwise(user, app),
        "tid": TENANT,
        "uti": secrets.token_urlsafe(16),
        "ver": "2.0",
    }
    return claims if nonce is None else claims | {"nonce": nonce}


def issuer(version: Version, authority: str) -> str:
    """Entra ID signs v1 tokens under its old name, whatever the authority."""
    return V1_ISSUER.replace("{tid}", TENANT) if version == 1 else f"{authority}/{TENANT}/v2.0"


def pairwise(user: User, app: App) -> str:
    """A user's `sub`: another one in every app."""
    return str(uuid.uuid5(uuid.UUID(user.object_id), app.client_id)).replace("-", "")


def sign(
    claims: Mapping[str, Any], key: RSAKey, *, header: Mapping[str, Any] | None = None, how: Signing = "proper"
) -> str:
    """A compact JWS. `header` adds to or replaces what stands there; a value of None takes it out.

    Only `how` decides what the signature is made with, so the header may claim anything.
    """
    kid = kid_of(key)
    full: dict[str, Any] = {"typ": "JWT", "alg": "RS256", "x5t": kid, "kid": kid}
    full |= {"none": {"alg": "none"}, "hmac": {"alg": "HS256"}}.get(how, {})
    full = {name: value for name, value in (full | dict(header or {})).items() if value is not None}
    signed = f"{_segment(msgspec.json.encode(full))}.{_segment(msgspec.json.encode(claims))}"
    if how == "none":
        return f"{signed}."
    if how == "hmac":  # the classic confusion: the public key taken for a shared secret
        return f"{signed}.{_segment(hmac.new(key.as_pem(private=False), signed.encode(), hashlib.sha256).digest())}"
    signature = jws.JWSRegistry.algorithms["RS256"].sign(signed.encode(), key)
    return f"{signed}.{_segment(signature)}"


def _segment(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def client_info(user: User) -> str:
    """What MSAL asks for to name an account, by object id and tenant."""
    return _segment(msgspec.json.encode({"uid": user.object_id, "utid": TENANT}))
