"""Every kind of wrong token is refused with its status and reason, through the whole gateway, and costs R nothing."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from devkit.entra.admin import EntraAdmin
from tests.stack.conftest import Stack
from tests.stack.stack import ROOT
from tests.support import eventually

SCORE = "/v1/models/cars-interval/score"
GOOD = {"rows": [{"speed": 10}]}
OTHER = "99999999-9999-4999-8999-999999999999"
Mint = Callable[[EntraAdmin], str | None]


@pytest.fixture(scope="module")
def own(stack: Stack) -> Iterator[Stack]:
    """A stack of this module's own: rotating keys and absent identity would disturb others."""
    running = Stack.up("--gateway-workers", "1")
    yield running
    running.close()


@pytest.fixture(scope="module")
def entra(own: Stack) -> Iterator[EntraAdmin]:
    with EntraAdmin(ROOT / ".dev" / own.name / "entra") as admin:
        yield admin


@pytest.fixture(scope="module")
def http(own: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=own.gateway_url, timeout=30, trust_env=False) as client:
        yield client


def score(http: httpx.Client, token: str | None) -> httpx.Response:
    return http.post(SCORE, json=GOOD, headers={} if token is None else {"Authorization": f"Bearer {token}"})


def predictions(stack: Stack) -> float:
    """Calls that reached R so far."""
    metrics = httpx.get(f"{stack.addresses['scorer_internal_url']}/metrics", trust_env=False).text
    lines = [line for line in metrics.splitlines() if line.startswith("scorer_run_items_count")]
    assert lines
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def unsigned(alg: str) -> Mint:
    def mint(entra: EntraAdmin) -> str:
        head, claims, _ = entra.mint().split(".")
        header = json.loads(base64.urlsafe_b64decode(head + "=="))
        header["alg"] = alg
        return f"{base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip('=')}.{claims}."

    return mint


def minted(**how: Any) -> Mint:
    return lambda entra: entra.mint(**how)


NOW = int(time.time())
WRONG: list[tuple[str, int, str, Mint]] = [
    ("no token", 401, "TokenNotPresent", lambda _: None),
    *((f"alg {a}", 401, "TokenSignatureInvalid", unsigned(a)) for a in ("none", "None", "NONE", "nOnE")),
    ("HS256 with the public key", 401, "TokenSignatureInvalid", minted(sign="hmac")),
    ("another key under a known kid", 401, "TokenSignatureInvalid", minted(sign="other")),
    *(
        (f"{name} in the header", 401, "JwtInvalid", minted(header={name: value}))
        for name, value in (("jwk", {"kty": "RSA"}), ("jku", "https://evil.example/keys"), ("crit", ["exp"]))
    ),
    ("expired", 401, "TokenExpired", minted(claims={"exp": NOW - 3600})),
    ("not yet valid", 401, "TokenNotYetValid", minted(claims={"nbf": NOW + 3600})),
    ("another audience", 401, "TokenAudienceNotAllowed", minted(claims={"aud": "api://other"})),
    ("another issuer", 401, "TokenIssuerNotAllowed", minted(claims={"iss": "https://evil.example/"})),
    (
        "another tenant",
        401,
        "TokenIssuerNotAllowed",
        minted(claims={"tid": OTHER, "iss": f"https://sts.windows.net/{OTHER}/"}),
    ),
    ("tid that is not the issuer's", 401, "TokenIssuerNotAllowed", minted(claims={"tid": OTHER})),
    (
        "a v1 token of another audience",
        401,
        "TokenAudienceNotAllowed",
        minted(version=1, claims={"aud": "api://other"}),
    ),
    ("a v1 token that expired", 401, "TokenExpired", minted(version=1, claims={"exp": NOW - 3600})),
    ("a disallowed client app", 401, "TokenClaimValueNotAllowed", minted(app="disallowed")),
    ("an ID token", 401, "", minted(user=True, id_token=True)),
    ("no role", 403, "forbidden", minted(app="no-role")),
    ("a role for another model", 403, "forbidden", minted(app="one-model")),
    ("9 KB of garbage", 401, "JwtInvalid", lambda _: "x" * 9000),
]


@pytest.mark.parametrize(("status", "reason", "mint"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_a_wrong_token_is_refused_and_costs_r_nothing(
    own: Stack, http: httpx.Client, entra: EntraAdmin, status: int, reason: str, mint: Mint
) -> None:
    before = predictions(own)
    answer = score(http, mint(entra))
    body = answer.json()
    assert answer.status_code == status, answer.text
    assert reason in ("", body["code"]), body
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")
    else:
        assert "Models.Score" in body["detail"], "the missing role is named"
    assert predictions(own) == before
    assert score(http, entra.mint()).status_code == 200


@pytest.mark.parametrize("version", [1, 2])
def test_both_forms_of_token_are_taken(http: httpx.Client, entra: EntraAdmin, version: Any) -> None:
    assert score(http, entra.mint(version=version)).status_code == 200


def test_a_token_by_msal_scores_for_the_user_too(own: Stack, http: httpx.Client) -> None:
    for app in ("all", "user", "all-v1"):
        assert score(http, own.token(app)).status_code == 200, app


def test_keys_rotate_and_entra_is_away_without_one_wrong_answer(
    own: Stack, http: httpx.Client, entra: EntraAdmin
) -> None:
    token = own.token()
    statuses: list[int] = []
    stop = threading.Event()

    def callers() -> None:
        with httpx.Client(base_url=own.gateway_url, timeout=30, trust_env=False) as client:
            while not stop.is_set():
                statuses.append(score(client, token).status_code)

    caller = threading.Thread(target=callers)
    caller.start()
    try:
        entra.rotate()
        fresh = entra.mint()
        eventually(lambda: score(http, fresh).status_code == 200, within_s=60, what="the new key")
        entra.away()
        assert score(http, entra.mint()).status_code == 200
        assert score(http, entra.mint(header={"kid": "unknown"})).status_code in (401, 503)
        enough = len(statuses) + 50
        eventually(lambda: len(statuses) > enough)
    finally:
        entra.away(False)
        stop.set()
        caller.join()
    assert set(statuses) == {200}


def test_an_unknown_kid_asks_entra_once_and_then_not_for_30_seconds(http: httpx.Client, entra: EntraAdmin) -> None:
    before = entra.asked().get("keys", 0)
    codes = {score(http, entra.mint(header={"kid": f"unknown-{n}"})).json()["code"] for n in range(20)}
    assert codes == {"TokenSignatureKeyNotFound"}
    assert entra.asked().get("keys", 0) - before <= 1
