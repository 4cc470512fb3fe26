"""What `./dev` says of a machine that lacks something, with programs on the PATH that only pretend."""

from __future__ import annotations

from pathlib import Path

import pytest

from devkit import system


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(system, "DEV", tmp_path / "dev")
    return tmp_path


def _program(path: Path, name: str, does: str) -> None:
    (path / name).write_text(f"#!/bin/sh\n{does}\n")
    (path / name).chmod(0o755)


def test_without_r_and_without_apt_every_missing_thing_is_named_with_its_command(path: Path) -> None:
    with pytest.raises(system.MissingError) as error:
        system.install_missing()
    assert "R is missing: sudo apt-get install r-base-core" in error.value.lines
    assert error.value.lines[-1].startswith("all of it: sudo apt-get install r-base-core r-cran-plumber ")


def test_a_missing_r_package_is_named_by_its_own_name_and_debians(path: Path) -> None:
    _program(path, "Rscript", "echo ranger; echo MASS")
    _program(path, "redis-server", "")
    with pytest.raises(system.MissingError) as error:
        system.install_missing()
    assert error.value.lines[:2] == [
        "the R package ranger is missing: sudo apt-get install r-cran-ranger",
        "the R package MASS is missing: sudo apt-get install r-cran-mass",
    ]


def test_the_packages_of_the_model_classes_are_asked_for_by_tests_alone(path: Path) -> None:
    _program(path, "Rscript", 'for name; do [ "$name" = gbm ] && echo gbm; done; true')
    _program(path, "redis-server", "")
    system.install_missing()
    with pytest.raises(system.MissingError) as error:
        system.install_missing(for_tests=True)
    assert "the R package gbm is missing: sudo apt-get install r-cran-gbm" in error.value.lines


def test_without_redis_it_goes_on_and_says_so(path: Path) -> None:
    _program(path, "Rscript", "")
    assert "Redis is missing (sudo apt-get install redis-server)" in system.install_missing()


def test_packages_of_the_distribution_are_enough_and_nothing_else_is_asked(path: Path) -> None:
    _program(path, "dpkg-query", "for name in $(/usr/bin/seq 3); do echo installed; done")
    _program(path, "Rscript", "echo ranger")
    assert system.install_missing() == []


def test_what_is_missing_is_installed_where_root_is_at_hand(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    _program(path, "Rscript", f"/usr/bin/test -e {path}/installed || echo ranger")
    _program(path, "redis-server", "")
    _program(path, "apt-get", "")
    _program(path, "sudo", f'[ "$1" = -n ] || {{ echo much; echo "$@" >{path}/installed; }}')
    system.install_missing()
    assert (path / "installed").read_text().rstrip().endswith("sh r-cran-ranger")
    assert (path / "dev" / "apt.log").read_text() == "much\n"


def test_when_apt_fails_its_last_words_are_shown(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    _program(path, "apt-get", "")
    _program(path, "sudo", '[ "$1" = -n ] || { echo "no space left"; exit 100; }')
    with pytest.raises(system.MissingError):
        system.install_missing()
    assert "no space left" in capsys.readouterr().err
