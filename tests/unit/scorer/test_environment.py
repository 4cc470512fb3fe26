"""What R and this pod are given: cores, libraries, variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from scorer.shell.environment import allowed_cores, is_reference_blas, r_environment


def test_cores_come_from_the_cgroup(tmp_path: Path) -> None:
    everything = allowed_cores(tmp_path)
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert allowed_cores(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert allowed_cores(tmp_path) == everything
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("100000")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    assert allowed_cores(tmp_path) == 1


def test_the_reference_blas_is_told_from_others() -> None:
    assert is_reference_blas("/usr/lib/x86_64-linux-gnu/blas/libblas.so.3.11.0")
    assert is_reference_blas("/usr/local/lib/R/lib/libRblas.so")
    assert not is_reference_blas("/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblasp-r0.3.21.so")
    assert not is_reference_blas("")


def test_r_sees_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "secret")
    environment = r_environment("/lib/r", tmp_path)
    assert "secret" not in environment.values()
    assert environment["TZ"] == "UTC"
    assert environment["OMP_THREAD_LIMIT"] == "1"
    assert environment["R_LIBS"] == "/lib/r"
