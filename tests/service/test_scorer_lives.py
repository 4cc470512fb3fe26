"""A pod's life: what it makes of a store, how it ends, and that nothing of it is left. Each test has a pod of its own."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from scorer.shell.processes import YIELDING
from shared.signature import Field, Signature, Type
from shared.wire import unpack_frame
from tests.service.scorer_models import DOUBLE, HOSTILE, SLOW
from tests.service.scorer_pod import ROOT, Column, Model, Scorer, scorer
from tests.support import eventually


def settled(pod: Scorer, count: int) -> bool:
    versions = pod.status()["versions"]
    return len(versions) == count and all(v["state"] in {"ready", "unavailable"} for v in versions)


# --- ends


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
        eventually(lambda: settled(pod, 2), what="both are there")
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
        eventually(lambda: settled(pod, 2), what="both are there")
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


def test_no_request_fails_while_a_worker_is_killed_every_half_second(tmp_path: Path) -> None:
    with scorer(tmp_path, SLOW, DOUBLE, workers=3) as pod:
        pod.ready()
        eventually(lambda: settled(pod, 2), what="both are there")
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
        eventually(lambda: settled(pod, 2), what="both are there")
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


# --- the queue


def test_a_quick_model_does_not_wait_for_the_long_runs_of_another_that_hold_every_slot(tmp_path: Path) -> None:
    with scorer(tmp_path, SLOW, DOUBLE, workers=2) as pod, ThreadPoolExecutor(2) as threads:
        eventually(lambda: settled(pod, 2), what="both are there")
        for number in range(8):  # the pod learns what each costs
            assert pod.predict(SLOW, seconds=[0.3]) == [0.3]
            assert pod.predict(DOUBLE, x=[float(number)]) == [2.0 * number]
        long = [threads.submit(pod.predict, SLOW, seconds=[2.2]) for _ in range(2)]
        eventually(lambda: pod.status()["busy"] == 2, what="both slots are taken")
        for number in range(10):
            assert pod.predict(DOUBLE, x=[float(number)]) == [2.0 * number]
        assert not any(call.done() for call in long), "it was answered meanwhile"
        assert [call.result() for call in long] == [[2.2], [2.2]]


def test_a_run_that_takes_far_too_long_leaves_the_processor_to_others_and_is_answered(tmp_path: Path) -> None:
    with scorer(tmp_path, SLOW, DOUBLE, workers=2) as pod, ThreadPoolExecutor(1) as thread:
        eventually(lambda: settled(pod, 2), what="both are there")
        usual = os.getpriority(os.PRIO_PROCESS, pod.process.pid)

        def idle() -> list[int]:
            workers = [worker for worker in pod.status()["workers"] if worker["model"] == SLOW.name]
            return [worker["pid"] for worker in workers if worker["state"] == "idle"]

        eventually(lambda: len(idle()) == 1, what="it has its worker")
        [before] = idle()
        call = thread.submit(pod.predict, SLOW, seconds=[4.0])

        def yields() -> bool:  # where another version has work
            assert pod.predict(DOUBLE, x=[1.0]) == [2.0]
            return os.getpriority(os.PRIO_PROCESS, before) == YIELDING

        eventually(yields, what="it yields")
        assert call.result() == [4.0]

        def another() -> bool:
            pids = idle()
            return len(pids) == 1 and pids != [before] and os.getpriority(os.PRIO_PROCESS, pids[0]) == usual

        eventually(another, what="one that has its share takes its place")
        assert pod.predict(SLOW, seconds=[0.0]) == [0.0]


def test_rows_are_scored_where_not_a_byte_can_be_written_to_disk(tmp_path: Path) -> None:
    with scorer(tmp_path, DOUBLE, workers=1) as pod:
        pod.ready()
        [worker] = [w["pid"] for w in pod.workers()]
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (0, 0))
        for count in (1, 64, 100_000):
            rows = [float(i) for i in range(count)]
            assert pod.predict(DOUBLE, x=rows) == [2 * row for row in rows]
        assert [w["pid"] for w in pod.workers()] == [worker]


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


def test_a_full_queue_answers_503_with_a_time_to_come_back(tmp_path: Path) -> None:
    with scorer(tmp_path, SLOW, workers=1, queue_rows=2) as pod, ThreadPoolExecutor(3) as threads:
        pod.ready()
        calls = [threads.submit(pod.predict, SLOW, seconds=[0.7])]
        eventually(lambda: pod.status()["busy"] == 1, what="one runs")
        calls += [threads.submit(pod.predict, SLOW, seconds=[0.0]) for _ in range(2)]
        eventually(lambda: pod.status()["waiting_rows"] == 2, what="two wait")
        response = pod.post(SLOW, {"seconds": [0.0]})
        assert (response.status_code, response.json()["code"]) == (503, "overloaded")
        assert int(response.headers["retry-after-ms"]) >= 50
        assert [call.result() for call in calls] == [[0.7], [0.0], [0.0]]


def test_more_bytes_than_a_pod_may_hold_are_answered_503_until_others_have_been_answered(tmp_path: Path) -> None:
    with (
        scorer(tmp_path, SLOW, workers=2, max_body_bytes=1000, held_bytes=1000) as pod,
        ThreadPoolExecutor(1) as threads,
    ):
        pod.ready()
        many = {"seconds": [0.0] * 80}
        first = threads.submit(pod.predict, SLOW, seconds=[0.7])
        eventually(lambda: pod.status()["busy"] == 1, what="one runs")
        metrics = pod.http.get(f"{pod.internal_url}/metrics").text
        response = pod.post(SLOW, many)
        assert (response.status_code, response.json()["code"]) == (503, "overloaded")
        assert int(response.headers["retry-after-ms"]) >= 50
        (held,) = [line.split()[1] for line in metrics.splitlines() if line.startswith("scorer_held_bytes ")]
        assert 0 < float(held) < 1000
        assert first.result() == [0.7]
        assert pod.post(SLOW, many).status_code == 200
        assert "scorer_held_bytes 0.0" in pod.http.get(f"{pod.internal_url}/metrics").text


def test_a_body_over_the_limit_is_refused_announced_or_not(tmp_path: Path) -> None:
    with scorer(tmp_path, DOUBLE, max_body_bytes=1000) as pod:
        pod.ready()
        response = pod.post(DOUBLE, {"x": [1.0] * 1000})
        assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")
        chunks = (b"x" * 100 for _ in range(20))
        headers = pod.headers | {"Inference-Header-Content-Length": "10"}
        response = pod.http.post(f"{pod.url}/v2/models/double/versions/1/infer", content=chunks, headers=headers)
        assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")


# --- what it makes of a store


def test_an_answer_that_is_too_large_is_said_and_ends_no_worker(tmp_path: Path) -> None:
    grows = Model(
        "grows",
        Signature(inputs=(Field(name="x", type=Type.DOUBLE),), outputs=(Field(name="text", type=Type.STRING),)),
        "predict_model <- function(model, newdata) data.frame(text = strrep('a', newdata$x))",
        {"x": [3.0]},
        {"text": ["aaa"]},
    )
    with scorer(tmp_path, grows, DOUBLE, max_body_bytes=1000, workers=1) as pod:
        pod.ready()
        eventually(lambda: settled(pod, 2), what="both are there")
        workers = pod.workers("grows")
        answer = pod.infer(grows, {"x": [2.0, 100_000.0, 1.0]}, items=[1, 1, 1])
        [error] = answer.errors
        assert (error.item, error.code) == (1, "prediction_failed")
        assert "larger than 4000 bytes (4 x SCORER_MAX_BODY_BYTES)" in error.detail
        assert pod.predict(grows, x=[3.0]) == ["aaa"]
        assert [w["pid"] for w in pod.workers("grows")] == [w["pid"] for w in workers]


def test_a_version_whose_example_is_answered_with_too_much_says_so(tmp_path: Path) -> None:
    with scorer(tmp_path, DOUBLE, max_body_bytes=1) as pod:
        eventually(lambda: settled(pod, 1), what="it is refused")
        assert "larger than 4 bytes" in pod.version("double")["reason"]


def test_versions_that_cannot_be_served_are_reported_by_name_and_the_rest_are_served(tmp_path: Path) -> None:
    store = tmp_path / "store"
    looks_around = replace(
        DOUBLE,
        name="looks-around",
        code="predict_model <- function(model, newdata) newdata$x - mean(newdata$x)",
        example={"x": [1.0, 2.0, 6.0]},
        answers={"prediction": [-2.0, -1.0, 3.0]},
    )
    close = replace(
        DOUBLE, name="close", code="predict_model <- function(model, newdata) newdata$x * (1 + 1e-12)",
        example={"x": [1.0]}, answers={"prediction": [1.0]},
    )  # fmt: skip
    broken = {
        "corrupt": "not the file that was published",
        "lost": "score.R is not in the store",
        "short": "bytes that were published",
        "no-package": "fortuneTeller 1.0",
        "no-code": "score.R defines no predict_model",
        "loading-fails": "no such luck",
        "loading-quits": "R ended",
        "crashes": "R crashed while it scored the example",
        "differs": "prediction in row 1 of the example was 7.0 when packaged and is 2.0 here",
        "fails": "self-test: cannot do it",
        "wrong-length": "values of prediction for",
    }
    models = {
        "no-package": replace(DOUBLE, packages={"fortuneTeller": "1.0"}),
        "no-code": replace(DOUBLE, code="x <- 1"),
        "loading-fails": replace(DOUBLE, code="stop('no such luck')"),
        "loading-quits": replace(DOUBLE, code="quit(status = 3)"),
        "crashes": replace(DOUBLE, code="predict_model <- function(model, newdata) tools::pskill(Sys.getpid(), 11L)"),
        "differs": replace(DOUBLE, example={"x": [1.0]}, answers={"prediction": [7.0]}),
        "fails": replace(DOUBLE, code="predict_model <- function(model, newdata) stop('cannot do it')"),
        "wrong-length": replace(DOUBLE, code="predict_model <- function(model, newdata) 1"),
    }
    for name in broken:
        code = f"# {name}\n{DOUBLE.code}"
        replace(models.get(name, replace(DOUBLE, code=code)), name=name).publish(store)
    for name, data in {"corrupt": b"predict_model <- quit#", "short": b"x"}.items():
        blob = blob_of(store, replace(DOUBLE, code=f"# {name}\n{DOUBLE.code}"))
        blob.write_bytes(data.ljust(blob.stat().st_size, b"#") if name == "corrupt" else data)
    blob_of(store, replace(DOUBLE, code=f"# lost\n{DOUBLE.code}")).unlink()
    (store / "models" / "unreadable" / "1").mkdir(parents=True)
    (store / "models" / "unreadable" / "1" / "manifest.json").write_text("{")
    (store / "models" / "Bad_Name" / "one").mkdir(parents=True)
    (store / "models" / "Bad_Name" / "one" / "manifest.json").write_text("{}")

    with scorer(tmp_path, DOUBLE, looks_around, close, poll_s=60) as pod:
        eventually(lambda: settled(pod, len(broken) + 5), within_s=120, what="all are decided")
        pod.ready()
        for name, says in broken.items():
            version = pod.version(name)
            assert version["state"] == "unavailable", version
            assert says in version["reason"], version
        assert "cannot be read" in pod.version("unreadable")["reason"]
        assert "not a model name" in pod.version("Bad_Name", "one")["reason"]
        assert pod.predict(DOUBLE, x=[1.0]) == [2.0]
        assert pod.version("looks-around")["batchable"] is False
        assert "pieces of 1" in pod.version("looks-around")["batchable_reason"]
        assert pod.version("close")["close"] is True
        assert pod.predict(looks_around, x=[1.0, 3.0]) == [-1.0, 1.0]
        response = pod.post(replace(DOUBLE, name="corrupt"), {"x": [1.0]})
        assert (response.status_code, response.json()["code"]) == (404, "version_not_here")


def blob_of(store: Path, model: Model) -> Path:
    """The stored file of a model's score.R."""
    return store / "blobs" / "sha256" / hashlib.sha256(model.code.encode()).hexdigest()


