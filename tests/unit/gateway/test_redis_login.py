"""The gateway's own identity towards Redis: tokens that are got once, kept fresh, and never told."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import AuthenticationError

from gateway.app import redis_login
from gateway.settings import GatewaySettings
from gateway.shell import redis_login as redis_login_module
from gateway.shell.redis_login import EntraLogin, Token, msal_source, token_of
from shared.settings import SettingsError, read
from tests.support import eventually

OID = "0b0b0b0b-0000-4000-8000-00000000000b"
TENANT = "11111111-1111-4111-8111-111111111111"
GIVEN = {
    "GATEWAY_SCORER_URLS": "http://scorer:8081",
    "GATEWAY_INTERNAL_KEY_FILE": "/key",
    "GATEWAY_POLICY_FILE": "/policy",
    "GATEWAY_TENANTS": TENANT,
    "GATEWAY_AUDIENCES": "api://scoregate",
    "GATEWAY_REDIS_URL": "rediss://redis.example:10000",
    "GATEWAY_REDIS_CREDENTIALS": "entra",
}


class FakeEntra:
    """Numbered tokens that last as long as it is told; away when it is told."""

    def __init__(self, lasts_s: float = 3600) -> None:
        self.lasts_s = lasts_s
        self.asked = 0
        self.away: Exception | None = None

    def __call__(self) -> Token:
        self.asked += 1
        if self.away is not None:
            raise self.away
        return Token(OID, f"token-{self.asked}", self.lasts_s)


async def test_many_connections_share_one_token() -> None:
    entra = FakeEntra()
    login = EntraLogin(entra)
    given = await asyncio.gather(*(login.get_credentials_async() for _ in range(20)))
    assert set(given) == {(OID, "token-1")}
    assert await login.get_credentials_async() == (OID, "token-1")
    assert (entra.asked, login.version) == (1, 1)
    await login.aclose()


async def test_a_token_is_renewed_before_it_ends_without_being_asked_for() -> None:
    entra = FakeEntra(lasts_s=0.2)
    login = EntraLogin(entra)
    await login.get_credentials_async()
    await asyncio.to_thread(eventually, lambda: login.version >= 3, what="two renewals")
    await login.aclose()
    told = login.version
    assert (await login.get_credentials_async())[1] == f"token-{entra.asked}"
    assert login.version in (told, told + 1)
    await login.aclose()


async def test_while_entra_is_away_the_last_token_serves_until_it_ends() -> None:
    now = 0.0
    entra = FakeEntra()
    login = EntraLogin(entra, clock=lambda: now)
    await login.get_credentials_async()
    entra.away = OSError("no route to Entra ID")
    now = 3599.0
    assert await login.get_credentials_async() == (OID, "token-1")
    now = 3600.0
    with pytest.raises(AuthenticationError, match="gave no token for Redis: no route"):
        await login.get_credentials_async()
    entra.away = None
    assert await login.get_credentials_async() == (OID, "token-3")
    await login.aclose()


async def test_renewal_goes_on_whatever_the_error_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_login_module, "RETRY_S", 0.01)
    entra = FakeEntra(lasts_s=0.02)
    login = EntraLogin(entra)
    await login.get_credentials_async()
    entra.away = RuntimeError("a library's own")
    asked = entra.asked
    await asyncio.to_thread(eventually, lambda: entra.asked >= asked + 2, what="it tries again")
    with pytest.raises(AuthenticationError, match="a library's own"):
        await login.get_credentials_async()
    entra.away = None
    told = login.version
    await asyncio.to_thread(eventually, lambda: login.version > told, what="a renewal")
    await login.aclose()


async def test_who_gives_up_waiting_leaves_the_token_for_the_next() -> None:
    go_on = threading.Event()

    def slow() -> Token:
        assert go_on.wait(10)
        return Token(OID, "late", 3600)

    login = EntraLogin(slow)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(login.get_credentials_async(), 0.01)
    go_on.set()
    assert await login.get_credentials_async() == (OID, "late")
    assert login.version == 1
    await login.aclose()


async def test_no_token_shows_in_a_text() -> None:
    login = EntraLogin(FakeEntra())
    await login.get_credentials_async()
    assert repr(login) == f"<EntraLogin: {OID}, version 1>"
    assert "token-1" not in repr(Token(OID, "token-1", 1))
    await login.aclose()


# --- MSAL, with a fake session in the network's place


class Answer:
    def __init__(self, body: dict[str, Any]) -> None:
        self.status_code = 200
        self.headers: dict[str, str] = {}
        self.text = json.dumps(body)

    def raise_for_status(self) -> None:
        """200."""


class FakeSession:
    """Entra's discovery and token endpoint."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []

    def get(self, url: str, **_: Any) -> Answer:
        base = url.split("/v2.0/", maxsplit=1)[0]
        return Answer({
            "issuer": f"{base}/v2.0",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
        })  # fmt: skip

    def post(self, url: str, *, data: dict[str, Any], **_: Any) -> Answer:
        self.posted.append({"url": url} | data)
        return Answer({"access_token": jwt(oid=OID), "expires_in": 3600, "token_type": "Bearer"})

    def close(self) -> None:
        """Nothing is open."""


