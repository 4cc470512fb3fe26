"""The stand-in's HTTP side: discovery, keys, tokens, device code; and under `/admin` what only tests may ask of it.

Protocols: OpenID discovery, RFC 6749 (client credentials, refresh token), RFC 8628 (device code), as far as MSAL uses
them.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from devkit.entra import issue
from devkit.entra.directory import (
    API_CLIENT_ID,
    APP_ID_URI,
    APPS,
    TENANT,
    USER,
    App,
    User,
    by_client_id,
)
from devkit.entra.signing import SigningKeys, make_key
from devkit.entra.state import State

Handler = Callable[[Request], Awaitable[Response]]
Approve = Literal["auto", "page"]

DEVICE_CODE_S = 900
#: How often a device client asks, in seconds. Entra ID says 5.
POLL_S = 1
_MAX_PENDING = 1_000


class OAuthError(Exception):
    """A refusal in the form of RFC 6749, section 5.2."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        self.error, self.description, self.status = error, description, status
        super().__init__(description)


@dataclass(slots=True)
class DeviceCode:
    """A sign-in that was begun on a device."""

    app: App
    user_code: str
    until: float
    approved: bool
    nonce: str | None = None


@dataclass(slots=True)
class StandIn:
    """What the stand-in remembers while it runs. Codes and refresh tokens do not survive a restart."""

    state: State
    keys: SigningKeys
    approve: Approve = "auto"
    clock: Callable[[], float] = time.time
    away: bool = False
    devices: dict[str, DeviceCode] = field(default_factory=dict)
    refreshes: dict[str, App] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    def now(self) -> int:
        return int(self.clock())


def build(stand_in: StandIn) -> Starlette:
    """The ASGI app."""
    public = {
        "discovery": _discovery(stand_in, version=2),
        "discovery_v1": _discovery(stand_in, version=1),
        "keys": _keys(stand_in),
        "token": _token(stand_in),
        "devicecode": _device_code(stand_in),
        "approve": _approve(stand_in),
    }
    counted = {name: _counted(stand_in, name, handler) for name, handler in public.items()}
    tenant = f"/{TENANT}"
    return Starlette(
        routes=[
            Route(f"{tenant}/v2.0/.well-known/openid-configuration", counted["discovery"]),
            Route(f"{tenant}/.well-known/openid-configuration", counted["discovery_v1"]),
            Route(f"{tenant}/discovery/v2.0/keys", counted["keys"]),
            Route(f"{tenant}/discovery/keys", counted["keys"]),
            Route(f"{tenant}/oauth2/v2.0/token", counted["token"], methods=["POST"]),
            Route(f"{tenant}/oauth2/v2.0/devicecode", counted["devicecode"], methods=["POST"]),
            Route("/devicelogin", counted["approve"], methods=["GET", "POST"]),
            *(
                Route(f"/admin/{name}", _admin(stand_in, handler), methods=["POST"])
                for name, handler in (("rotate", _rotate), ("mint", _mint), ("away", _away), ("asked", _asked))
            ),
        ],
        exception_handlers={OAuthError: _oauth_error},
    )


# --- what MSAL and gateways ask