def test_versions_come_and_go_with_the_store_while_others_serve(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with scorer(tmp_path, poll_s=1) as pod:
        eventually(
            lambda: pod.http.get(f"{pod.internal_url}/readyz").json()["reasons"] == ["the store has no model"],
            what="it says why it is not ready",
        )
        DOUBLE.publish(store)
        pod.ready()
        triple = replace(DOUBLE, version="2", code="predict_model <- function(model, newdata) 3 * newdata$x",
                         example={"x": [1.0]}, answers={"prediction": [3.0]})  # fmt: skip
        triple.publish(store)
        eventually(lambda: pod.version("double", "2").get("state") == "ready", what="version 2 is there")
        assert pod.predict(DOUBLE, x=[1.0]) == [2.0]
        assert pod.predict(triple, x=[1.0]) == [3.0]
        old = [w["pid"] for w in pod.workers() if w["version"] == "1"]

        shutil.rmtree(store / "models" / "double" / "1")
        assert pod.http.post(f"{pod.internal_url}/refresh").status_code == 202
        eventually(lambda: not pod.version("double", "1"), what="version 1 is gone")
        assert pod.post(DOUBLE, {"x": [1.0]}).status_code == 404
        eventually(lambda: not set(old) & set(pod.processes()), what="its R has ended")

        store.rename(tmp_path / "away")
        eventually(lambda: pod.status()["store_error"], what="the store is away")
        assert pod.predict(triple, x=[1.0]) == [3.0]
        assert pod.http.get(f"{pod.internal_url}/readyz").status_code == 200
        (tmp_path / "away").rename(store)
        eventually(lambda: pod.status()["store_error"] is None, what="the store is back")
        assert pod.predict(triple, x=[1.0]) == [3.0]


def test_only_the_chosen_models_are_served(tmp_path: Path) -> None:
    for version in ("1", "2"):
        replace(DOUBLE, version=version).publish(tmp_path / "store")
    with scorer(tmp_path, SLOW, models="double@2,other") as pod:
        pod.ready()
        assert [(v["model"], v["version"]) for v in pod.status()["versions"]] == [("double", "2")]
        assert pod.status()["absent"] == ["other"]


def test_the_cache_is_used_again_and_what_was_damaged_in_it_is_not(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with scorer(tmp_path, DOUBLE, cache_dir=str(cache)) as pod:
        pod.ready()
    shutil.rmtree(tmp_path / "store" / "blobs")
    with scorer(tmp_path, cache_dir=str(cache)) as pod:
        pod.ready()
        assert pod.predict(DOUBLE, x=[1.0]) == [2.0]
    for path in [*cache.rglob("score.R"), *(cache / "blobs").iterdir()]:
        path.chmod(0o600)
        path.write_bytes(b"quit()")
    with scorer(tmp_path, cache_dir=str(cache)) as pod:
        eventually(lambda: pod.version("double").get("state") == "unavailable", what="it is refused")
        assert "not in the store" in pod.version("double")["reason"]
        DOUBLE.publish(tmp_path / "store")
        (tmp_path / "store" / "models" / "double" / "1" / "manifest.json").touch()
        pod.ready()


# --- starts


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"SCORER_GATEWAY_KEYS_FILE": "/nowhere.pem"}, "SCORER_GATEWAY_KEYS_FILE: /nowhere.pem: No such file"),
        ({"SCORER_GATEWAY_KEYS_FILE": "/dev/null"}, "SCORER_GATEWAY_KEYS_FILE: /dev/null: no Ed25519 public key"),
        ({"SCORER_RUN_DIR": "/proc/x"}, "SCORER_RUN_DIR: /proc/x: No such file"),
        ({"SCORER_STORE_URL": ""}, "SCORER_STORE_URL is required"),
        ({"SCORER_WORKERS": "many", "SCORER_TYPO": "1"}, "SCORER_TYPO is not a setting"),
    ],
)
def test_a_mistake_at_the_start_is_said_in_a_line_and_exits_2(
    tmp_path: Path, changes: dict[str, str], says: str
) -> None:
    done = started(tmp_path, **changes)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def started(folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """A scorer that is expected to end at once."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "SCORER_STORE_URL": folder.as_uri()}
    return subprocess.run(
        [sys.executable, "-m", "scorer"],
        env=environment | {"SCORER_GATEWAY_KEYS_FILE": "/k", "SCORER_PORT": "0", "SCORER_INTERNAL_PORT": "0"} | changes,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("setting", "path"), [("SCORER_CACHE_DIR", "/proc/x"), ("SCORER_TRUSTED_KEYS", "/nowhere.pem")]
)
def test_a_file_or_folder_that_cannot_be_used_is_named_with_its_setting(
    tmp_path: Path, setting: str, path: str
) -> None:
    key = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "keys.pem").write_bytes(key)
    done = started(tmp_path, **{"SCORER_GATEWAY_KEYS_FILE": str(tmp_path / "keys.pem"), setting: path})
    assert done.returncode == 2
    assert f"scorer: {setting}: {path}: No such file" in done.stderr


def test_folders_may_be_relative_to_where_it_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="sgt-", dir="/tmp") as folder:  # a short name, for the sake of sockets
        monkeypatch.chdir(folder)
        with scorer(tmp_path, DOUBLE, cache_dir="cache", environment={"SCORER_RUN_DIR": "run"}) as pod:
            pod.ready()
            assert pod.predict(DOUBLE, x=[1.0]) == [2.0]


def test_a_start_that_fails_leaves_no_run_folder(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "keys.pem").write_bytes(key)
    (tmp_path / "trusted.pem").write_text("no key")
    files = {"SCORER_GATEWAY_KEYS_FILE": "keys.pem", "SCORER_TRUSTED_KEYS": "trusted.pem"}
    with tempfile.TemporaryDirectory(prefix="sgt-", dir="/tmp") as folders:  # a short name, for the sake of sockets
        done = started(tmp_path, SCORER_RUN_DIR=folders, **{name: str(tmp_path / file) for name, file in files.items()})
        assert done.returncode == 2
        assert "SCORER_TRUSTED_KEYS: " in done.stderr
        assert list(Path(folders).iterdir()) == []


def test_without_r_each_version_says_so(tmp_path: Path) -> None:
    with scorer(tmp_path, DOUBLE, r_home="/nowhere") as pod:
        eventually(lambda: "R cannot be started" in (pod.version("double").get("reason") or ""), what="it says why")


def test_a_version_that_is_hung_while_it_loads_is_given_up(tmp_path: Path) -> None:
    hangs = replace(DOUBLE, name="hangs", code="repeat {}")
    with scorer(tmp_path, DOUBLE, hangs, max_load_s=15) as pod:
        eventually(lambda: pod.version("double").get("state") == "ready", what="the other is served")
        eventually(lambda: pod.version("hangs").get("state") == "unavailable", within_s=40, what="it is given up")
        assert "did not load the model within 15 s" in pod.version("hangs")["reason"]
