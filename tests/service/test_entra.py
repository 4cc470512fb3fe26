"""The stand-in for Entra ID as MSAL sees it: real MSAL, by its public options, over real HTTPS."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msal
import pytest

from devkit.entra import directory, state
from devkit.entra.admin import EntraAdmin
from devkit.entra.running import running
from devkit.entra.signing import MAX_PUBLISHED, SigningKeys
from devkit.entra.tokens import NoTokenError, get_token

SCOPES = [f"{directory.APP_ID_URI}/.default"]
USER_SCOPES = [f"{directory.APP_ID_URI}/{directory.SCOPE}"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("entra")


@pytest.fixture(scope="module")
def entra(folder: Path) -> Iterator[EntraAdmin]:
    with running(folder, "--approve", "page") as admin:
        yield admin


@pytest.fixture(autouse=True)
def no_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    """`requests` lets these win over MSAL's `verify`."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def confidential(entra: EntraAdmin, app: str, **changes: Any) -> msal.ConfidentialClientApplication:
    own = {
        "client_credential": entra.state.apps[app].secret,
        "authority": f"{entra.state.authority}/{directory.TENANT}",
        "instance_discovery": False,
        "verify": entra.state.ca_file,
    }
    return msal.ConfidentialClientApplication(entra.state.apps[app].client_id, **(own | changes))


def public(entra: EntraAdmin) -> msal.PublicClientApplication:
    return msal.PublicClientApplication(
        entra.state.apps["user"].client_id,
        authority=f"{entra.state.authority}/{directory.TENANT}",
        instance_discovery=False,
        verify=entra.state.ca_file,
    )


def claims(token: str) -> dict[str, Any]:
    body = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))


@pytest.mark.parametrize("app", [name for name, app in directory.APPS.items() if not app.public])
def test_msal_gets_an_apps_token_by_its_public_options(entra: EntraAdmin, app: str) -> None:
    answer = confidential(entra, app).acquire_token_for_client(SCOPES)
    got = claims(answer["access_token"])
    known = directory.APPS[app]
    assert answer["expires_in"] == 3600
    assert got["tid"] == directory.TENANT
    assert got["oid"] == got["sub"] == known.object_id
    assert got.get("roles", []) == list(known.roles)
    if known.version == 1:
        assert (got["ver"], got["aud"], got["appid"]) == ("1.0", directory.APP_ID_URI, known.client_id)
        assert got["iss"] == f"https://sts.windows.net/{directory.TENANT}/"
    else:
        assert (got["ver"], got["aud"], got["azp"]) == ("2.0", directory.API_CLIENT_ID, known.client_id)
        assert got["iss"] == f"{entra.state.authority}/{directory.TENANT}/v2.0"


def test_msal_gets_it_by_oidc_authority_too(entra: EntraAdmin) -> None:
    client = confidential(
        entra, "all", authority=None, oidc_authority=f"{entra.state.authority}/{directory.TENANT}/v2.0"
    )
    assert "access_token" in client.acquire_token_for_client(SCOPES)


def test_msal_caches_a_token(entra: EntraAdmin) -> None:
    client = confidential(entra, "all")
    first = client.acquire_token_for_client(SCOPES)
    before = entra.asked()["token"]
    again = client.acquire_token_for_client(SCOPES)
    assert again["access_token"] == first["access_token"]
    assert entra.asked()["token"] == before


@pytest.mark.parametrize(
    ("changes", "scopes", "error"),
    [
        ({"client_credential": "wrong"}, SCOPES, "invalid_client"),
        ({}, ["api://another/.default"], "invalid_scope"),
        ({}, ["https://graph.microsoft.com/.default"], "invalid_scope"),
    ],
)
def test_msal_is_told_what_is_wrong(entra: EntraAdmin, changes: dict[str, Any], scopes: list[str], error: str) -> None:
    answer = confidential(entra, "all", **changes).acquire_token_for_client(scopes)
    assert answer["error"] == error
    assert "AADSTS" in answer["error_description"]


def test_a_user_signs_in_by_device_code_once_the_page_approves_and_stays_signed_in(entra: EntraAdmin) -> None:
    client = public(entra)
    flow = client.initiate_device_flow(USER_SCOPES)
    assert flow["user_code"] in flow["message"]
    pending = client.acquire_token_by_device_flow(flow, exit_condition=lambda _: True)
    assert pending["error"] == "authorization_pending"
    with httpx.Client(verify=_trust(entra), trust_env=False) as browser:
        page = flow["verification_uri"]
        assert "no such code" in browser.post(page, data={"user_code": "WRONG"}).text
        assert "Signed in" in browser.post(page, data={"user_code": flow["user_code"].lower()}).text
    answer = client.acquire_token_by_device_flow(flow)
    got = claims(answer["access_token"])
    assert (got["oid"], got["scp"]) == (directory.USER.object_id, directory.SCOPE)
    assert got["sub"] != got["oid"]
    assert answer["id_token_claims"]["aud"] == entra.state.apps["user"].client_id
    (account,) = client.get_accounts()
    assert account["home_account_id"] == f"{directory.USER.object_id}.{directory.TENANT}"
    renewed = client.acquire_token_silent(USER_SCOPES, account, force_refresh=True)
    assert renewed["access_token"] != answer["access_token"]
    assert client.acquire_token_by_device_flow(flow)["error"] == "invalid_grant"  # a code is good once


