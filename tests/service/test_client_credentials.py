"""Tokens through MSAL from the stand-in for Entra ID: real MSAL, real TLS with a private CA, a process of its own."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client import ClientCertificate, ClientSecret, CredentialError, DeviceCode, StaticToken
from devkit.entra.admin import EntraAdmin
from devkit.entra.directory import TENANT
from devkit.entra.state import State, read

SCOPE = "api://scoregate/.default"


@pytest.fixture(scope="module")
def entra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    folder = tmp_path_factory.mktemp("entra")
    command = [sys.executable, "-m", "devkit.entra", "--port", "0", "--state", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "listening" in process.stdout.readline()
        try:
            yield read(folder)
        finally:
            process.terminate()


@pytest.fixture
def admin(entra: State) -> Iterator[EntraAdmin]:
    with EntraAdmin(Path(entra.ca_file).parent) as administrator:
        yield administrator
        administrator.away(away=False)


def options(entra: State, **more: Any) -> dict[str, Any]:
    return {"authority": entra.authority, "verify": entra.ca_file, **more}


def secret(entra: State, app: str = "all", **more: Any) -> ClientSecret:
    known = entra.apps[app]
    return ClientSecret(TENANT, known.client_id, known.secret or "", SCOPE, **options(entra, **more))


def claims(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


def test_an_app_gets_its_token_once_and_msal_keeps_it(entra: State, admin: EntraAdmin) -> None:
    before = admin.asked().get("token", 0)
    credential = secret(entra)
    token = credential.token()
    assert claims(token)["roles"] == ["Models.Score.All"]
    assert credential.token() == token
    assert admin.asked()["token"] == before + 1


def test_a_ca_file_is_heard_whatever_the_environment_says(entra: State, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(variable, "/etc/ssl/certs/ca-certificates.crt")
    assert claims(secret(entra).token())["tid"] == TENANT
    with pytest.raises(CredentialError, match=r"no token from https://localhost"):
        secret(entra, verify=True).token()


def test_oidc_authority_is_the_other_public_way(entra: State) -> None:
    known = entra.apps["all"]
    issuer = f"{entra.authority}/{TENANT}/v2.0"
    credential = ClientSecret(
        TENANT, known.client_id, known.secret or "", SCOPE, oidc_authority=issuer, verify=entra.ca_file
    )
    assert claims(credential.token())["azp"] == known.client_id


def test_a_token_called_expired_is_replaced_once_for_all_threads(entra: State, admin: EntraAdmin) -> None:
    credential = secret(entra)
    stale = credential.token()
    before = admin.asked()["token"]
    renewed: list[str | None] = []
    threads = [threading.Thread(target=lambda: renewed.append(credential.renew(stale))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(renewed)) == 1
    assert renewed[0] not in {None, stale}
    assert admin.asked()["token"] == before + 1
    assert credential.token() == renewed[0]


def test_a_wrong_secret_says_so_and_never_shows_it(entra: State) -> None:
    known = entra.apps["all"]
    credential = ClientSecret(TENANT, known.client_id, "hunter2-hunter2", SCOPE, **options(entra))
    with pytest.raises(CredentialError, match="invalid_client") as caught:
        credential.token()
    assert "hunter2" not in repr(credential) + str(caught.value) + repr(caught.value)
    assert known.client_id in repr(credential)


def test_an_identity_outage_is_an_error_of_this_call_alone(entra: State, admin: EntraAdmin) -> None:
    credential = secret(entra)
    admin.away()
    with pytest.raises(CredentialError, match="no token from https://localhost"):
        credential.token()
    admin.away(away=False)
    assert claims(credential.token())["tid"] == TENANT


def test_nobody_at_the_authority_is_a_credential_error(entra: State) -> None:
    credential = ClientSecret(TENANT, "x", "y", SCOPE, authority="https://localhost:1", timeout_s=2)
    with pytest.raises(CredentialError, match=f"no token from https://localhost:1/{TENANT}"):
        credential.token()


def test_a_person_signs_in_once_and_the_next_process_asks_nobody(entra: State, tmp_path: Path) -> None:
    cache = tmp_path / "new" / "tokens.json"
    told: list[str] = []
    who = (TENANT, entra.apps["user"].client_id, "api://scoregate/Models.Score")
    first = DeviceCode(*who, cache_file=cache, prompt=told.append, **options(entra))
    token = first.token()
    assert claims(token)["scp"] == "Models.Score"
    assert len(told) == 1
    assert "/devicelogin" in told[0]
    assert stat.S_IMODE(cache.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.parent.stat().st_mode) == 0o700
    second = DeviceCode(*who, cache_file=cache, interactive=False, **options(entra))
    assert second.token() == token
    renewed = second.renew(token)
    assert renewed not in {None, token}
    assert DeviceCode(*who, cache_file=cache, interactive=False, **options(entra)).token() == renewed
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]


def test_a_damaged_cache_is_as_good_as_none(entra: State, tmp_path: Path) -> None:
    cache = tmp_path / "tokens.json"
    cache.write_text("{half")
    who = (TENANT, entra.apps["user"].client_id, "api://scoregate/Models.Score")
    with pytest.raises(CredentialError, match="nobody is logged in"):
        DeviceCode(*who, cache_file=cache, interactive=False, **options(entra)).token()
    assert DeviceCode(*who, cache_file=cache, prompt=lambda _: None, **options(entra)).token()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
@pytest.mark.parametrize("form", ["pem", "pfx"])
def test_a_certificate_signs_the_assertion_that_msal_sends(entra: State, tmp_path: Path, form: str) -> None:
    key, certificate, both = tmp_path / "key.pem", tmp_path / "cert.pem", tmp_path / f"both.{form}"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=app", "-days", "2"]
    openssl(*made, "-keyout", str(key), "-out", str(certificate))
    if form == "pem":
        both.write_text(key.read_text() + certificate.read_text())
    else:
        out = ["-out", str(both), "-passout", "pass:hunter2"]
        openssl("pkcs12", "-export", "-inkey", str(key), "-in", str(certificate), *out)
    passphrase = "hunter2" if form == "pfx" else None
    client_id = entra.apps["all"].client_id
    credential = ClientCertificate(TENANT, client_id, both, SCOPE, passphrase=passphrase, **options(entra))
    # The stand-in takes secrets only: that it says so shows that MSAL read the certificate, signed and sent.
    with pytest.raises(CredentialError, match="no token: "):
        credential.token()
    assert "hunter2" not in repr(credential)


def test_a_pem_without_a_certificate_says_what_is_missing(entra: State, tmp_path: Path) -> None:
    both = tmp_path / "app.pem"
    both.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(CredentialError, match="needs a private key and a certificate"):
        ClientCertificate(TENANT, "x", both, SCOPE, **options(entra)).token()
    with pytest.raises(CredentialError, match="No such file"):
        ClientCertificate(TENANT, "x", tmp_path / "none.pem", SCOPE, **options(entra)).token()


def test_an_authority_is_an_https_url_and_given_once() -> None:
    with pytest.raises(ValueError, match="must be an https URL"):
        ClientSecret("t", "c", "s", SCOPE, authority="http://localhost")
    with pytest.raises(ValueError, match="not both"):
        ClientSecret("t", "c", "s", SCOPE, authority="https://a", oidc_authority="https://a/t")
    assert ClientSecret("t", "c", "s", SCOPE).authority == "https://login.microsoftonline.com/t"
    assert ClientSecret("t", "c", "s", SCOPE, authority="https://a/x/{tenant}").authority == "https://a/x/t"
    assert ClientSecret("t", "c", "s", SCOPE, authority="https://a/b").authority == "https://a/b"


def test_a_static_token_shows_nowhere() -> None:
    credential = StaticToken("hunter2")
    assert "hunter2" not in repr(credential) + str(credential)
    assert credential.token() == "hunter2"
    assert credential.renew("hunter2") is None


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, env={**os.environ, "RANDFILE": os.devnull})
