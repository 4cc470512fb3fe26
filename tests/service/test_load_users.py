"""Load tests' users against a fake gateway: whatever keeps them from measuring fails the run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.fake_gateway import TOKEN, FakeGateway, running

ROOT = Path(__file__).parents[2]
BROKEN = """
from locust import User, constant, task

class Broken(User):
    wait_time = constant(60)

    @task
    def ask(self):
        raise RuntimeError("no token from the tenant")
"""


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    fake = FakeGateway()
    answer = {"predictions": [3.0]}
    fake.more["adder"] = {"example": {"request": {"rows": [{"a": 1, "b": 2}]}, "response": answer}}
    with running(fake):
        yield fake


def load(gateway: FakeGateway, *more: str, files: str = "load_tests/locustfile.py") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "locust", "-f", files, "--headless", "--only-summary"),
            *("-u", "2", "-r", "2", "-t", "2", "--model", "adder", "--max-failures", "50", *more),
        ],
        cwd=ROOT,
        env={**os.environ, "SCOREGATE_URL": gateway.url, "SCOREGATE_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_page_that_is_no_answer_is_a_failure_and_a_date_to_wait_for_is_a_second(gateway: FakeGateway) -> None:
    gateway.refuse(only="score", status=200, body=b"<html>one moment, please</html>")
    gateway.refuse(only="score", body=b"", headers={"retry-after": "Sat, 28 Nov 2026 05:00:00 GMT"})
    done = load(gateway)
    assert done.returncode == 0, done.stderr
    assert "another answer than the example's" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_what_users_raise_fails_the_run(gateway: FakeGateway, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    done = load(gateway, files=f"load_tests/locustfile.py,{tmp_path}/broken.py")
    assert done.returncode == 1, done.stderr
    assert "load test: users could not go on: no token from the tenant (" in done.stderr


def test_of_a_run_of_several_processes_the_whole_is_judged(gateway: FakeGateway) -> None:
    done = load(gateway, "--processes", "2")
    assert done.returncode == 0, done.stderr
    assert "load test: " not in done.stderr


def test_users_of_a_rate_start_spread_over_one_interval_and_an_address_may_end_with_a_slash(
    gateway: FakeGateway,
) -> None:
    done = load(gateway, "-u", "40", "-r", "40", "--user-rate", "0.2", "--host", f"{gateway.url}/")
    assert done.returncode == 0, done.stderr
    assert 0 < sum(path.startswith("POST") for path in gateway.paths) < 40
