"""Several gateway processes under one: what ends them, and when they are not even started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devkit.state import ROOT
from tests.service.gateway_process import Start, gateways
from tests.support import eventually


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A gateway with three processes, whose stdout has all that it says; settings as keywords."""
    with gateways(tmp_path, stderr=subprocess.STDOUT) as begin:
        yield lambda **changes: begin(**{"GATEWAY_WORKERS": "3"} | changes)


def children(process: subprocess.Popen[str], least: int) -> list[int]:
    """The processes under it, once there are so many."""

    def enough() -> list[int] | None:
        found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return [int(pid) for pid in found] if len(found) >= least else None

    return eventually(enough, every_s=0.001, what=f"{least} processes")


@pytest.mark.parametrize("known", [1, 3])
def test_sigterm_while_they_start_ends_all_of_them_with_0(start: Start, known: int) -> None:
    process = start()
    found = children(process, known)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert not [pid for pid in found if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize("service", ["gateway", "scorer"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_still_imports_ends_it_with_0_and_without_a_word(service: str, number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", service],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "shared.stop_signals" in line:
            break
    # The next module that is imported comes after the handlers, and long before settings are read: they would end it with 2.
    assert process.stderr.readline()
    process.send_signal(number)
    said, rest = process.communicate(timeout=20)
    assert process.returncode == 0
    assert said == ""
    assert all(line.startswith("import time:") for line in rest.splitlines())


def test_one_that_dies_is_started_again(start: Start) -> None:
    process = start()
    killed = children(process, 3)[0]
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: killed not in children(process, 3), what="another in its place")
    process.terminate()
    assert process.wait(20) == 0


def test_a_policy_that_cannot_be_used_ends_it_with_2_before_any_is_started(start: Start, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("grants: 7\n")
    process = start(GATEWAY_POLICY_FILE=str(tmp_path / "policy.yaml"))
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 2
    assert said.count("gateway: ") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_waits_for_a_scorer_that_says_nothing_ends_it_with_0(start: Start, number: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(20)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = start(GATEWAY_WORKERS="1", GATEWAY_SCORER_URLS=url)
        connection, _ = silent.accept()
        with connection:
            began = time.monotonic()
            process.send_signal(number)
            assert process.wait(20) == 0
            assert time.monotonic() - began < 4  # not only when it has given the scorer up
