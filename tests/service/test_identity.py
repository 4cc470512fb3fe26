"""Identity from end to end: real MSAL gets tokens over real HTTPS, and the gateway's own parts say whose they are, or why not.

The clock of the key ring can be moved ahead, so that half a minute or a day passes at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from devkit.entra import directory
from devkit.entra.admin import EntraAdmin
from devkit.entra.running import running
from devkit.entra.tokens import get_token
from gateway.core.caller import Caller
from gateway.core.claims import TokenRules
from gateway.core.key_ring import KeyTimes
from gateway.core.policy_file import read_policy
from gateway.shell.authenticate import Authenticator
from gateway.shell.keys import EntraKeys, discovery_urls, entra_client
from shared.errors import UnauthenticatedError, UnavailableError
from tests.service.gateway_alone import becomes_true

OTHER = "99999999-9999-4999-8999-999999999999"
POLICY = read_policy((Path(directory.__file__).parent.parent / "policy.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("entra")


@pytest.fixture(scope="module")
def entra(folder: Path) -> Iterator[EntraAdmin]:
    with running(folder) as admin:
        yield admin


@dataclass
class Clock:
    """The machine's, moved ahead."""

    ahead_s: float = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


@dataclass
class Gateway:
    """The identity stage, composed as the gateway composes it."""

    keys: EntraKeys
    authenticator: Authenticator
    clock: Clock = field(default_factory=Clock)
    fetches: list[str] = field(default_factory=list)

    async def ask(self, token: str) -> Caller:
        return await self.authenticator.authenticate(b"Bearer " + token.encode())

    async def refusal(self, token: str) -> str:
        with pytest.raises(UnauthenticatedError) as caught:
            await self.ask(token)
        assert caught.value.headers["WWW-Authenticate"].startswith('Bearer realm="scoregate", error="invalid_token"')
        return caught.value.reason

    async def unavailable(self, token: str) -> UnavailableError:
        with pytest.raises(UnavailableError) as caught:
            await self.ask(token)
        assert caught.value.retry_after_ms
        return caught.value


@asynccontextmanager
async def gateway(entra: EntraAdmin, *, ca_file: str | None = None, wait: bool = True) -> AsyncIterator[Gateway]:
    fetches: list[str] = []
    clock = Clock()
    async with entra_client(ca_file or entra.state.ca_file) as client:
        keys = EntraKeys(
            discovery_urls(entra.state.authority, [directory.TENANT]),
            client,
            times=KeyTimes(retry_first_s=0.05, retry_most_s=0.2),
            monotonic=clock,
            on_fetch=lambda outcome, _kids, _detail: fetches.append(outcome),
        )
        rules = TokenRules.of(
            authority=entra.state.authority,
            tenants=(directory.TENANT,),
            audiences=(directory.APP_ID_URI, directory.API_CLIENT_ID),
            admission=POLICY.admission,
        )
        async with keys:
            if wait:
                await becomes_true(lambda: keys.ever_obtained)
            yield Gateway(keys, Authenticator(keys, rules), clock, fetches)


@pytest.mark.parametrize(
    ("app", "kind"), [("all", "app"), ("one-model", "app"), ("no-role", "app"), ("all-v1", "app"), ("user", "user")]
)
async def test_a_token_that_msal_got_is_its_caller(entra: EntraAdmin, folder: Path, app: str, kind: str) -> None:
    token = await asyncio.to_thread(get_token, folder, app, say=lambda _: None)
    async with gateway(entra) as stage:
        caller = await stage.ask(token)
    known = directory.APPS[app]
    assert (caller.kind, caller.client_app) == (kind, known.client_id)
    assert caller.subject == (known.object_id if kind == "app" else directory.USER.object_id)
    assert caller.roles == set(known.roles)
    assert caller.scopes == ({directory.SCOPE} if kind == "user" else frozenset())


