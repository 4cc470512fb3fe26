"""`./dev load` against a real stack: every answer checked, thresholds that fail the run, a report with charts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.stack import ROOT, Stack


@pytest.fixture(scope="module")
def unlimited() -> Iterator[Stack]:
    """A stack whose limit of calls is not what is measured."""
    running = Stack.up("--rate", "1000000/minute")
    yield running
    running.close()


def load(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "devkit", "load", *arguments, "--name", stack.name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_several_callers_and_models_in_steps_give_a_report_with_charts(unlimited: Stack, tmp_path: Path) -> None:
    report = tmp_path / "step.html"
    done = load(
        unlimited,
        *("step", "-u", "5", "-t", "5", "--callers", "all,all-v1", "--model", "boston-housing,credit-default"),
        *("--report", str(report)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(report) in done.stdout
    page = report.read_text()
    assert "/v1/models/boston-housing/score" in page
    assert "/v1/models/credit-default/score" in page
    assert page.count('"user_count"') >= 4  # what the charts are drawn from: a point each second
    assert done.stdout.splitlines()[-1].startswith("passed")


def test_a_broken_threshold_fails_the_run_and_is_said(unlimited: Stack, tmp_path: Path) -> None:
    report = str(tmp_path / "r.html")
    done = load(unlimited, "steady", "-u", "2", "-t", "2", "--max-p95-ms", "0.001", "--report", report)
    assert done.returncode == 1
    assert "the 95th percentile is" in done.stderr
    assert done.stdout.splitlines()[-1].startswith("FAILED")


def test_of_several_callers_the_one_that_is_refused_is_named(unlimited: Stack, tmp_path: Path) -> None:
    done = load(unlimited, "steady", "-t", "2", "--callers", "all,no-role", "--report", str(tmp_path / "r.html"))
    assert done.returncode == 2
    assert "load test: caller no-role: 403 forbidden" in done.stderr


def test_a_model_that_is_not_there_is_said_before_anything_is_sent(unlimited: Stack, tmp_path: Path) -> None:
    done = load(unlimited, "steady", "-t", "2", "--model", "nothing", "--report", str(tmp_path / "r.html"))
    assert done.returncode == 2
    assert "load test: " in done.stderr
