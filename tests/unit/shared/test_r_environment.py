"""What R is told so that it answers the same to the last bit everywhere."""

from __future__ import annotations

from pathlib import Path

from shared.r_environment import reference_blas, same_answers


def test_without_the_reference_libraries_none_are_pinned(tmp_path: Path) -> None:
    assert reference_blas(tmp_path) is None


def test_the_reference_libraries_come_before_rs_own(tmp_path: Path) -> None:
    for name in ("blas", "lapack"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"lib{name}.so.3").touch()
    assert reference_blas(tmp_path) == f"{tmp_path}/blas:{tmp_path}/lapack:/usr/lib/R/lib"


def test_a_change_to_what_is_told_changes_nothing_for_others() -> None:
    same_answers()["TZ"] = "Asia/Tokyo"
    assert same_answers()["TZ"] == "UTC"
