"""Folders that a program fills once: whole or not at all."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from devkit import installs


def test_a_folder_is_there_once_it_is_whole(tmp_path: Path) -> None:
    with installs.whole(tmp_path / "made") as building:
        (building / "file").write_text("whole")
        assert not (tmp_path / "made").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert (tmp_path / "made" / "file").read_text() == "whole"


def test_what_fails_leaves_nothing_behind_and_says_what_was_said(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "import sys; print('out'); print('why', file=sys.stderr); sys.exit(3)"]
    with pytest.raises(installs.InstallError, match=r"(?s)failed:.*why"), installs.whole(tmp_path / "made") as building:
        installs.run(program, building)
    assert list(tmp_path.iterdir()) == []


def test_npm_is_asked_once_for_what_is_prepared_and_runs_no_scripts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "node").symlink_to(sys.executable)
    (bin_folder / "npm").write_text('#!/bin/sh\necho "$@" $(ls) >>"$ASKED"; /bin/mkdir node_modules\n')
    (bin_folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:/bin:/usr/bin")
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    folder = tmp_path / "dev" / "packages"
    for _ in range(2):
        assert installs.npm(folder, "ci", prepare=lambda building: (building / "list").touch()) == folder
    assert (folder / "node_modules").is_dir()
    assert (tmp_path / "asked").read_text() == "ci --ignore-scripts --no-audit --no-fund list\n"