async def test_the_disallowed_app_gets_a_token_from_msal_that_is_refused(entra: EntraAdmin, folder: Path) -> None:
    token = await asyncio.to_thread(get_token, folder, "disallowed")
    async with gateway(entra) as stage:
        assert await stage.refusal(token) == "TokenClaimValueNotAllowed"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("minted", "reason"),
    [
        ({"sign": "none"}, "TokenSignatureInvalid"),
        ({"sign": "none", "header": {"alg": "None"}}, "TokenSignatureInvalid"),
        ({"sign": "none", "header": {"alg": "NONE"}}, "TokenSignatureInvalid"),
        ({"sign": "none", "header": {"alg": "nOnE"}}, "TokenSignatureInvalid"),
        ({"sign": "none", "header": {"alg": "RS256"}}, "TokenSignatureInvalid"),
        ({"sign": "hmac"}, "TokenSignatureInvalid"),
        ({"sign": "hmac", "header": {"alg": "RS256"}}, "TokenSignatureInvalid"),
        ({"sign": "other"}, "TokenSignatureInvalid"),
        ({"header": {"jwk": {"kty": "RSA", "n": "AQAB", "e": "AQAB"}}}, "JwtInvalid"),
        ({"header": {"jku": "https://evil.example/keys"}}, "JwtInvalid"),
        ({"header": {"crit": ["exp"]}}, "JwtInvalid"),
        ({"header": {"kid": None}}, "TokenSignatureKeyNotFound"),
        ({"claims": {"exp": 1_600_000_000}}, "TokenExpired"),
        ({"claims": {"nbf": 4_000_000_000}}, "TokenNotYetValid"),
        ({"claims": {"aud": "api://another"}}, "TokenAudienceNotAllowed"),
        ({"claims": {"iss": f"https://login.microsoftonline.com/{directory.TENANT}/v2.0"}}, "TokenIssuerNotAllowed"),
        ({"claims": {"iss": f"https://sts.windows.net/{OTHER}/"}}, "TokenIssuerNotAllowed"),
        ({"claims": {"tid": OTHER}}, "TokenIssuerNotAllowed"),
        ({"claims": {"tid": OTHER, "iss": f"https://sts.windows.net/{OTHER}/"}}, "TokenIssuerNotAllowed"),
        ({"app": "disallowed"}, "TokenClaimValueNotAllowed"),
        ({"claims": {"padding": "p" * 9000}}, "JwtInvalid"),
        ({"id_token": True, "app": "user", "nonce": "n"}, "TokenAudienceNotAllowed"),
        (
            {"id_token": True, "claims": {"aud": directory.API_CLIENT_ID, "roles": ["Models.Score.All"]}},
            "TokenClaimNotFound",
        ),
    ],
)
async def test_each_bad_token_is_refused_with_its_reason(
    entra: EntraAdmin, version: Any, minted: dict[str, Any], reason: str
) -> None:
    async with gateway(entra) as stage:
        assert (await stage.ask(entra.mint(version=version))).kind == "app"
        assert await stage.refusal(entra.mint(version=version, **minted)) == reason
        assert (await stage.ask(entra.mint(version=version))).kind == "app"
        assert stage.fetches == ["ok"]


async def test_unknown_kids_cause_one_refetch_and_then_none_for_thirty_seconds(entra: EntraAdmin) -> None:
    async with gateway(entra) as stage:
        before = entra.asked()["keys"]
        forged = [entra.mint(sign="other", header={"kid": f"kid{number}"}) for number in range(20)]
        reasons = await asyncio.gather(*(stage.refusal(token) for token in forged))
        assert set(reasons) == {"TokenSignatureKeyNotFound"}
        assert entra.asked()["keys"] == before + 1
        stage.clock.ahead_s += 29
        assert await stage.refusal(forged[0]) == "TokenSignatureKeyNotFound"
        assert entra.asked()["keys"] == before + 1
        stage.clock.ahead_s += 1.1
        assert await stage.refusal(forged[0]) == "TokenSignatureKeyNotFound"
        assert entra.asked()["keys"] == before + 2


