"""The rules of an Entra ID access token: header and claims in, a Caller out, or a refusal with its reason.

First half of `authenticate`; the other half (signature, keys, memory) is in `gateway.shell.authenticate`, which calls
`check_header` before it looks for a key and `identify` only after the signature has held. Nothing here reads a clock,
and nothing here decides what a caller may do.

Reasons are those of API Management's validate-jwt policy, so clients written for it keep working
(https://learn.microsoft.com/azure/api-management/api-management-error-handling-policies). One is ours:
`TokenNotYetValid`, which API Management folds into `JwtInvalid`; it almost always means a clock that is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from authlib.oauth2.rfc6749.util import scope_to_list
from authlib.oauth2.rfc6750.errors import InvalidTokenError

from gateway.core.caller import Caller, Kind
from shared.errors import UnauthenticatedError

Reason = Literal[
    "TokenNotPresent",
    "TokenExpired",
    "TokenNotYetValid",
    "TokenSignatureInvalid",
    "TokenSignatureKeyNotFound",
    "TokenAudienceNotAllowed",
    "TokenIssuerNotAllowed",
    "TokenClaimNotFound",
    "TokenClaimValueNotAllowed",
    "JwtInvalid",
]

#: Seconds that clocks may differ (`exp`, `nbf`, `iat`).
LEEWAY_S = 60
#: The only signature algorithm Entra ID uses, and the only one accepted, in this spelling.
ALGORITHM = "RS256"
REALM = "scoregate"
#: The two forms of issuer, of v1 tokens and of v2 tokens. The US government's cloud shares the first with the public
#: one.
DEFAULT_ISSUERS = ("https://sts.windows.net/{tid}/", "{authority}/{tid}/v2.0")
CHINA_ISSUERS = ("https://sts.chinacloudapi.cn/{tid}/", "{authority}/{tid}/v2.0")
_CHINA_AUTHORITIES = ("https://login.partner.microsoftonline.cn", "https://login.chinacloudapi.cn")

#: Header parameters by which a token would bring its own key, or change how it is read (RFC 7515, 4.1).
_FORBIDDEN_HEADER = ("jwk", "jku", "x5u", "x5c", "crit")
#: What only an ID token carries. It says who signed in to an app; it is no permission to call anything.
_ID_TOKEN_CLAIMS = ("nonce", "at_hash", "c_hash")
_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_KID_LENGTH = 256
_MOST_SECONDS = 1e15


@dataclass(frozen=True, slots=True)
class TokenAdmission:
    """What a policy asks of every token, whatever it is used for."""

    kinds: frozenset[Kind] = frozenset({"app", "user"})
    #: App registrations that may call (`azp`/`appid`, lower case); None admits any app of the tenants.
    client_apps: frozenset[str] | None = None
    #: Claim name → values of which the token must have one. A claim that is a list needs one member among them.
    claims: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenRules:
    """Which tokens are for us. `issuers` are templates with `{tid}`, already without `{authority}`."""

    tenants: frozenset[str]
    audiences: frozenset[str]
    issuers: tuple[str, ...]
    admission: TokenAdmission = field(default_factory=TokenAdmission)
    leeway_s: int = LEEWAY_S

    @classmethod
    def of(
        cls,
        *,
        authority: str,
        tenants: tuple[str, ...],
        audiences: tuple[str, ...],
        issuers: tuple[str, ...] = (),
        admission: TokenAdmission | None = None,
    ) -> TokenRules:
        """From settings. `authority` is a URL without tenant (`https://login.microsoftonline.com`); `issuers` are
        templates with `{tid}`, and none means both forms of the authority's cloud.

        Raises ValueError that names every mistake: an issuer without `{tid}` or https, a tenant that is no GUID, no
        audience.
        """
        authority = authority.rstrip("/")
        templates = issuers or (CHINA_ISSUERS if authority in _CHINA_AUTHORITIES else DEFAULT_ISSUERS)
        filled = tuple(i.replace("{authority}", authority) for i in templates)
        mistakes = [f"tenant {t!r} is not a GUID" for t in tenants if not _GUID.fullmatch(t)]
        mistakes += [f"issuer {i!r} has no {{tid}}" for i in filled if "{tid}" not in i]
        mistakes += [f"issuer {i!r} is not https" for i in filled if not i.startswith("https://")]
        mistakes += [] if tenants else ["no tenant is given"]
        mistakes += [] if all(audiences) and audiences else ["no audience is given"]
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return cls(
            tenants=frozenset(t.lower() for t in tenants),
            audiences=frozenset(audiences),
            issuers=filled,
            admission=admission or TokenAdmission(),
        )


def refuse(reason: Reason, detail: str) -> UnauthenticatedError:
    """The 401 to raise: `reason` is machine-readable, `detail` says what to do.

    With RFC 6750's `WWW-Authenticate`; without an error code where no token was given at all (section 3.1). `detail` is
    in the body only: the header has fixed text, so nothing a caller sent can reach it.
    """
    if reason == "TokenNotPresent":
        challenge = f'Bearer realm="{REALM}"'
    else:
        headers = dict(InvalidTokenError(description=_HEADER_TEXT[reason], realm=REALM).get_headers())
        challenge = headers["WWW-Authenticate"]
    return UnauthenticatedError(detail, reason=reason, headers={"WWW-Authenticate": challenge})


_HEADER_TEXT: Mapping[Reason, str] = {
    "TokenExpired": "The access token has expired",
    "TokenNotYetValid": "The access token is not valid yet",
    "TokenSignatureInvalid": "The access token is not signed as it must be",
    "TokenSignatureKeyNotFound": "The access token is signed by a key that Entra ID does not publish",
    "TokenAudienceNotAllowed": "The access token is for another audience",
    "TokenIssuerNotAllowed": "The access token is from another issuer or tenant",
    "TokenClaimNotFound": "The access token lacks a claim",
    "TokenClaimValueNotAllowed": "A claim of the access token has a value that is not allowed",
    "JwtInvalid": "The access token is not a valid JWT access token",
}


def check_header(header: Mapping[str, Any]) -> str:
    """The token's `kid`. Called before any key is looked for, so a token cannot choose how it is verified."""
    algorithm = header.get("alg")
    if algorithm != ALGORITHM:
        raise refuse("TokenSignatureInvalid", f"The token must be signed with {ALGORITHM}.")
    if found := [name for name in _FORBIDDEN_HEADER if name in header]:
        raise refuse("JwtInvalid", f"The token's header must not have {', '.join(found)}.")
    kid = header.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= _KID_LENGTH:
        raise refuse("TokenSignatureKeyNotFound", "The token's header must name its key (kid).")
    return kid


