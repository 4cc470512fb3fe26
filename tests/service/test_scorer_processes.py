"""What the supervisor reads off a process from outside: that it is stopped, or inside the handler of a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from scorer.shell.processes import Plight, plight_of
from tests.service.scorer_models import DOUBLE, SLOW
from tests.service.scorer_pod import scorer
from tests.support import eventually

#: Answers a crash with a handler that never ends, as R's own may on damaged memory. ctypes: a Python handler would run later.
HANGS_IN_ITS_HANDLER = """
import ctypes, os, signal, sys
libc = ctypes.CDLL(None)
pause = ctypes.cast(libc.pause, ctypes.c_void_p)
libc.signal(int(sys.argv[1]), pause)
print("ready", flush=True)
os.kill(os.getpid(), int(sys.argv[1]))
signal.pause()
"""


@contextmanager
def process(code: str, *arguments: str) -> Iterator[int]:
    """A running Python that has said it is ready."""
    with subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == b"ready\n"
            yield running.pid
        finally:
            running.kill()


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGILL])
def test_a_process_inside_the_handler_of_a_crash_is_known_by_its_blocked_signal(number: signal.Signals) -> None:
    with process(HANGS_IN_ITS_HANDLER, str(int(number))) as pid:
        eventually(lambda: plight_of(pid) is Plight.CRASHING, what="it is inside")


def test_one_that_is_well_has_no_plight_one_that_is_stopped_has_and_one_that_is_gone_has_none() -> None:
    with process("import signal; print('ready', flush=True); signal.pause()") as pid:
        assert plight_of(pid) is None
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: plight_of(pid) is Plight.STOPPED, what="it is stopped")
        os.kill(pid, signal.SIGCONT)
    assert plight_of(pid) is None


def test_one_that_blocks_all_signals_for_a_moment_as_to_start_a_thread_is_well() -> None:
    blocks = (
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); print('ready', flush=True); "
    )
    with process(blocks + "signal.pthread_sigmask(signal.SIG_BLOCK, []), input()") as pid:
        assert plight_of(pid) is None


def test_a_worker_of_r_is_well_while_it_works_and_rests(tmp_path: Path) -> None:
    with scorer(tmp_path, DOUBLE) as pod:
        pod.ready()
        for number in range(50):
            assert pod.predict(DOUBLE, x=[float(number)]) == [2.0 * number]
            assert {plight_of(worker["pid"]) for worker in pod.workers()} == {None}


def test_a_stopped_worker_is_no_hung_one_though_the_supervisor_sees_it_after_its_time(tmp_path: Path) -> None:
    limits = {"max_predict_s": 2.0, "predict_grace_s": 0.5}
    with scorer(tmp_path, SLOW, **limits) as pod, ThreadPoolExecutor(1) as thread:
        pod.ready()
        call = thread.submit(pod.predict, SLOW, seconds=[1.0])
        [busy] = eventually(lambda: [w["pid"] for w in pod.workers() if w["state"] == "busy"], what="it is in")
        pod.process.send_signal(signal.SIGSTOP)
        os.kill(busy, signal.SIGSTOP)
        over = time.monotonic() + sum(limits.values())
        eventually(lambda: time.monotonic() > over, what="its time is over")
        pod.process.send_signal(signal.SIGCONT)
        assert call.result() == [1.0]
        assert pod.metric("scorer_workers_ended_total", cause="stopped") == 1
        assert pod.metric("scorer_workers_ended_total", cause="hung") == 0