def test_an_app_with_a_secret_cannot_sign_users_in(entra: EntraAdmin) -> None:
    with httpx.Client(verify=_trust(entra), trust_env=False) as client:
        address = f"{entra.state.authority}/{directory.TENANT}/oauth2/v2.0/devicecode"
        answer = client.post(address, data={"client_id": entra.state.apps["all"].client_id})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")


@pytest.mark.parametrize("path", ["v2.0/.well-known/openid-configuration", ".well-known/openid-configuration"])
def test_both_discovery_documents_lead_to_the_published_keys(entra: EntraAdmin, path: str) -> None:
    with httpx.Client(verify=_trust(entra), trust_env=False) as client:
        document = client.get(f"{entra.state.authority}/{directory.TENANT}/{path}").json()
        assert ("sts.windows.net" in document["issuer"]) is not path.startswith("v2.0")
        keys = client.get(document["jwks_uri"]).json()["keys"]
        assert {key["kty"] for key in keys} == {"RSA"}
        assert not any("d" in key for key in keys)


def test_the_administrators_routes_need_the_secret(entra: EntraAdmin) -> None:
    with httpx.Client(verify=_trust(entra), trust_env=False) as client:
        for secret in ("x", "wrong"):
            answer = client.post(
                f"{entra.state.url}/admin/mint", json={}, headers={"Authorization": f"Bearer {secret}"}
            )
            assert answer.status_code == 401


def test_away_is_503_to_everyone_and_back_is_back(entra: EntraAdmin) -> None:
    entra.away()
    try:
        with pytest.raises(Exception, match="503"):
            confidential(entra, "all")
    finally:
        entra.away(False)
    assert "access_token" in confidential(entra, "all").acquire_token_for_client(SCOPES)


def test_only_its_owner_can_read_what_is_secret(entra: EntraAdmin, folder: Path) -> None:
    open_to_others = {file.name for file in folder.iterdir() if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)}
    assert open_to_others == {"ca.pem", "entra.pem"}


def test_after_a_restart_it_is_the_same_one(tmp_path: Path) -> None:
    with running(tmp_path) as first:
        before, port = first.state, first.state.url.rpartition(":")[2]
        keys, authority = SigningKeys(tmp_path).kids, Path(before.ca_file).read_bytes()
    with running(tmp_path, "--port", port) as second:
        assert second.state == before
        assert SigningKeys(tmp_path).kids == keys
        assert Path(before.ca_file).read_bytes() == authority
        assert get_token(tmp_path)


def test_dev_tokens_are_got_for_every_app_whatever_the_environment_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", os.devnull)
    said: list[str] = []
    with running(tmp_path):
        for name in directory.APPS:
            assert claims(get_token(tmp_path, name, say=said.append))["ver"] in ("1.0", "2.0")
        with pytest.raises(NoTokenError, match="there are all, one-model"):
            get_token(tmp_path, "unknown")
    assert len(said) == 1


class TestSigningKeys:
    def test_a_new_key_signs_and_the_old_ones_stay_published_for_a_while(self, tmp_path: Path) -> None:
        keys = SigningKeys(tmp_path)
        first = keys.kids[0]
        for _ in range(MAX_PUBLISHED - 1):
            assert keys.rotate() == keys.current.thumbprint()
            assert first in keys.kids
        keys.rotate()
        assert first not in keys.kids
        assert len(keys.kids) == MAX_PUBLISHED

    def test_a_key_can_be_published_before_it_signs(self, tmp_path: Path) -> None:
        keys = SigningKeys(tmp_path)
        signing = keys.current.thumbprint()
        for _ in range(MAX_PUBLISHED + 1):
            assert keys.rotate(sign=False) in keys.kids
            assert keys.current.thumbprint() == signing
            assert signing in keys.kids

    def test_keys_can_be_withdrawn(self, tmp_path: Path) -> None:
        keys = SigningKeys(tmp_path)
        assert keys.rotate(withdraw=True) == keys.current.thumbprint()
        assert keys.kids == [keys.current.thumbprint()]
        assert SigningKeys(tmp_path).kids == keys.kids


def _trust(entra: EntraAdmin) -> Any:
    return ssl.create_default_context(cafile=entra.state.ca_file)


def test_its_certificate_names_the_hosts_it_is_told(tmp_path: Path) -> None:
    with running(tmp_path, "--name", "localhost", "--name", "entra.test") as entra:
        port = int(entra.state.url.rpartition(":")[2])
        for name in ("localhost", "127.0.0.1", "entra.test"):
            assert _greet(entra, port, name) == "TLSv1.3"
        with pytest.raises(ssl.SSLCertVerificationError):
            _greet(entra, port, "other.test")


def _greet(entra: EntraAdmin, port: int, name: str) -> str | None:
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        _trust(entra).wrap_socket(plain, server_hostname=name) as secured,
    ):
        return str(secured.version())


def test_secrets_are_made_once(tmp_path: Path) -> None:
    first = state.write(tmp_path, "https://localhost:1", tmp_path / "ca.pem")
    second = state.write(tmp_path, "https://localhost:2", tmp_path / "ca.pem")
    assert first.apps == second.apps
    assert first.admin_secret == second.admin_secret
    assert len({credential.secret for credential in first.apps.values()}) == len(first.apps)