def identify(claims: Mapping[str, Any], rules: TokenRules, now: float) -> Caller:
    """The caller that a token's claims stand for; `now` in seconds since 1970. Call it after the signature has held.

    Raises UnauthenticatedError. A token that passes now passes until `exp` plus the leeway, so the result may be
    remembered until then: no other rule here depends on time once `nbf` and `iat` have passed.
    """
    tenant = _issued_by(claims, rules)
    _check_audience(claims, rules)
    expires_at_s = _check_times(claims, rules, now)
    client_app = _client_app(claims)
    subject = _guid(claims, "oid")
    roles = _words(claims, "roles")
    scopes = _scopes(claims)
    kind = _kind(claims, subject, scopes)
    _check_admission(claims, rules.admission, kind, client_app)
    return Caller(
        tenant=tenant,
        subject=subject,
        kind=kind,
        client_app=client_app,
        roles=roles,
        scopes=scopes,
        name=_name(claims, client_app),
        expires_at_s=expires_at_s,
    )


def _issued_by(claims: Mapping[str, Any], rules: TokenRules) -> str:
    """The tenant: one of ours, and the very one its issuer names, so one tenant cannot speak for another."""
    issuer = _text(claims, "iss")
    tenant = _guid(claims, "tid")
    if tenant not in rules.tenants:
        raise refuse("TokenIssuerNotAllowed", "The token's tenant (tid) is not one this service serves.")
    # The tenant is filled in as the token writes it; Entra writes both in lower case.
    if not any(issuer == template.replace("{tid}", claims["tid"]) for template in rules.issuers):
        raise refuse("TokenIssuerNotAllowed", "The token's issuer (iss) is not its tenant at the expected authority.")
    return tenant


def _check_audience(claims: Mapping[str, Any], rules: TokenRules) -> None:
    audience = claims.get("aud")
    if audience is None:
        raise refuse("TokenClaimNotFound", "The token has no audience (aud).")
    # Entra always writes one string. A list would make the token good for someone else too, who could then use it here.
    if not isinstance(audience, str) or audience not in rules.audiences:
        raise refuse(
            "TokenAudienceNotAllowed",
            f"The token's audience (aud) is not this service. Ask for a token for {max(rules.audiences)}.",
        )


