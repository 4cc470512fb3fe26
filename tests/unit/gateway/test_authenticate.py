"""`authenticate` with real signatures, a key source with state in place of Entra ID, and a clock that only the test moves."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from joserfc.jwk import RSAKey

from devkit.entra import issue
from devkit.entra.directory import API_CLIENT_ID, APP_ID_URI, APPS, TENANT
from gateway.core.caller import Caller
from gateway.core.claims import TokenRules, refuse
from gateway.shell.authenticate import MAX_TOKEN_BYTES, Authenticator
from gateway.shell.keys import SigningKey
from shared.errors import ScoregateError, UnauthenticatedError, UnavailableError

AUTHORITY = "https://entra.example"
NOW = 1_800_000_000
KEY, OTHER = RSAKey.generate_key(2048), RSAKey.generate_key(2048)
RULES = TokenRules.of(authority=AUTHORITY, tenants=(TENANT,), audiences=(APP_ID_URI, API_CLIENT_ID))


class FakeKeys:
    """A key source: `publish` what Entra ID has, `away` when it cannot be asked; `known` are those already fetched."""

    def __init__(self, *keys: RSAKey) -> None:
        self.known: dict[str, SigningKey] = {}
        self.published: dict[str, SigningKey] = {}
        self.away = False
        self.asked: list[str] = []
        self.publish(*keys)

    def publish(self, *keys: RSAKey) -> None:
        self.published = {
            issue.kid_of(key): SigningKey(issue.kid_of(key), key.thumbprint(), _public(key)) for key in keys
        }

    def fetch(self) -> None:
        self.known = {kid: self.known.get(kid, key) for kid, key in self.published.items()}

    def current(self, kid: str) -> SigningKey | None:
        return self.known.get(kid)

    async def find(self, kid: str) -> SigningKey:
        self.asked.append(kid)
        if self.away:
            raise UnavailableError
        self.fetch()
        if kid not in self.known:
            raise refuse("TokenSignatureKeyNotFound", "no such key")
        return self.known[kid]


def _public(key: RSAKey) -> RSAKey:
    return RSAKey.import_key(key.as_dict(private=False))


class Desk:
    """An authenticator with everything around it at hand."""

    def __init__(self, **options: Any) -> None:
        self.keys = FakeKeys(KEY)
        self.now = float(NOW)
        self.verified = 0
        self.authenticator = Authenticator(self.keys, RULES, clock=lambda: self.now, on_verified=self.count, **options)

    def count(self) -> None:
        self.verified += 1

    async def ask(self, token: str | bytes) -> Caller:
        text = token.encode() if isinstance(token, str) else token
        return await self.authenticator.authenticate(b"Bearer " + text)

    async def refusal(self, authorization: bytes | None) -> str:
        with pytest.raises(UnauthenticatedError) as caught:
            await self.authenticator.authenticate(authorization)
        assert "WWW-Authenticate" in caught.value.headers
        return caught.value.reason


def token(
    app: str = "all", *, key: RSAKey = KEY, header: Any = None, how: issue.Signing = "proper", **changes: Any
) -> str:
    claims = issue.access_claims(APPS[app], authority=AUTHORITY, now=NOW) | changes
    return issue.sign(claims, key, header=header, how=how)


async def test_a_good_token_is_its_caller() -> None:
    caller = await Desk().ask(token())
    assert (caller.subject, caller.kind, caller.roles) == (APPS["all"].object_id, "app", {"Models.Score.All"})


@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer ", b"BEARER   "])
async def test_the_scheme_may_be_in_any_case(scheme: bytes) -> None:
    assert await Desk().authenticator.authenticate(scheme + token().encode())


@pytest.mark.parametrize("authorization", [None, b"", b"Bearer", b"Bearer ", b"Basic dTpw", b"Bearerx y", b"Negotiate"])
async def test_without_a_bearer_token_the_reason_is_that_there_is_none(authorization: bytes | None) -> None:
    assert await Desk().refusal(authorization) == "TokenNotPresent"


@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "nOnE", "HS256", "HS512", "RS512", "PS256", "ES256", "rs256", ""]
)
@pytest.mark.parametrize("how", ["none", "hmac", "proper", "other"])
async def test_any_other_algorithm_is_refused_however_it_is_signed(alg: str, how: issue.Signing) -> None:
    desk = Desk()
    assert await desk.refusal(b"Bearer " + token(header={"alg": alg}, how=how).encode()) == "TokenSignatureInvalid"
    assert (desk.verified, desk.keys.asked) == (0, [])


async def test_a_token_without_algorithm_or_signature_is_refused() -> None:
    desk = Desk()
    assert await desk.refusal(b"Bearer " + token(header={"alg": None}).encode()) == "JwtInvalid"
    assert await desk.refusal(b"Bearer " + token().rpartition(".")[0].encode() + b".") == "TokenSignatureInvalid"
    assert await desk.refusal(b"Bearer " + token().rpartition(".")[0].encode()) == "JwtInvalid"


async def test_hmac_with_the_public_key_is_refused_also_when_it_says_rs256() -> None:
    forged = token(how="hmac", header={"alg": "RS256"})
    assert await Desk().refusal(b"Bearer " + forged.encode()) == "TokenSignatureInvalid"


async def test_another_key_under_a_known_kid_is_refused() -> None:
    forged = token(key=OTHER, header={"kid": issue.kid_of(KEY)})
    assert await Desk().refusal(b"Bearer " + forged.encode()) == "TokenSignatureInvalid"


@pytest.mark.parametrize(
    "header",
    [
        {"jwk": OTHER.as_dict(private=False)},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/cert"},
        {"x5c": ["MIIB"]},
        {"crit": ["exp"]},
        {"crit": ["b64"], "b64": False},
    ],
)
async def test_a_token_that_brings_its_own_key_is_refused_before_any_is_looked_for(header: dict[str, Any]) -> None:
    desk = Desk()
    for signed_by in (KEY, OTHER):
        forged = token(key=signed_by, header={"kid": "own", **header})
        assert await desk.refusal(b"Bearer " + forged.encode()) == "JwtInvalid"
    assert desk.keys.asked == []


@pytest.mark.parametrize("part", [0, 1, 2])
async def test_a_token_changed_in_any_part_is_refused(part: int) -> None:
    desk = Desk()
    parts = token().split(".")
    middle = len(parts[part]) // 2
    parts[part] = parts[part][:middle] + ("A" if parts[part][middle] != "A" else "B") + parts[part][middle + 1 :]
    assert await desk.refusal(b"Bearer " + ".".join(parts).encode()) in {
        "JwtInvalid",
        "TokenSignatureInvalid",
        "TokenSignatureKeyNotFound",
    }


async def test_garbage_of_nine_kilobytes_is_refused_without_being_looked_at() -> None:
    desk = Desk()
    assert await desk.refusal(b"Bearer " + b"x" * 9 * 1024) == "JwtInvalid"
    assert await desk.refusal(b"Bearer " + token(padding="p" * MAX_TOKEN_BYTES).encode()) == "JwtInvalid"
    assert (desk.verified, desk.keys.asked) == (0, [])


async def test_rs256_is_paid_once_per_token() -> None:
    desk = Desk()
    first = await desk.ask(token())
    assert await desk.ask(_same := token()) is not first  # another token (uti), another caller object
    before = desk.verified
    assert await desk.ask(_same) is await desk.ask(_same)
    assert desk.verified == before


async def test_rs256_is_paid_once_however_the_field_is_written() -> None:
    desk = Desk()
    text = token().encode()
    callers = [await desk.authenticator.authenticate(field) for field in (
        b"bearer " + text, b"Bearer " + text, b"Bearer   " + text, b"BEARER " + text + b"  ",
    )]  # fmt: skip
    assert all(caller is callers[0] for caller in callers)
    assert (desk.verified, len(desk.authenticator._remembered)) == (1, 1)


async def test_a_remembered_token_still_expires() -> None:
    desk = Desk()
    text = token()
    await desk.ask(text)
    desk.now = NOW + issue.LIFETIME_S + 59
    await desk.ask(text)
    desk.now = NOW + issue.LIFETIME_S + 60
    assert await desk.refusal(b"Bearer " + text.encode()) == "TokenExpired"


async def test_a_remembered_token_is_forgotten_when_its_key_is_withdrawn() -> None:
    desk = Desk()
    text = token()
    await desk.ask(text)
    desk.keys.publish(OTHER)
    desk.keys.fetch()
    assert await desk.refusal(b"Bearer " + text.encode()) == "TokenSignatureKeyNotFound"


async def test_a_remembered_token_is_verified_anew_when_its_kid_names_another_key() -> None:
    desk = Desk()
    text = token()
    await desk.ask(text)
    kid = issue.kid_of(KEY)
    desk.keys.known = {kid: SigningKey(kid, OTHER.thumbprint(), _public(OTHER))}
    assert await desk.refusal(b"Bearer " + text.encode()) == "TokenSignatureInvalid"


async def test_refusals_are_not_remembered() -> None:
    desk = Desk()
    early = token(nbf=NOW + 100)
    assert await desk.refusal(b"Bearer " + early.encode()) == "TokenNotYetValid"
    desk.now += 50
    assert (await desk.ask(early)).kind == "app"


async def test_a_new_key_is_found_by_asking_once() -> None:
    desk = Desk()
    await desk.ask(token())
    desk.keys.publish(KEY, OTHER)
    assert (await desk.ask(token(key=OTHER))).kind == "app"
    assert desk.keys.asked == [issue.kid_of(KEY), issue.kid_of(OTHER)]


async def test_an_outage_is_not_the_callers_fault_and_known_keys_go_on() -> None:
    desk = Desk()
    desk.keys.away = True
    with pytest.raises(UnavailableError):
        await desk.ask(token())
    desk.keys.away = False
    await desk.ask(token())
    desk.keys.away = True
    assert (await desk.ask(token())).kind == "app"


async def test_memory_is_bounded_and_the_longest_unused_leave() -> None:
    desk = Desk(max_remembered=3)
    kept = token()
    await desk.ask(kept)
    for _ in range(10):
        await desk.ask(token())
        await desk.ask(kept)
    assert repr(desk.authenticator) == "Authenticator(3 callers remembered)"
    assert desk.verified == 11


def _b64(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


ODD_HEADERS = [
    b"[]", b'"alg"', b'["alg"]', b"null", b"7", b"{", b"\xff", b"", b"[" * 300, b'{"alg":"RS256"}', b'{"alg":"RS256","kid":{}}',
    b'{"alg":"RS256","alg":"none","kid":"k"}', b'{"alg":{"a":1},"kid":"k"}',
    b'{"alg":"RS256","kid":"' + issue.kid_of(KEY).encode() + b'"}',
]  # fmt: skip
HEADERS = st.sampled_from(ODD_HEADERS) | st.binary(max_size=60)


@given(header=HEADERS, payload=st.binary(max_size=30), signature=st.binary(max_size=300))
@example(header=b'{"alg":"RS256","kid":"k","b64":false,"crit":["b64"]}', payload=b"x", signature=b"")
async def test_whatever_a_token_holds_the_answer_is_a_401(header: bytes, payload: bytes, signature: bytes) -> None:
    text = b".".join((_b64(header), _b64(payload), _b64(signature)))
    with pytest.raises(ScoregateError) as caught:
        await Desk().authenticator.authenticate(b"Bearer " + text)
    assert caught.value.status == 401


@given(st.binary(max_size=200))
async def test_whatever_the_header_field_holds_the_answer_is_a_401(authorization: bytes) -> None:
    with pytest.raises(ScoregateError) as caught:
        await Desk().authenticator.authenticate(authorization)
    assert caught.value.status == 401


@pytest.mark.parametrize("claims", [b"[]", b"7", b"{", b"\xff", b'{"exp":NaN}', b"[" * 4000])
async def test_claims_that_are_not_an_object_are_refused_though_signed(claims: bytes) -> None:
    head = _b64(json.dumps({"alg": "RS256", "kid": issue.kid_of(KEY)}).encode())
    signed = head + b"." + _b64(claims)
    signature = issue.jws.JWSRegistry.algorithms["RS256"].sign(signed, KEY)
    assert await Desk().refusal(b"Bearer " + signed + b"." + _b64(signature)) == "JwtInvalid"