def jwt(**claims: str) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{body}.c2ln"


def test_a_workload_identity_shows_what_its_file_holds_now(tmp_path: Path) -> None:
    file, session = tmp_path / "token", FakeSession()
    source = msal_source(
        authority="https://login.microsoftonline.com/",
        tenant=TENANT,
        client_id="me",
        token_file=str(file),
        http=session,
    )
    for shown in ("first", "second"):
        file.write_text(f"{shown}\n")
        token = source()
        assert (token.user, token.value, token.lasts_s) == (OID, jwt(oid=OID), pytest.approx(3600, abs=5))
    assert [one["client_assertion"] for one in session.posted] == ["first", "second"]
    assert {one["scope"] for one in session.posted} == {"https://redis.azure.com/.default"}
    assert {one["url"] for one in session.posted} == {f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"error": "invalid_client", "error_description": "AADSTS700213: no match"}, "AADSTS700213: no match"),
        ({"access_token": "opaque", "expires_in": 1}, "names no object id"),
        ({"access_token": jwt(sub="x"), "expires_in": 1}, "names no object id"),
        ({"access_token": jwt(oid="x"), "expires_in": 0}, "no time left"),
        ({"access_token": jwt(oid="x")}, "no time left"),
    ],
)
def test_an_answer_without_a_token_says_why(answer: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        token_of(answer)


# --- settings


def test_the_identity_is_used_only_where_it_is_asked_for() -> None:
    assert isinstance(redis_login(read(GatewaySettings, "GATEWAY_", GIVEN)), EntraLogin)
    assert redis_login(read(GatewaySettings, "GATEWAY_", GIVEN | {"GATEWAY_REDIS_CREDENTIALS": ""})) is None
    half = read(GatewaySettings, "GATEWAY_", GIVEN | {"AZURE_FEDERATED_TOKEN_FILE": "/var/token"})
    with pytest.raises(ValueError, match="AZURE_TENANT_ID and AZURE_CLIENT_ID"):
        redis_login(half)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"GATEWAY_REDIS_URL": "redis://redis.example:10000"}, "begins with rediss"),
        ({"GATEWAY_REDIS_URL": ""}, "begins with rediss"),
        ({"GATEWAY_REDIS_URL": "rediss://u:p@redis.example:10000"}, "no user or password"),
        ({"GATEWAY_REDIS_PASSWORD_FILE": "/password"}, "no GATEWAY_REDIS_PASSWORD_FILE"),
    ],
)
def test_a_token_goes_only_over_tls_and_beside_no_password(change: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read(GatewaySettings, "GATEWAY_", GIVEN | change)