def _check_times(claims: Mapping[str, Any], rules: TokenRules, now: float) -> float:
    expires = _seconds(claims, "exp")
    if expires is None:
        raise refuse("TokenClaimNotFound", "The token has no expiry (exp).")
    if now >= expires + rules.leeway_s:
        raise refuse("TokenExpired", "The token has expired; get a new one.")
    for name in ("nbf", "iat"):
        since = _seconds(claims, name)
        if since is not None and now < since - rules.leeway_s:
            raise refuse("TokenNotYetValid", f"The token is not valid yet ({name} is in the future); check the clocks.")
    return expires


def _client_app(claims: Mapping[str, Any]) -> str:
    """`azp` in v2 tokens, `appid` in v1 tokens. ID tokens have neither."""
    names = [name for name in ("azp", "appid") if name in claims]
    if not names:
        raise refuse("TokenClaimNotFound", "The token names no client app (azp or appid); is it an ID token?")
    apps = {_guid(claims, name) for name in names}
    if len(apps) > 1:
        raise refuse("TokenClaimValueNotAllowed", "The token names two client apps (azp and appid differ).")
    return apps.pop()


def _kind(claims: Mapping[str, Any], subject: str, scopes: frozenset[str]) -> Kind:
    """App-only or delegated, told apart as Microsoft documents it: `scp`, `idtyp`, and `sub` equal to `oid` for apps.

    An ID token whose audience happens to be this API's own client id has no `scp`, and its `sub` is the user's pairwise
    id: it is neither.
    """
    if found := [name for name in _ID_TOKEN_CLAIMS if name in claims]:
        raise refuse("JwtInvalid", f"This is an ID token (it has {', '.join(found)}); send an access token.")
    idtyp = claims.get("idtyp")
    if scopes:
        if idtyp not in (None, "user"):
            raise refuse("TokenClaimValueNotAllowed", "A token with scopes (scp) must be a user's (idtyp).")
        return "user"
    if idtyp not in (None, "app"):
        raise refuse("TokenClaimNotFound", "A user's token must have scopes (scp).")
    if idtyp is None and str(claims.get("sub", "")).lower() != subject:
        raise refuse("TokenClaimNotFound", "The token has no scopes (scp) and is not an app's own; is it an ID token?")
    return "app"


def _check_admission(claims: Mapping[str, Any], admission: TokenAdmission, kind: Kind, client_app: str) -> None:
    if kind not in admission.kinds:
        others = {"app": "an app's own token", "user": "a user's token"}
        raise refuse("TokenClaimValueNotAllowed", f"This service does not take {others[kind]}.")
    if admission.client_apps is not None and client_app not in admission.client_apps:
        raise refuse("TokenClaimValueNotAllowed", "The client app (azp or appid) is not allowed to call this service.")
    for name, allowed in admission.claims.items():
        if name not in claims:
            raise refuse("TokenClaimNotFound", f"The token must have the claim {name}.")
        value = claims[name]
        values = value if isinstance(value, list) else [value]
        if allowed.isdisjoint(_claim_text(v) for v in values):
            raise refuse("TokenClaimValueNotAllowed", f"The token's claim {name} has a value that is not allowed.")


def _claim_text(value: object) -> str:
    """As JSON writes it, so that a policy's `"1"` and `"true"` match numbers and booleans."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if value is None:
        raise refuse("TokenClaimNotFound", f"The token has no {name}.")
    if not isinstance(value, str):
        raise refuse("JwtInvalid", f"The token's {name} is not text.")
    return value


def _guid(claims: Mapping[str, Any], name: str) -> str:
    value = _text(claims, name)
    if not _GUID.fullmatch(value):
        raise refuse("TokenClaimValueNotAllowed", f"The token's {name} is not a GUID.")
    return value.lower()


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519, section 2). NaN would compare false with everything and never expire."""
    value = claims.get(name)
    if value is None:
        return None
    # Written so that NaN is refused; a comparison, unlike isfinite, also takes an int that no float can hold.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MOST_SECONDS:
        raise refuse("JwtInvalid", f"The token's {name} is not a number of seconds.")
    return float(value)


def _words(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    value = claims.get(name, [])
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise refuse("JwtInvalid", f"The token's {name} is not a list of text.")
    return frozenset(value)


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    value = claims.get("scp", "")
    if not isinstance(value, str):
        raise refuse("JwtInvalid", "The token's scp is not text.")
    return frozenset(scope for scope in scope_to_list(value) or () if scope)


def _name(claims: Mapping[str, Any], client_app: str) -> str:
    for claim in ("preferred_username", "upn", "app_displayname", "name"):
        value = claims.get(claim)
        if isinstance(value, str) and value:
            return "".join(c if c.isprintable() else "?" for c in value)[:64]
    return client_app
