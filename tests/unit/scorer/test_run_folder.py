"""What a killed scorer leaves in its run folder goes when the next one starts; a living one's is let alone."""

from __future__ import annotations

import os
from pathlib import Path

from scorer.shell.run_folder import RunFolder


def aged(folder: Path) -> None:
    """As if it had been made an hour ago."""
    an_hour_ago = folder.stat().st_mtime - 3600
    os.utime(folder, (an_hour_ago, an_hour_ago))


def test_a_folder_is_private_and_goes_with_all_there_is_in_it(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "run"))
    assert folder.path.stat().st_mode & 0o777 == 0o700
    (folder.path / "z1").mkdir()
    folder.remove()
    folder.remove()
    assert list((tmp_path / "run").iterdir()) == []


def test_the_next_start_removes_what_a_killed_scorer_left_and_nothing_else(tmp_path: Path) -> None:
    living = RunFolder(str(tmp_path))
    killed = tmp_path / "sg-killed"
    (killed / "cache").mkdir(parents=True)
    being_made = tmp_path / "sg-new"
    being_made.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "sg-link").symlink_to(elsewhere)
    for folder in (living.path, killed, elsewhere):
        aged(folder)
    started = RunFolder(str(tmp_path))
    assert sorted(tmp_path.iterdir()) == sorted(
        [living.path, being_made, elsewhere, tmp_path / "sg-link", started.path]
    )
    living.remove()
    started.remove()
