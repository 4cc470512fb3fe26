"""A store in Azure Blob: Azurite as a real process, with account key and SAS, killed at bad moments; identities of a pod."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from client.store import Store as Publisher
from devkit import r
from scorer.shell.store import Store as Reader
from scorer.shell.store import StoreError
from shared.signature import Field, Signature, Type
from tests.service.azurite import Azurite, running
from tests.service.scorer_models import doubling
from tests.service.scorer_pod import ROOT, Model, Scorer, scorer
from tests.support import eventually


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[Azurite]:
    with running(tmp_path / "azurite") as server:
        yield server


def package(folder: Path, model: Model, **files: bytes) -> Path:
    """The model's package, with further files that no R will ever read."""
    made = folder / f"made-{model.name}-{model.version}"
    model.publish(made)
    Publisher(made.as_uri()).fetch(model.name, model.version, folder / f"package-{model.name}-{model.version}")
    package = folder / f"package-{model.name}-{model.version}"
    manifest = json.loads((package / "manifest.json").read_text())
    for name, data in files.items():
        (package / name).write_bytes(data)
        manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    (package / "manifest.json").write_text(json.dumps(manifest))
    return package


def scoregate(azure: Azurite, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command, with the account's key in the environment as a publisher has it."""
    return subprocess.run(
        [sys.executable, "-m", "client", *map(str, arguments), "--store", azure.url],
        cwd=ROOT,
        env=os.environ | azure.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def publish(azure: Azurite, folder: Path, model: Model, **files: bytes) -> None:
    done = scoregate(azure, "publish", package(folder, model, **files))
    assert done.returncode == 0, done.stderr


def state(pod: Scorer, number: str) -> str | None:
    return pod.version("double", number).get("state")


def test_published_with_a_key_served_with_a_sas_that_may_only_read_promoted_and_retracted(
    azure: Azurite, tmp_path: Path
) -> None:
    publish(azure, tmp_path, doubling("1", 1))
    with scorer(tmp_path, url=azure.url, environment=azure.read_only, retract_s=0) as pod:
        pod.ready()
        assert pod.predict(doubling("1", 1), x=[3.0]) == [3.0]
        publish(azure, tmp_path, doubling("2", 2), **{"big.bin": os.urandom(20_000_000)})
        eventually(lambda: state(pod, "2") == "ready", what="it is fetched")
        assert scoregate(azure, "promote", "double", "1").returncode == 0
        eventually(lambda: b'"promoted":{"double"' in _catalogue(pod), what="the promotion is told")
        assert scoregate(azure, "retract", "double", "2").returncode == 0
        eventually(lambda: not pod.version("double", "2"), what="it is gone")
        assert scoregate(azure, "retract", "double", "2", "--undo").returncode == 0
        eventually(lambda: state(pod, "2") == "ready", what="it is back")
        again = scoregate(azure, "promote", "double", "7")
        assert again.returncode == 1
        assert "has no double version 7; it has 1, 2" in again.stderr


def _catalogue(pod: Scorer) -> bytes:
    return pod.http.get(f"{pod.url}/internal/catalogue", headers=pod.headers).content


def test_r_publishes_into_the_store_it_names(azure: Azurite, tmp_path: Path) -> None:
    folder = package(tmp_path, doubling("1", 1))
    elsewhere = tmp_path / "elsewhere"
    done = subprocess.run(
        ["Rscript", "--vanilla", "-e", "do.call(scoregate::publish_model, as.list(commandArgs(TRUE)))", str(folder), azure.url],
        cwd=ROOT, env=os.environ | r.environment() | azure.environment | {"SCOREGATE_STORE": elsewhere.as_uri()},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not elsewhere.exists()
    again = scoregate(azure, "publish", folder)
    assert "already there, the same" in again.stdout


def test_a_sas_that_may_only_read_cannot_publish_and_says_so(azure: Azurite, tmp_path: Path) -> None:
    folder = package(tmp_path, doubling("1", 1))
    done = subprocess.run(
        [sys.executable, "-m", "client", "publish", str(folder), "--store", azure.url],
        cwd=ROOT, env=os.environ | azure.read_only, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "403" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_worker_sees_the_stores_credential(azure: Azurite, tmp_path: Path) -> None:
    nosy = Model(
        name="nosy",
        signature=Signature(
            inputs=(Field(name="x", type=Type.DOUBLE),), outputs=(Field(name="prediction", type=Type.STRING),)
        ),
        code="predict_model <- function(model, newdata) "
        'rep(paste(grep("AZURE", names(Sys.getenv()), value = TRUE), collapse = " "), nrow(newdata))',
        example={"x": [1.0]},
        answers={"prediction": [""]},
    )
    publish(azure, tmp_path, nosy)
    with scorer(tmp_path, url=azure.url, environment=azure.environment) as pod:
        pod.ready()
        assert pod.predict(nosy, x=[1.0]) == [""]


def test_a_container_that_does_not_exist_is_named(azure: Azurite, tmp_path: Path) -> None:
    with scorer(tmp_path, url="az://nowhere", environment=azure.environment) as pod:
        eventually(lambda: "ContainerNotFound" in str(pod.status()["store_error"]), what="it says so")
        [reason] = pod.http.get(f"{pod.internal_url}/readyz").json()["reasons"]
        assert "ContainerNotFound" in reason


def test_of_publishers_of_one_version_at_once_one_wins_and_what_it_published_is_whole(
    azure: Azurite, tmp_path: Path
) -> None:
    packages = [
        package(tmp_path / str(n), doubling("1", 1), **{"more.R": b"# %d" % n, "big.bin": os.urandom(9_000_000)})
        for n in range(4)
    ]
    done: list[subprocess.CompletedProcess[str]] = []
    threads = [threading.Thread(target=lambda p=p: done.append(scoregate(azure, "publish", p))) for p in packages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.returncode for one in done) == [0, 1, 1, 1], done
    assert all("a published version never changes" in one.stderr for one in done if one.returncode)
    with _environment(azure):
        fetched = Publisher(azure.url).fetch("double", "1", tmp_path / "fetched")
    assert (fetched / "manifest.json").read_bytes() in [(p / "manifest.json").read_bytes() for p in packages]


def test_a_publisher_that_is_killed_half_way_leaves_no_version_and_blocks_nobody(
    azure: Azurite, tmp_path: Path
) -> None:
    folder = package(tmp_path, doubling("1", 1), **{"big.bin": os.urandom(150_000_000)})
    command = [sys.executable, "-m", "client", "publish", str(folder), "--store", azure.url]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | azure.environment)
    blocks = azure.folder / "__blobstorage__"
    try:
        eventually(
            lambda: sum(p.stat().st_size for p in blocks.iterdir()) > 20_000_000, every_s=0.005, what="it is sending"
        )
    finally:
        process.kill()
    assert process.wait() != 0
    with _environment(azure):
        assert Publisher(azure.url).versions("double") == []
        assert Publisher(azure.url).publish(folder).created
        Publisher(azure.url).fetch("double", "1", tmp_path / "fetched")


def test_azurite_killed_before_the_start_what_is_cached_is_served_and_new_versions_come_when_it_is_back(
    azure: Azurite, tmp_path: Path
) -> None:
    publish(azure, tmp_path, doubling("1", 1))
    cache = str(tmp_path / "cache")
    with scorer(tmp_path, url=azure.url, environment=azure.environment, cache_dir=cache) as pod:
        pod.ready()
    azure.saved("double/1/manifest.json")
    azure.kill()
    with scorer(tmp_path, url=azure.url, environment=azure.environment, cache_dir=cache) as pod:
        pod.ready()
        assert pod.predict(doubling("1", 1), x=[3.0]) == [3.0]
        assert pod.status()["store_error"]
        azure.start()
        publish(azure, tmp_path, doubling("2", 2))
        eventually(lambda: state(pod, "2") == "ready", within_s=40, what="it caught up")


def test_azurite_away_at_a_first_start_is_asked_again_until_it_is_there(azure: Azurite, tmp_path: Path) -> None:
    publish(azure, tmp_path, doubling("1", 1))
    azure.saved("double/1/manifest.json")
    azure.kill()
    with scorer(tmp_path, url=azure.url, environment=azure.environment, poll_s=5) as pod:
        eventually(lambda: "error" in str(pod.status()["store_error"]), what="it says that it is away")
        assert pod.http.get(f"{pod.internal_url}/healthz").status_code == 200
        assert pod.http.get(f"{pod.internal_url}/readyz").status_code == 503
        azure.start()
        pod.ready()


def test_azurite_killed_while_a_large_file_is_fetched_nothing_half_is_served_and_it_comes_when_it_is_back(
    azure: Azurite, tmp_path: Path
) -> None:
    publish(azure, tmp_path, doubling("1", 1))
    publish(azure, tmp_path, doubling("2", 2), **{"big.bin": b"#" * 300_000_000})
    azure.saved("double/1/manifest.json", "double/2/manifest.json")
    cache = str(tmp_path / "cache")
    with scorer(tmp_path, url=azure.url, environment=azure.environment, cache_dir=cache, models="double@1") as pod:
        pod.ready()
    with scorer(tmp_path, url=azure.url, environment=azure.environment, cache_dir=cache, poll_s=0.5) as pod:
        blobs = tmp_path / "cache" / "blobs"
        eventually(
            lambda: [p for p in blobs.glob("tmp-*") if p.stat().st_size > 1_000_000],
            every_s=0.001,
            what="it is being fetched",
        )
        azure.kill()
        eventually(lambda: state(pod, "2") == "unavailable", within_s=60, what="it is reported")
        pod.ready()
        assert "the store cannot be read" in pod.version("double", "2")["reason"]
        assert len(list((tmp_path / "cache" / "packages").iterdir())) == 1
        assert list(blobs.glob("tmp-*")) == []
        assert pod.predict(doubling("1", 1), x=[3.0]) == [3.0]
        azure.start()
        eventually(lambda: state(pod, "2") == "ready", within_s=90, what="it comes when the store is back")
        assert pod.predict(doubling("2", 2), x=[3.0]) == [6.0]


@contextmanager
def _environment(azure: Azurite) -> Iterator[None]:
    """obstore's variables, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in azure.environment.items():
            patch.setenv(name, value)
        yield


# --- identities: nothing here is Azure, but what obstore asks for is what Azure is asked for


class Entra(BaseHTTPRequestHandler):
    """Gives tokens as Entra and as the instance metadata service do, and lists an empty container to who has one."""

    asked: list[tuple[str, dict[str, list[str]]]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.asked.append((self.path, parse_qs(body)))
        self._say(200, "application/json", b'{"access_token": "from-entra", "expires_in": 3600}')

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.asked.append((url.path, parse_qs(url.query) | {"authorization": [self.headers.get("Authorization", "")]}))
        if "metadata" in self.headers:
            form = {"access_token": "from-imds", "expires_in": "3600", "expires_on": "32503680000"}
            form |= {"not_before": "0", "resource": "https://storage.azure.com", "token_type": "Bearer"}
            self._say(200, "application/json", json.dumps(form).encode())
        else:
            self._say(200, "application/xml", b"<EnumerationResults><Blobs/><NextMarker/></EnumerationResults>")

    def _say(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[tuple[str, dict[str, list[str]]]]]]:
    """Its address, and what it was asked."""
    handler = type("Handler", (Entra,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", url)
    monkeypatch.setenv("AZURE_ALLOW_HTTP", "true")
    yield url, handler.asked  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_workload_identity_trades_the_clusters_token_for_the_stores(
    cloud: tuple[str, list[tuple[str, dict[str, list[str]]]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = cloud
    (tmp_path / "token").write_text("of the cluster")
    # What AKS' webhook puts into a pod whose service account is annotated.
    monkeypatch.setenv("AZURE_CLIENT_ID", "client")
    monkeypatch.setenv("AZURE_TENANT_ID", "tenant")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", url)
    assert (await Reader("az://models/scoregate", tmp_path / "cache").look()).found == []
    (token, form), (listed, query) = asked
    assert token == "/tenant/oauth2/v2.0/token"
    assert form["client_assertion"] == ["of the cluster"]
    assert form["client_id"] == ["client"]
    assert listed == "/models"
    assert query["authorization"] == ["Bearer from-entra"]


async def test_a_managed_identity_asks_the_machines_metadata_service(
    cloud: tuple[str, list[tuple[str, dict[str, list[str]]]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = cloud
    monkeypatch.setenv("AZURE_CLIENT_ID", "client")
    monkeypatch.setenv("AZURE_MSI_ENDPOINT", f"{url}/metadata/identity/oauth2/token")
    assert (await Reader("az://models/scoregate", tmp_path / "cache").look()).found == []
    (token, form), (listed, query) = asked
    assert token == "/metadata/identity/oauth2/token"
    assert form["client_id"] == ["client"]
    assert (listed, query["authorization"]) == ("/models", ["Bearer from-imds"])


async def test_a_store_without_an_account_says_which_setting_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(StoreError, match="Account must be specified"):
        await Reader("az://models", tmp_path / "cache").look()