async def test_keys_rotate_without_one_wrong_answer(entra: EntraAdmin) -> None:
    async with gateway(entra) as stage:
        tokens = [entra.mint()]
        answers = 0
        done = asyncio.Event()

        async def calls() -> None:
            nonlocal answers
            while not done.is_set():
                for token in tuple(tokens):
                    assert (await stage.ask(token)).kind == "app"
                    answers += 1
                await asyncio.sleep(0)

        calling = [asyncio.create_task(calls()) for _ in range(8)]
        for _ in range(3):
            await asyncio.to_thread(entra.rotate)
            tokens.append(await asyncio.to_thread(entra.mint))
            reached = answers + 100
            async with asyncio.timeout(10):
                while answers < reached:  # noqa: ASYNC110  (the fact is a count)
                    await asyncio.sleep(0)
            stage.clock.ahead_s += 31
        done.set()
        await asyncio.gather(*calling)
        assert len(tokens) == 4
        assert set(stage.fetches) == {"ok"}


async def test_a_token_of_a_withdrawn_key_is_refused_once_the_keys_are_refreshed(entra: EntraAdmin) -> None:
    async with gateway(entra) as stage:
        old = entra.mint()
        await stage.ask(old)
        entra.rotate(withdraw=True)
        new = entra.mint()
        assert (await stage.ask(new)).kind == "app"  # this unknown kid has the keys fetched anew
        assert await stage.refusal(old) == "TokenSignatureKeyNotFound"


async def test_entra_goes_away_and_comes_back_without_one_wrong_answer(entra: EntraAdmin) -> None:
    async with gateway(entra) as stage:
        known = entra.mint()
        entra.away()
        try:
            assert (await stage.ask(known)).kind == "app"
            assert (await stage.ask(entra.mint())).kind == "app"  # another token of a known key
            entra.rotate()
            fresh = entra.mint()
            assert "try again later" in (await stage.unavailable(fresh)).detail
            assert (await stage.unavailable(fresh)).reason == "identity_unavailable"
            stage.clock.ahead_s += 23 * 3600
            assert (await stage.ask(known)).kind == "app"
            stage.clock.ahead_s += 3600
            await stage.unavailable(known)
        finally:
            entra.away(False)
        stage.clock.ahead_s += 31
        assert (await stage.ask(fresh)).kind == "app"
        assert (await stage.ask(known)).kind == "app"


async def test_a_gateway_that_never_had_keys_answers_503_and_recovers_by_itself(entra: EntraAdmin) -> None:
    entra.away()
    try:
        async with gateway(entra, wait=False) as stage:
            token = entra.mint()
            for _ in range(3):
                await stage.unavailable(token)
            assert await stage.refusal(entra.mint(sign="none")) == "TokenSignatureInvalid"  # that needs no key
            assert not stage.keys.ever_obtained
            entra.away(False)
            await becomes_true(lambda: stage.keys.ever_obtained)
            assert (await stage.ask(token)).kind == "app"
            assert stage.keys.usable
    finally:
        entra.away(False)


async def test_an_entra_that_is_killed_is_away_and_one_that_comes_back_is_the_same(tmp_path: Path) -> None:
    with running(tmp_path) as first:
        token, port = first.mint(), first.state.url.rpartition(":")[2]
        first.rotate()
        fresh = first.mint()
        async with gateway(first) as known:
            pass
    async with gateway(first, wait=False) as stage:
        await stage.unavailable(token)
        with running(tmp_path, "--port", port):
            await becomes_true(lambda: stage.keys.ever_obtained)
            assert (await stage.ask(token)).kind == "app"
        assert (await stage.ask(fresh)).kind == "app"
    assert known.fetches == ["ok"]


async def test_a_certificate_from_another_authority_is_not_trusted(entra: EntraAdmin, tmp_path: Path) -> None:
    with running(tmp_path) as other:
        async with gateway(entra, ca_file=other.state.ca_file, wait=False) as stage:
            await stage.unavailable(entra.mint())
            assert not stage.keys.ever_obtained


async def test_each_app_may_score_what_the_policy_for_laptops_says(entra: EntraAdmin) -> None:
    allowed = {
        "all": ["boston-housing", "iris-species"],
        "all-v1": ["boston-housing", "iris-species"],
        "one-model": ["boston-housing"],
        "no-role": [],
    }
    async with gateway(entra) as stage:
        for app, models in allowed.items():
            caller = await stage.ask(entra.mint(app))
            assert POLICY.listed(caller, ["boston-housing", "iris-species"]) == models
        user = await stage.ask(entra.mint("user", user=True))
        assert POLICY.listed(user, ["boston-housing", "iris-species"]) == ["boston-housing", "iris-species"]
