"""How a pod ends, told to or killed, and that nothing of it is left. Each test has a pod of its own."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tests.service.scorer_models import DOUBLE, HOSTILE, SLOW
from tests.service.scorer_pod import scorer
from tests.support import eventually


def test_sigterm_answers_what_is_in_flight_refuses_what_is_new_and_exits_0(tmp_path: Path) -> None:
    with scorer(tmp_path, SLOW, workers=2) as pod, ThreadPoolExecutor(4) as threads:
        pod.ready()
        calls = [threads.submit(pod.predict, SLOW, seconds=[1.0]) for _ in range(4)]
        eventually(lambda: pod.status()["busy"] == 2 and pod.status()["open_calls"] == 4, what="all are in")
        pod.process.send_signal(signal.SIGTERM)
        eventually(
            lambda: pod.http.get(f"{pod.internal_url}/readyz").status_code == 503, what="it is unready", within_s=1
        )
        assert [call.result() for call in calls] == [[1.0]] * 4
        assert pod.process.wait(10) == 0, pod.log.read_text()
        eventually(lambda: not pod.processes(), within_s=2, what="no R process is left")
        assert list(pod.run_dir.iterdir()) == []


def test_an_idle_pod_that_is_told_to_end_warns_of_nothing(tmp_path: Path) -> None:
    with scorer(tmp_path, SLOW, DOUBLE) as pod:
        pod.ready()
        pod.settled(2)
        pod.process.send_signal(signal.SIGTERM)
        assert pod.process.wait(10) == 0
        lines = [json.loads(line) for line in pod.log.read_text().splitlines()]
        assert [line for line in lines if line["level"] not in {"info", "debug"}] == []


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with scorer(tmp_path, SLOW) as pod, ThreadPoolExecutor(1) as thread:
        pod.ready()
        call = thread.submit(pod.post, SLOW, {"seconds": [20.0]})
        eventually(lambda: pod.status()["busy"] == 1, what="it is in")
        pod.process.send_signal(signal.SIGTERM)
        eventually(lambda: pod.http.get(f"{pod.internal_url}/readyz").status_code == 503, what="it drains", within_s=1)
        pod.process.send_signal(signal.SIGTERM)
        assert pod.process.wait(5) == 0
        assert call.exception() is not None or call.result().status_code == 503
        eventually(lambda: not pod.processes(), within_s=2, what="no R process is left")


def test_when_the_supervisor_is_killed_no_r_process_is_left_two_seconds_later(tmp_path: Path) -> None:
    with scorer(tmp_path, HOSTILE, SLOW, workers=3) as pod, ThreadPoolExecutor(3) as threads:
        pod.ready()
        pod.settled(2)
        calls = [threads.submit(pod.post, HOSTILE, {"x": [1.0], "act": ["hang"]}) for _ in range(2)]
        calls.append(threads.submit(pod.post, SLOW, {"seconds": [30.0]}))
        eventually(lambda: pod.status()["busy"] == 3, what="all are busy")
        [stopped] = [w["pid"] for w in pod.workers("slow") if w["state"] == "busy"]
        os.kill(stopped, signal.SIGSTOP)
        assert len(pod.processes()) >= 5
        pod.process.kill()
        pod.process.wait()
        eventually(lambda: not pod.processes(), within_s=2, what="no R process is left")
        eventually(lambda: not list(pod.run_dir.glob("*/z*")), within_s=2, what="no socket or file is left")
        assert all(call.exception() is not None for call in calls)


def test_a_supervisor_killed_while_it_loads_leaves_nothing_either(tmp_path: Path) -> None:
    loads_long = replace(DOUBLE, code="Sys.sleep(60)\n" + DOUBLE.code)
    with scorer(tmp_path, loads_long) as pod:
        eventually(pod.processes, what="R has started")
        pod.process.kill()
        pod.process.wait()
        eventually(lambda: not pod.processes(), within_s=2, what="no R process is left")
