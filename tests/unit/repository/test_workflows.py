"""GitHub's workflows: pinned, bounded, with no more rights than they need. Their syntax is for actionlint, in the pipeline."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from devkit.state import ROOT

FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))


def _load(path: Path) -> dict[Any, Any]:
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def _jobs(path: Path) -> dict[str, dict[str, Any]]:
    jobs = _load(path)["jobs"]
    assert jobs
    return jobs


def _steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in _jobs(path).values() for step in job.get("steps", [])]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_action_is_pinned_to_a_commit_and_says_its_version(path: Path) -> None:
    lines = re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))
    assert lines
    for used in lines:
        assert re.fullmatch(r"\./\.github/workflows/\w+\.yml|[\w-]+/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used), used


def test_one_action_is_the_same_commit_everywhere() -> None:
    pins: dict[str, set[str]] = {}
    for path in FILES:
        for action, commit in re.findall(r"uses: ([\w/-]+)@(\S+ # \S+)", path.read_text(encoding="utf-8")):
            pins.setdefault(action, set()).add(commit)
    assert all(len(commits) == 1 for commits in pins.values()), pins


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_rights_are_to_read_unless_a_job_logs_in_to_azure(path: Path) -> None:
    workflow = _load(path)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in _jobs(path).items():
        logs_in = "uses" in job or any("azure/login" in step.get("uses", "") for step in job["steps"])
        expected = {"contents": "read", "id-token": "write"} if logs_in else None
        assert job.get("permissions") == expected, name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_runs_are_bounded_in_time_and_number(path: Path) -> None:
    assert set(_load(path)["concurrency"]) == {"group", "cancel-in-progress"}
    for name, job in _jobs(path).items():
        assert "uses" in job or job["timeout-minutes"] <= 60, name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_there_is_no_secret_and_no_expression_inside_a_script(path: Path) -> None:
    assert "secrets." not in path.read_text(encoding="utf-8")
    for step in _steps(path):
        assert "${{" not in step.get("run", ""), f"a value from outside would be run as shell: {step}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_checkout_leaves_its_token_behind(path: Path) -> None:
    for step in _steps(path):
        if "actions/checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False


def test_nothing_is_deployed_that_was_not_checked_tested_and_scanned_nor_to_production_before_staging() -> None:
    jobs = _jobs(FOLDER / "pipeline.yml")
    assert {"check", "test"} <= set(jobs["build"]["needs"])
    scans = [step for step in jobs["build"]["steps"] if "trivy-action" in step.get("uses", "")]
    assert [scan["with"]["exit-code"] for scan in scans] == ["1"]
    assert jobs["staging"]["needs"] == "build"
    assert jobs["staging"]["if"] == "github.event_name == 'push'"
    assert jobs["production"]["needs"] == "staging"
    assert [jobs[name]["with"]["environment"] for name in ("staging", "production")] == ["staging", "production"]


def test_a_deployment_scores_a_row_with_what_was_just_pushed() -> None:
    deploy = _jobs(FOLDER / "deploy.yml")["deploy"]
    names = [step.get("name", step.get("uses", "")) for step in deploy["steps"]]
    assert names[-4:] == ["Push the images", "Say how", "Deploy", "Smoke test"]
    script = (ROOT / "k8s" / "azure" / "deploy.sh").read_text()
    for option in re.findall(r" (?:--)?([a-z]+(?:-[a-z]+)+|name|group|location|subscription) (?:az|\"\$)", str(deploy)):
        assert f"--{option})" in script, option
