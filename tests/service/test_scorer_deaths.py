"""What a pod makes of R processes that are killed, interrupted or hung, or die again and again. Each test has a pod of its own."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from shared.wire import unpack_frame
from tests.service.scorer_models import DOUBLE, SLOW
from tests.service.scorer_pod import Column, Model, scorer
from tests.support import eventually


def test_no_request_fails_while_a_worker_is_killed_every_half_second(tmp_path: Path) -> None:
    with scorer(tmp_path, SLOW, DOUBLE, workers=3) as pod:
        pod.ready()
        pod.settled(2)
        ends = time.monotonic() + 6

        def load(model: Model, columns: dict[str, Column]) -> int:
            count = 0
            while time.monotonic() < ends:
                assert not pod.infer(model, columns).errors
                count += 1
            return count

        with ThreadPoolExecutor(6) as threads:
            calls = [threads.submit(load, SLOW, {"seconds": [0.1]}) for _ in range(3)]
            calls += [threads.submit(load, DOUBLE, {"x": [1.0]}) for _ in range(3)]
            killed: set[int] = set()
            next_kill = time.monotonic()
            while time.monotonic() < ends:
                now = time.monotonic()
                workers = [w["pid"] for w in pod.workers() if w["pid"] and w["pid"] not in killed]
                if workers and now >= next_kill:
                    killed.add(workers[len(killed) % len(workers)])
                    os.kill(workers[(len(killed) - 1) % len(workers)], signal.SIGKILL)
                    next_kill = now + 0.5
            assert all(call.result() > 0 for call in calls)
        assert len(killed) >= 6
        eventually(lambda: not killed & set(pod.processes()), what="the killed are gone")


def test_an_interrupt_of_every_r_process_ends_none_and_loses_no_request(tmp_path: Path) -> None:
    with scorer(tmp_path, SLOW, workers=2) as pod, ThreadPoolExecutor(2) as threads:
        pod.ready()
        both = [threads.submit(pod.predict, SLOW, seconds=[0.5]) for _ in range(2)]
        assert [call.result() for call in both] == [[0.5]] * 2
        workers = [w["pid"] for w in pod.workers()]
        for pid in pod.processes():
            os.kill(pid, signal.SIGINT)
        both = [threads.submit(pod.predict, SLOW, seconds=[0.5]) for _ in range(2)]
        eventually(lambda: pod.status()["busy"] == 2, what="both are in")
        for pid in pod.processes():
            os.kill(pid, signal.SIGINT)
        assert [call.result() for call in both] == [[0.5]] * 2
        assert [w["pid"] for w in pod.workers()] == workers


def test_a_request_is_scored_though_its_workers_are_told_to_end_twice(tmp_path: Path) -> None:
    with scorer(tmp_path, SLOW, workers=1) as pod, ThreadPoolExecutor(1) as thread:
        pod.ready()
        call = thread.submit(pod.predict, SLOW, seconds=[2.0])
        ended: set[int] = set()
        for _ in range(2):
            [worker] = eventually(
                lambda: [w["pid"] for w in pod.workers() if w["state"] == "busy" and w["pid"] not in ended]
            )
            os.kill(worker, signal.SIGTERM)
            ended.add(worker)
        assert call.result() == [2.0]


def test_runs_that_share_with_nobody_follow_each_other_in_a_worker_and_none_is_lost_with_it(tmp_path: Path) -> None:
    with scorer(tmp_path, DOUBLE, workers=2) as pod:
        pod.ready()
        stop = threading.Event()

        def ask(client: int) -> int:
            asked = 0
            while not stop.is_set():
                value = 1000.0 * client + asked
                answer = pod.infer(DOUBLE, {"x": [value]}, X_Share="alone")
                assert (unpack_frame(DOUBLE.signature.outputs, answer.frame), answer.errors) == ([[2 * value]], ())
                asked += 1
            return asked

        with ThreadPoolExecutor(8) as threads:
            clients = [threads.submit(ask, client) for client in range(8)]
            for kills in range(1, 6):
                eventually(
                    lambda kills=kills: (
                        pod.metric("scorer_requests_total", model="double", code="ok") > 40 * kills
                        and any(w["state"] == "busy" for w in pod.workers())
                    ),
                    what="they are asked",
                )
                [busy, *_] = [w["pid"] for w in pod.workers() if w["pid"]]
                os.kill(busy, signal.SIGKILL)
            stop.set()
            asked = sum(client.result() for client in clients)
        assert pod.metric("scorer_requests_total", model="double", code="ok") == asked
        assert pod.metric("scorer_run_items_count") >= asked


def test_a_hung_zygote_is_loaded_anew_while_its_workers_serve(tmp_path: Path) -> None:
    with scorer(tmp_path, DOUBLE, workers=1, worker_start_s=1) as pod:
        pod.ready()
        [zygote] = [z["pid"] for z in pod.status()["zygotes"]]
        [worker] = [w["pid"] for w in pod.workers()]
        os.kill(zygote, signal.SIGSTOP)
        assert pod.predict(DOUBLE, x=[1.0]) == [2.0]
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: [z for z in pod.status()["zygotes"] if z["pid"] != zygote], what="another zygote is there")
        assert pod.predict(DOUBLE, x=[1.0]) == [2.0]
        eventually(lambda: zygote not in [z["pid"] for z in pod.status()["zygotes"]], what="the hung one is gone")


def test_a_version_whose_workers_cannot_stay_up_is_down_with_the_reason_and_comes_back_by_itself(
    tmp_path: Path,
) -> None:
    broken = tmp_path / "broken"
    # Loads and proves itself; a worker looks at the file as soon as it serves, the zygote and the self-test before it is there.
    fragile = replace(
        DOUBLE,
        name="fragile",
        code=f"""
