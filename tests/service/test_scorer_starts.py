"""How a pod starts where its settings lead: what is wrong is said in a line."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.service.scorer_models import DOUBLE
from tests.service.scorer_pod import ROOT, scorer


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"SCORER_GATEWAY_KEYS_FILE": "/nowhere.pem"}, "SCORER_GATEWAY_KEYS_FILE: /nowhere.pem: No such file"),
        ({"SCORER_GATEWAY_KEYS_FILE": "/dev/null"}, "SCORER_GATEWAY_KEYS_FILE: /dev/null: no Ed25519 public key"),
        ({"SCORER_RUN_DIR": "/proc/x"}, "SCORER_RUN_DIR: /proc/x: No such file"),
        ({"SCORER_STORE_URL": ""}, "SCORER_STORE_URL is required"),
        ({"SCORER_WORKERS": "many", "SCORER_TYPO": "1"}, "SCORER_TYPO is not a setting"),
    ],
)
def test_a_mistake_at_the_start_is_said_in_a_line_and_exits_2(
    tmp_path: Path, changes: dict[str, str], says: str
) -> None:
    done = started(tmp_path, **changes)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def started(folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """A scorer that is expected to end at once."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "SCORER_STORE_URL": folder.as_uri()}
    return subprocess.run(
        [sys.executable, "-m", "scorer"],
        env=environment | {"SCORER_GATEWAY_KEYS_FILE": "/k", "SCORER_PORT": "0", "SCORER_INTERNAL_PORT": "0"} | changes,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("setting", "path"), [("SCORER_CACHE_DIR", "/proc/x"), ("SCORER_TRUSTED_KEYS", "/nowhere.pem")]
)
def test_a_file_or_folder_that_cannot_be_used_is_named_with_its_setting(
    tmp_path: Path, setting: str, path: str
) -> None:
    key = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "keys.pem").write_bytes(key)
    done = started(tmp_path, **{"SCORER_GATEWAY_KEYS_FILE": str(tmp_path / "keys.pem"), setting: path})
    assert done.returncode == 2
    assert f"scorer: {setting}: {path}: No such file" in done.stderr


def test_folders_may_be_relative_to_where_it_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="sgt-", dir="/tmp") as folder:  # a short name, for the sake of sockets
        monkeypatch.chdir(folder)
        with scorer(tmp_path, DOUBLE, cache_dir="cache", environment={"SCORER_RUN_DIR": "run"}) as pod:
            pod.ready()
            assert pod.predict(DOUBLE, x=[1.0]) == [2.0]


def test_a_start_that_fails_leaves_no_run_folder(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "keys.pem").write_bytes(key)
    (tmp_path / "trusted.pem").write_text("no key")
    files = {"SCORER_GATEWAY_KEYS_FILE": "keys.pem", "SCORER_TRUSTED_KEYS": "trusted.pem"}
    with tempfile.TemporaryDirectory(prefix="sgt-", dir="/tmp") as folders:  # a short name, for the sake of sockets
        done = started(tmp_path, SCORER_RUN_DIR=folders, **{name: str(tmp_path / file) for name, file in files.items()})
        assert done.returncode == 2
        assert "SCORER_TRUSTED_KEYS: " in done.stderr
        assert list(Path(folders).iterdir()) == []
