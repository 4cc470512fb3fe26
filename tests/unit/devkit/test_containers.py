"""What only the containers of compose.yaml run: the copy of a store, and the reloader of the `dev` profile."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from obstore.store import from_url

from devkit.copy_store import copy, main
from devkit.state import ROOT
from tests.support import eventually

MANIFEST = "models/m/1/manifest.json"


def a_store(folder: Path, files: dict[str, str]) -> str:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    folder.mkdir(exist_ok=True)
    return folder.as_uri()


def test_a_copied_store_has_everything_and_is_told_what_was_new(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = a_store(tmp_path / "from", {MANIFEST: "{}", "blobs/sha256/aa": "file"})
    target = a_store(tmp_path / "to", {})
    assert main([source, target]) == 0
    assert (tmp_path / "to" / MANIFEST).read_text() == "{}"
    assert (tmp_path / "to/blobs/sha256/aa").read_text() == "file"
    assert capsys.readouterr().out == "published m/1\n"


def test_what_the_other_store_has_stays_as_it_is(tmp_path: Path) -> None:
    source = a_store(tmp_path / "from", {MANIFEST: "ours", "blobs/sha256/aa": "file"})
    target = a_store(tmp_path / "to", {MANIFEST: "theirs"})
    assert copy(from_url(source), from_url(target)) == []
    assert (tmp_path / "to" / MANIFEST).read_text() == "theirs"
    assert (tmp_path / "to/blobs/sha256/aa").exists()


def test_copying_with_other_than_two_arguments_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "FROM TO" in capsys.readouterr().out


def test_a_service_starts_again_when_its_source_changes_and_ends_when_told_to(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "service.py").write_text("version = 1\n")
    log = tmp_path / "log"
    service = f"cat {source}/service.py >>{log}; exec tail -f /dev/null"
    command = [sys.executable, "-m", "devkit.reload", "--first", f"echo first >>{log}", str(source)]
    with subprocess.Popen([*command, "--", "sh", "-c", service], cwd=ROOT, stderr=subprocess.PIPE) as reloader:
        try:
            eventually(lambda: log.read_text() == "first\nversion = 1\n", what="it runs")
            (source / "service.py").write_text("version = 22\n")
            eventually(lambda: log.read_text().endswith("first\nversion = 22\n"), what="it runs anew")
            reloader.send_signal(signal.SIGTERM)
            assert reloader.wait(10) == 0
        finally:
            reloader.kill()