later::later(watch <- function() {{
  if (file.exists("{broken}")) tools::pskill(Sys.getpid(), 6L)
  later::later(watch, 0.02)
}})
{DOUBLE.code}""",
    )
    with scorer(tmp_path, fragile, DOUBLE, ping_s=0.5, worker_probe_s=2) as pod, ThreadPoolExecutor(1) as thread:
        pod.settled(2)
        assert pod.predict(fragile, x=[1.0]) == [2.0]
        stop = threading.Event()

        def ask_the_neighbour() -> int:
            count = 0
            while not stop.is_set():
                assert pod.predict(DOUBLE, x=[float(count)]) == [2.0 * count]
                count += 1
            return count

        neighbour = thread.submit(ask_the_neighbour)
        broken.touch()
        eventually(lambda: pod.version("fragile")["state"] == "unavailable", what="it is given up")
        reason = pod.version("fragile")["reason"]
        assert "its workers do not stay up" in reason
        assert "SIGABRT" in reason
        response = pod.post(fragile, {"x": [1.0]})
        assert (response.status_code, response.json()["code"]) == (503, "version_down")
        assert response.json()["error"] == reason
        catalogue = pod.http.get(f"{pod.url}/internal/catalogue", headers=pod.headers).json()
        assert {e["model"]: e["state"] for e in catalogue["versions"]} == {"fragile": "unavailable", "double": "ready"}
        assert pod.http.get(f"{pod.internal_url}/readyz").status_code == 200, "it serves the other"
        assert pod.metric("scorer_version_down", model="fragile") == 1
        assert pod.metric("scorer_version_down", model="double") == 0
        tried = pod.metric("scorer_workers_ended_total", model="fragile", cause="died")
        eventually(
            lambda: pod.metric("scorer_workers_ended_total", model="fragile", cause="died") > tried, what="one is tried"
        )
        assert pod.version("fragile")["state"] == "unavailable"
        broken.unlink()
        eventually(lambda: pod.version("fragile")["state"] == "ready", what="it is back by itself")
        assert pod.version("fragile")["reason"] is None
        assert pod.predict(fragile, x=[1.0]) == [2.0]
        assert pod.metric("scorer_version_down", model="fragile") == 0
        stop.set()
        assert neighbour.result() > 0
        events = [json.loads(line)["event"] for line in pod.log.read_text().splitlines()]
        assert [e for e in events if e in {"scorer.version.down", "scorer.version.up"}] == [
            "scorer.version.down", "scorer.version.up",
        ]  # fmt: skip


def test_a_pod_whose_only_version_is_down_is_not_ready_and_says_why(tmp_path: Path) -> None:
    aborts = tmp_path / "aborts"
    code = f"later::later(function() if (file.exists('{aborts}')) tools::pskill(Sys.getpid(), 9L))\n{DOUBLE.code}"
    with scorer(tmp_path, replace(DOUBLE, code=code), worker_probe_s=600) as pod:
        pod.ready()
        aborts.touch()
        [worker] = pod.workers()
        os.kill(worker["pid"], signal.SIGKILL)

        def unready() -> bool:
            answer = pod.http.get(f"{pod.internal_url}/readyz")
            return answer.status_code == 503 and "do not stay up" in answer.json()["reasons"][0]

        eventually(unready, what="it is not ready")
        aborts.unlink()
        assert pod.http.post(f"{pod.internal_url}/refresh").status_code == 202
        pod.ready(within_s=30)
