"""`./dev` as a newcomer uses it: up, the request that it prints, Ctrl-C, two at once; and what a killed supervisor leaves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from devkit.state import Home
from devkit.status import family
from tests.stack.stack import ROOT, Stack, devkit
from tests.support import eventually


@pytest.fixture
def in_foreground() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    started: list[tuple[str, subprocess.Popen[str]]] = []

    def up(name: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-um", "devkit", "up", "--name", name, "--port", "0"]
        process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started.append((name, process))
        return process

    yield up
    for name, process in started:
        devkit("down", "--name", name, "--remove")
        process.communicate(timeout=30)


def _until(process: subprocess.Popen[str], wanted: str) -> str:
    assert process.stdout is not None
    said = ""
    while wanted not in said:
        line = process.stdout.readline()
        assert line, f"ended before it said {wanted!r}:\n{said}"
        said += line
    return said


def _everything(stack: Stack) -> set[int]:
    processes = stack.status()["processes"]
    assert all(processes[role] for role in ("supervisor", "gateway", "scorer", "redis", "entra", "zygotes", "workers"))
    return {pid for pids in processes.values() for pid in pids}


def _none_alive(pids: set[int]) -> bool:
    return not any(pid in family(pid) for pid in pids)


def test_up_prints_a_request_that_works_when_pasted_elsewhere_and_ctrl_c_stops_everything(
    in_foreground: Callable[[str], subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = in_foreground("t-paste")
    said = _until(process, "Ctrl-C")
    pasted = re.search(r"^curl .*?[^\\]\n", said, re.DOTALL | re.MULTILINE)
    assert pasted, said
    answer = subprocess.run(pasted[0], shell=True, cwd=tmp_path, capture_output=True, text=True, check=True)  # noqa: S602
    assert re.search(r'"predictions":\[\d+\.\d+\]', answer.stdout), answer.stdout
    pids = _everything(Stack("t-paste"))
    process.send_signal(signal.SIGINT)
    _until(process, "stopped")
    assert process.wait(30) == 0
    eventually(lambda: _none_alive(pids), what="every process is gone")


def test_two_stacks_run_side_by_side_and_each_trusts_its_own_tokens_only(
    stack: Stack, new_stack: Callable[..., Stack]
) -> None:
    other = new_stack("--gateway-workers", "2", "--scorer-workers", "1")
    assert len(other.status()["gateway_internal_urls"]) == 2
    for url, token, status in (
        (stack.gateway_url, stack.token(), 200),
        (other.gateway_url, other.token(), 200),
        (other.gateway_url, stack.token(), 401),
    ):
        answer = httpx.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {token}"}, trust_env=False)
        assert answer.status_code == status


def test_up_of_a_running_name_says_so(stack: Stack) -> None:
    argv = [sys.executable, "-m", "devkit", "up", "--detach", "--name", stack.name, "--port", "0"]
    again = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 1
    assert f"{stack.name} is running already: {stack.gateway_url}" in again.stderr


def test_a_port_that_is_taken_is_reported_before_anything_is_started(stack: Stack) -> None:
    port = stack.gateway_url.rpartition(":")[2]
    argv = [sys.executable, "-m", "devkit", "up", "--detach", "--name", "t-taken", "--port", port]
    refused = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert f"port {port} cannot be had" in refused.stderr
    assert not Home("t-taken").folder.exists()


def test_a_gateway_process_that_was_replaced_is_found_at_its_new_address(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack("--gateway-workers", "2")
    before = set(stack.status()["gateway_internal_urls"])
    os.kill(stack.status()["processes"]["gateway"][-1], signal.SIGKILL)

    def replaced() -> bool:
        status = stack.status()
        now = set(status["gateway_internal_urls"])
        return bool(status["ready"]) and len(now) == 2 and len(before & now) == 1

    eventually(replaced, within_s=30, what="a new internal address")


def test_nothing_outlives_a_supervisor_that_is_killed_not_even_r(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack("--gateway-workers", "2")
    pids = _everything(stack)
    os.kill(stack.status()["processes"]["supervisor"][0], signal.SIGKILL)
    eventually(lambda: _none_alive(pids), within_s=30, what="every process is gone")
    assert not Home(stack.name).is_running()
