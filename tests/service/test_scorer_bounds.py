"""What a pod takes and holds at most: waiting calls, bytes, bodies, answers; and time beside others. Each test has its own pod."""

from __future__ import annotations

import os
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scorer.shell.processes import YIELDING
from shared.signature import Field, Signature, Type
from tests.service.scorer_models import DOUBLE, SLOW
from tests.service.scorer_pod import Model, scorer
from tests.support import eventually


def test_a_quick_model_does_not_wait_for_the_long_runs_of_another_that_hold_every_slot(tmp_path: Path) -> None:
    with scorer(tmp_path, SLOW, DOUBLE, workers=2) as pod, ThreadPoolExecutor(2) as threads:
        pod.settled(2)
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
        pod.settled(2)
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
        pod.settled(2)
        workers = pod.workers("grows")
        answer = pod.infer(grows, {"x": [2.0, 100_000.0, 1.0]}, items=[1, 1, 1])
        [error] = answer.errors
        assert (error.item, error.code) == (1, "prediction_failed")
        assert "larger than 4000 bytes (4 x SCORER_MAX_BODY_BYTES)" in error.detail
        assert pod.predict(grows, x=[3.0]) == ["aaa"]
        assert [w["pid"] for w in pod.workers("grows")] == [w["pid"] for w in workers]


def test_a_version_whose_example_is_answered_with_too_much_says_so(tmp_path: Path) -> None:
    with scorer(tmp_path, DOUBLE, max_body_bytes=1) as pod:
        pod.settled(1)
        assert "larger than 4 bytes" in pod.version("double")["reason"]


def test_rows_are_scored_where_not_a_byte_can_be_written_to_disk(tmp_path: Path) -> None:
    with scorer(tmp_path, DOUBLE, workers=1) as pod:
        pod.ready()
        [worker] = [w["pid"] for w in pod.workers()]
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (0, 0))
        for count in (1, 64, 100_000):
            rows = [float(i) for i in range(count)]
            assert pod.predict(DOUBLE, x=rows) == [2 * row for row in rows]
        assert [w["pid"] for w in pod.workers()] == [worker]
