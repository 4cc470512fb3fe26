"""Several gateway processes under one: what ends them, and when they are not even started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from joserfc.jwk import OKPKey

from devkit.policy import FILE
from devkit.state import ROOT
from tests.support import eventually

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`python -m gateway` with three processes, whose neighbours are all away; settings as keywords."""
    key = tmp_path / "key.pem"
    key.write_bytes(OKPKey.generate_key("Ed25519", private=True).as_pem(private=True))
    settings = {
        "GATEWAY_WORKERS": "3",
        "GATEWAY_PORT": "0",
        "GATEWAY_INTERNAL_PORT": "0",
        "GATEWAY_SCORER_URLS": "http://127.0.0.1:9",
        "GATEWAY_INTERNAL_KEY_FILE": str(key),
        "GATEWAY_POLICY_FILE": str(FILE),
        "GATEWAY_TENANTS": "11111111-1111-4111-8111-111111111111",
        "GATEWAY_AUDIENCES": "api://scoregate",
        "GATEWAY_AUTHORITY": "https://127.0.0.1:9",
    }
    started = []

    def start(**changes: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway"],
            cwd=ROOT,
            env=os.environ | settings | changes,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


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