def _discovery(stand_in: StandIn, version: Literal[1, 2]) -> Handler:
    async def discovery(_: Request) -> Response:
        base = f"{stand_in.state.authority}/{TENANT}"
        return JSONResponse(
            {
                "issuer": issue.issuer(version, stand_in.state.authority),
                "jwks_uri": f"{base}/discovery/v2.0/keys" if version == 2 else f"{base}/discovery/keys",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
                "response_types_supported": ["code", "id_token"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": ["openid", "profile", "offline_access"],
                "grant_types_supported": [
                    "client_credentials",
                    "refresh_token",
                    "urn:ietf:params:oauth:grant-type:device_code",
                ],
            }
        )

    return discovery


def _keys(stand_in: StandIn) -> Handler:
    async def keys(_: Request) -> Response:
        return JSONResponse(stand_in.keys.jwks())

    return keys


def _token(stand_in: StandIn) -> Handler:
    async def token(request: Request) -> Response:
        form = await _form(request)
        grants = {
            "client_credentials": _client_credentials,
            "refresh_token": _refresh_token,
            "urn:ietf:params:oauth:grant-type:device_code": _redeem_device_code,
            "device_code": _redeem_device_code,  # Entra ID takes the short name too
        }
        grant = grants.get(form.get("grant_type", ""))
        if grant is None:
            raise OAuthError("unsupported_grant_type", "the grant type is not one of " + ", ".join(grants))
        app = by_client_id(form.get("client_id", ""))
        if app is None:
            raise OAuthError("unauthorized_client", "AADSTS700016: there is no such app in the tenant")
        return JSONResponse(grant(stand_in, app, form), headers={"Cache-Control": "no-store"})

    return token


def _client_credentials(stand_in: StandIn, app: App, form: Mapping[str, str]) -> dict[str, Any]:
    secret = stand_in.state.apps[app.name].secret
    if secret is None or not hmac.compare_digest(form.get("client_secret", ""), secret):
        raise OAuthError("invalid_client", "AADSTS7000215: invalid client secret provided", 401)
    if form.get("scope", "").split() not in ([f"{APP_ID_URI}/.default"], [f"{API_CLIENT_ID}/.default"]):
        raise OAuthError("invalid_scope", f"AADSTS1002012: the scope must be {APP_ID_URI}/.default")
    claims = issue.access_claims(app, authority=stand_in.state.authority, now=stand_in.now())
    return _bearer(stand_in, claims)


def _redeem_device_code(stand_in: StandIn, app: App, form: Mapping[str, str]) -> dict[str, Any]:
    code = form.get("device_code") or form.get("code", "")
    pending = stand_in.devices.get(code)
    if pending is None or pending.app is not app:
        raise OAuthError("invalid_grant", "there is no such device code")
    if stand_in.clock() >= pending.until:
        del stand_in.devices[code]
        raise OAuthError("expired_token", "the device code has expired")
    if not pending.approved:
        raise OAuthError("authorization_pending", f"AADSTS70016: {pending.user_code} is not approved yet")
    del stand_in.devices[code]
    return _signed_in(stand_in, app, USER)


def _refresh_token(stand_in: StandIn, app: App, form: Mapping[str, str]) -> dict[str, Any]:
    if stand_in.refreshes.get(form.get("refresh_token", "")) is not app:
        raise OAuthError("invalid_grant", "AADSTS70008: the refresh token has expired or was never issued")
    return _signed_in(stand_in, app, USER)


def _signed_in(stand_in: StandIn, app: App, user: User) -> dict[str, Any]:
    now, authority = stand_in.now(), stand_in.state.authority
    refresh = secrets.token_urlsafe(32)
    _bound(stand_in.refreshes)[refresh] = app
    return _bearer(stand_in, issue.access_claims(app, authority=authority, now=now, user=user)) | {
        "scope": " ".join(f"{APP_ID_URI}/{scope}" for scope in user.scopes),
        "refresh_token": refresh,
        "id_token": issue.sign(issue.id_claims(app, user, authority=authority, now=now), stand_in.keys.current),
        "client_info": issue.client_info(user),
    }


def _bearer(stand_in: StandIn, claims: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "token_type": "Bearer",
        "expires_in": issue.LIFETIME_S,
        "ext_expires_in": issue.LIFETIME_S,
        "access_token": issue.sign(claims, stand_in.keys.current),
    }


def _device_code(stand_in: StandIn) -> Handler:
    async def device_code(request: Request) -> Response:
        form = await _form(request)
        app = by_client_id(form.get("client_id", ""))
        if app is None or not app.public:
            raise OAuthError("invalid_client", "AADSTS7000218: only a public client may sign users in this way")
        code = secrets.token_urlsafe(32)
        user_code = secrets.token_hex(4).upper()
        until = stand_in.clock() + DEVICE_CODE_S
        _bound(stand_in.devices)[code] = DeviceCode(app, user_code, until, stand_in.approve == "auto")
        page = f"{stand_in.state.url}/devicelogin"
        return JSONResponse(
            {
                "device_code": code,
                "user_code": user_code,
                "verification_uri": page,
                "expires_in": DEVICE_CODE_S,
                "interval": POLL_S,
                "message": f"To sign in, open {page} and enter the code {user_code}.",
            }
        )

    return device_code


def _approve(stand_in: StandIn) -> Handler:
    async def approve(request: Request) -> Response:
        code = ""
        said = "The user is " + USER.username + "."
        if request.method == "POST":
            code = (await _form(request)).get("user_code", "").strip().upper()
            found = [device for device in stand_in.devices.values() if device.user_code == code]
            for device in found:
                device.approved = True
            said = "Signed in; you can close this page." if found else "There is no such code."
        form = (
            '<form method="post"><input name="user_code" placeholder="code" autofocus> <button>Sign in</button></form>'
        )
        return HTMLResponse(f"<!doctype html><title>Sign in</title><p>{escape(said)}</p>{form}")

    return approve


# --- what only tests ask


def _admin(stand_in: StandIn, handler: Callable[[StandIn, Mapping[str, Any]], Any]) -> Handler:
    async def guarded(request: Request) -> Response:
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {stand_in.state.admin_secret}".encode()):
            return JSONResponse({"error": "the administrator's secret is in the state file"}, status_code=401)
        body = await request.body()
        return JSONResponse(handler(stand_in, await request.json() if body else {}))

    return guarded


def _rotate(stand_in: StandIn, asked: Mapping[str, Any]) -> Any:
    kid = stand_in.keys.rotate(sign=bool(asked.get("sign", True)), withdraw=bool(asked.get("withdraw", False)))
    return {"kid": kid, "published": stand_in.keys.kids}


def _mint(stand_in: StandIn, asked: Mapping[str, Any]) -> Any:
    """Any token: an app's, its user's or an ID token, with `claims` and `header` laid over (None takes one out)."""
    app = APPS[asked.get("app", "all")]
    user = USER if asked.get("user") else None
    now = stand_in.now()
    if asked.get("id_token"):
        claims = issue.id_claims(app, USER, authority=stand_in.state.authority, now=now, nonce=asked.get("nonce"))
    else:
        claims = issue.access_claims(
            app, authority=stand_in.state.authority, now=now, version=asked.get("version"), user=user
        )
    claims |= asked.get("claims") or {}
    claims = {name: value for name, value in claims.items() if value is not None}
    how = asked.get("sign", "proper")
    key, header = stand_in.keys.current, dict(asked.get("header") or {})
    if how == "other":
        header = {"kid": key.thumbprint(), "x5t": key.thumbprint()} | header
        key = make_key()
    return {"token": issue.sign(claims, key, header=header, how=how), "claims": claims}


def _away(stand_in: StandIn, asked: Mapping[str, Any]) -> Any:
    stand_in.away = bool(asked["away"])
    return {"away": stand_in.away}


def _asked(stand_in: StandIn, _: Mapping[str, Any]) -> Any:
    """How often each public address was asked, refusals while away included."""
    return dict(stand_in.asked)


def _counted(stand_in: StandIn, name: str, handler: Handler) -> Handler:
    async def counted(request: Request) -> Response:
        stand_in.asked[name] += 1
        if stand_in.away:
            return JSONResponse({"error": "temporarily_unavailable"}, status_code=503)
        return await handler(request)

    return counted


async def _form(request: Request) -> dict[str, str]:
    body = await request.body()
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


async def _oauth_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, OAuthError):
        raise error
    return JSONResponse({"error": error.error, "error_description": error.description}, status_code=error.status)


def _bound(store: dict[str, Any]) -> dict[str, Any]:
    while len(store) >= _MAX_PENDING:
        store.pop(next(iter(store)))
    return store
