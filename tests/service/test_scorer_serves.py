"""A pod that serves: real R behind real sockets, everything a gateway asks of it. One pod for all tests of this file."""

from __future__ import annotations

import math
import os
import signal
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.catalogue import Catalogue
from shared.signature import Field, Type
from shared.wire import pack_frame, unpack_frame
from tests.service.scorer_models import COLUMNS, DOUBLE, ECHO, HOSTILE, INSPECT, SLOW
from tests.service.scorer_pod import Scorer, request, scorer
from tests.support import eventually


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scorer]:
    models = (DOUBLE, SLOW, HOSTILE, INSPECT, ECHO)
    folder = tmp_path_factory.mktemp("pod")
    with scorer(folder, *models, workers=3, max_predict_s=1.5, predict_grace_s=0.5, ping_s=0.5) as running:
        yield running.ready()


# --- the catalogue and the token


def test_the_catalogue_has_each_version_and_an_etag(pod: Scorer) -> None:
    response = pod.http.get(f"{pod.url}/internal/catalogue", headers=pod.headers)
    catalogue = msgspec.json.decode(response.content, type=Catalogue)
    assert catalogue.workers == 3
    entries = {entry.model: entry for entry in catalogue.versions}
    assert {entry.state for entry in entries.values()} == {"ready"}
    assert entries["echo"].signature == ECHO.signature
    assert entries["slow"].batchable is False
    etag = response.headers["etag"]
    again = pod.http.get(f"{pod.url}/internal/catalogue", headers=pod.headers | {"If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)


@pytest.mark.parametrize("what", ["none", "garbage", "another key", "expired", "not yet", "two", "basic"])
def test_without_the_gateways_token_nothing_is_answered(pod: Scorer, what: str) -> None:
    good = pod.token()
    headers: list[tuple[str, str]] = {
        "none": [],
        "garbage": [("Authorization", "Bearer " + "x" * 5000)],
        "another key": [("Authorization", f"Bearer {pod.token(Ed25519PrivateKey.generate())}")],
        "expired": [("Authorization", f"Bearer {pod.token(at=time.time() - 100)}")],
        "not yet": [("Authorization", f"Bearer {pod.token(at=time.time() + 100)}")],
        "two": [("Authorization", f"Bearer {good}"), ("Authorization", f"Bearer {good}")],
        "basic": [("Authorization", f"Basic {good}")],
    }[what]
    runs = pod.metric("scorer_run_items_count")
    for path in ("/internal/catalogue", "/v2/models/double/versions/1/infer", "/nowhere"):
        response = pod.http.post(pod.url + path, headers=headers, content=b"x" * 1000)
        assert response.status_code == 401, path
        assert response.json()["code"] == "unauthenticated"
    assert pod.metric("scorer_run_items_count") == runs


def test_keys_rotate_by_add_switch_remove(pod: Scorer) -> None:
    old, new = pod.key, Ed25519PrivateKey.generate()

    def status(key: Ed25519PrivateKey) -> int:
        headers = {"Authorization": f"Bearer {pod.token(key)}"}
        return pod.http.get(f"{pod.url}/v2/health/live", headers=headers).status_code

    assert (status(old), status(new)) == (200, 401)
    pod.trust(old, new)
    eventually(lambda: status(new) == 200, what="the new key is known")
    assert status(old) == 200
    pod.trust(new)
    eventually(lambda: status(old) == 401, what="the old key is forgotten")
    pod.keys_file.write_text("nothing")
    time_of_check = pod.metric("scorer_run_items_count")
    eventually(lambda: "scorer.keys.unreadable" in pod.log.read_text(), what="the damaged file was noticed")
    assert status(new) == 200, "a damaged file leaves the last keys in force"
    assert time_of_check >= 0
    pod.trust(old)
    eventually(lambda: status(old) == 200, what="the first key is back")


# --- predictions


def test_rows_come_back_in_order_with_missing_and_infinite_values(pod: Scorer) -> None:
    answer = pod.predict(DOUBLE, x=[1.0, None, -math.inf, 0.1])
    assert answer[0] == 2.0
    assert math.isnan(answer[1])
    assert answer[2:] == [-math.inf, 0.2]


def test_items_keep_their_sizes(pod: Scorer) -> None:
    answer = pod.infer(DOUBLE, {"x": [1.0, 2.0, 3.0]}, [2, 1])
    assert answer.items == [2, 1]
    assert (answer.model, answer.version) == ("double", "1")


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
doubles = st.floats(width=64) | st.sampled_from(
    [0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308]
)
integers = st.integers(-(2**31) + 1, 2**31 - 1)
columns = {
    Type.DOUBLE: st.none() | doubles,
    Type.INTEGER: st.none() | integers | st.sampled_from([2**31 - 1, -(2**31) + 1]),
    Type.LOGICAL: st.none() | st.booleans(),
    Type.STRING: st.none() | texts | st.sampled_from(["", "NA", "NaN", "\u0085", "𝄞", "a\ud7ff"]),
    Type.DATE: st.none() | doubles,
    Type.DATETIME: st.none() | doubles,
}


def cells(column: Field) -> st.SearchStrategy[object]:
    return st.none() | st.sampled_from(column.levels) if column.type is Type.FACTOR else columns[column.type]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), rows=st.integers(1, 40))
def test_every_value_goes_through_r_unchanged(pod: Scorer, data: st.DataObject, rows: int) -> None:
    given_columns = {
        column.name: data.draw(st.lists(cells(column), min_size=rows, max_size=rows), label=column.name)
        for column in COLUMNS
    }
    sent = pack_frame(COLUMNS, [given_columns[column.name] for column in COLUMNS])  # type: ignore[misc]
    answer = pod.infer(ECHO, given_columns)  # type: ignore[arg-type]
    assert not answer.errors
    assert [bytes(b) for b in answer.frame.buffers] == [bytes(b) for b in sent.buffers]


def test_na_and_nan_stay_what_they_are_to_the_last_bit(pod: Scorer) -> None:
    payloads = [0x7FF00000000007A2, 0x7FF8000000000000, 0xFFF8000000000001, 0x7FF80000000007A2]
    values = [struct.unpack("<d", struct.pack("<Q", bits))[0] for bits in payloads]
    rows: dict[str, list[object]] = {column.name: [None] * len(values) for column in COLUMNS}
    rows["double"] = list(values)
    answer = pod.infer(ECHO, rows)  # type: ignore[arg-type]
    back = struct.unpack(f"<{len(values)}Q", bytes(answer.frame.buffers[0]))
    assert [hex(bits) for bits in back] == [hex(bits) for bits in payloads]


def test_an_empty_text_is_not_a_missing_one(pod: Scorer) -> None:
    answer = pod.infer(INSPECT, {"what": ["", "tz"]})
    assert unpack_frame(INSPECT.signature.outputs, answer.frame) == [["", "tz"], ["", "UTC"]]


def test_a_hundred_thousand_rows_come_back_in_order(pod: Scorer) -> None:
    rows = [float(i) for i in range(100_000)]
    assert pod.predict(DOUBLE, x=rows) == [2 * row for row in rows]


def test_one_request_at_a_time_reaches_every_worker_and_no_caller_gets_anothers_rows(pod: Scorer) -> None:
    def one(client: int) -> int:
        for i in range(15):
            value = client * 1000.0 + i
            assert pod.predict(DOUBLE, x=[value, -value]) == [2 * value, -2 * value]
        return client

    with ThreadPoolExecutor(24) as threads:
        assert sorted(threads.map(one, range(24))) == list(range(24))


def test_waiting_requests_of_a_batchable_version_are_merged(pod: Scorer) -> None:
    runs, items = pod.metric("scorer_run_items_count"), pod.metric("scorer_run_items_sum")
    with ThreadPoolExecutor(16) as threads:
        calls = [threads.submit(pod.predict, HOSTILE, x=[float(i)], act=["nap"]) for i in range(16)]
        assert [call.result() for call in calls] == [[float(i)] for i in range(16)]
    runs, items = pod.metric("scorer_run_items_count") - runs, pod.metric("scorer_run_items_sum") - items
    assert items == 16
    assert runs <= 8


@pytest.mark.parametrize("share", ["alone", "{}"])
def test_waiting_requests_are_not_merged_where_the_gateway_says_so(pod: Scorer, share: str) -> None:
    runs, items = pod.metric("scorer_run_items_count"), pod.metric("scorer_run_items_sum")
    with ThreadPoolExecutor(16) as threads:
        calls = [
            threads.submit(pod.infer, HOSTILE, {"x": [float(i)], "act": ["nap"]}, X_Share=share.format(f"caller{i}"))
            for i in range(16)
        ]
        assert [unpack_frame(HOSTILE.signature.outputs, call.result().frame)[0] for call in calls] == [
            [float(i)] for i in range(16)
        ]
    runs, items = pod.metric("scorer_run_items_count") - runs, pod.metric("scorer_run_items_sum") - items
    assert items == runs >= 16  # one that waits behind a long one may run twice


def test_all_workers_are_busy_under_load_and_never_more(pod: Scorer) -> None:
    seen: list[int] = []
    with ThreadPoolExecutor(9) as threads:
        calls = [threads.submit(pod.predict, SLOW, seconds=[0.4]) for _ in range(9)]
        while not all(call.done() for call in calls):
            seen.append(pod.status()["busy"])
        assert [call.result() for call in calls] == [[0.4]] * 9
    assert max(seen) == 3
    assert all(worker["runs"] >= 2 for worker in pod.workers("slow"))
    assert len(pod.workers("slow")) == 3


# --- refusals


def test_a_version_that_is_not_here_is_said_to_be_so(pod: Scorer) -> None:
    head, body = request(DOUBLE, {"x": [1.0]})
    headers = pod.headers | {"Inference-Header-Content-Length": str(head)}
    for path in ("double/versions/2", "nothing/versions/1"):
        response = pod.http.post(f"{pod.url}/v2/models/{path}/infer", content=body, headers=headers)
        assert (response.status_code, response.json()["code"]) == (404, "version_not_here")


@pytest.mark.parametrize(
    "what", ["no length", "long length", "garbage", "truncated", "trailing", "no items", "deadline"]
)
def test_a_malformed_request_is_refused_before_r_sees_it(pod: Scorer, what: str) -> None:
    head, body = request(DOUBLE, {"x": [1.0]})
    headers = pod.headers | {"Inference-Header-Content-Length": str(head)}
    match what:
        case "no length":
            del headers["Inference-Header-Content-Length"]
        case "long length":
            headers["Inference-Header-Content-Length"] = "9" * 30
        case "garbage":
            body = b"\xff" * 100
        case "truncated":
            body = body[:-1]
        case "trailing":
            body += b"\0"
        case "no items":
            body = body[:-4] + b"\0\0\0\0"
        case "deadline":
            headers["X-Deadline-Ms"] = "soon"
    runs = pod.metric("scorer_run_items_count")
    response = pod.http.post(f"{pod.url}/v2/models/double/versions/1/infer", content=body, headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, "malformed_request")
    assert pod.metric("scorer_run_items_count") == runs


def test_at_its_deadline_a_request_is_answered_504_and_the_worker_lives(pod: Scorer) -> None:
    before = {worker["pid"] for worker in pod.workers("slow")}
    started = time.monotonic()
    response = pod.post(SLOW, {"seconds": [1.0]}, X_Deadline_Ms="200")
    took = time.monotonic() - started
    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
    assert 0.15 < took < 0.8
    eventually(lambda: pod.status()["busy"] == 0, what="the run has ended")
    assert before <= {worker["pid"] for worker in pod.workers("slow")}


def test_what_a_departed_caller_left_waiting_never_starts(pod: Scorer) -> None:
    runs = sum(worker["runs"] for worker in pod.workers("slow"))
    with ThreadPoolExecutor(3) as threads:
        busy = [threads.submit(pod.predict, SLOW, seconds=[1.0]) for _ in range(3)]
        eventually(lambda: pod.status()["busy"] == 3, what="all are busy")
        head, body = request(SLOW, {"seconds": [1.0]})
        url = f"{pod.url}/v2/models/slow/versions/1/infer"
        with pytest.raises(httpx.ReadTimeout), httpx.Client(timeout=0.2) as impatient:
            impatient.post(url, content=body, headers=pod.headers | {"Inference-Header-Content-Length": str(head)})
        eventually(lambda: pod.status()["waiting_rows"] == 0, what="its row is dropped", within_s=0.7)
        for call in busy:
            call.result()
    assert sum(worker["runs"] for worker in pod.workers("slow")) <= runs + 3


# --- what models do


def test_one_poisoned_row_fails_alone_with_rs_message_and_the_others_are_answered(pod: Scorer) -> None:
    acts = ["ok"] * 20
    acts[13] = "error"
    answer = pod.infer(HOSTILE, {"x": list(map(float, range(20))), "act": acts}, [1] * 20, X_Request_Id="request-13")
    assert [(e.item, e.code, e.detail) for e in answer.errors] == [(13, "prediction_failed", "poisoned row")]
    eventually(lambda: "request-13" in pod.log.read_text(), what="its request is in the log")
    assert unpack_frame(HOSTILE.signature.outputs, answer.frame)[0] == [float(i) for i in range(20) if i != 13]


@pytest.mark.parametrize("act", ["segfault"])
def test_a_row_that_kills_r_is_refused_and_the_others_are_answered(pod: Scorer, act: str) -> None:
    acts = ["ok"] * 6
    acts[2] = act
    answer = pod.infer(HOSTILE, {"x": list(map(float, range(6))), "act": acts}, [1] * 6)
    assert [(e.item, e.code) for e in answer.errors] == [(2, "worker_crashed")]
    assert unpack_frame(HOSTILE.signature.outputs, answer.frame)[0] == [0.0, 1.0, 3.0, 4.0, 5.0]
    assert pod.predict(HOSTILE, x=[1.0], act=["ok"]) == [1.0]


def test_a_model_that_quits_is_an_error_not_a_death(pod: Scorer) -> None:
    ended = pod.metric("scorer_workers_ended_total", cause="died")
    answer = pod.infer(HOSTILE, {"x": [1.0], "act": ["quit"]})
    assert "quit() is off" in answer.errors[0].detail
    assert pod.metric("scorer_workers_ended_total", cause="died") == ended


def test_a_model_that_takes_all_memory_gets_an_error_and_lives(pod: Scorer) -> None:
    answer = pod.infer(HOSTILE, {"x": [1.0], "act": ["allocate"]})
    assert "cannot allocate" in answer.errors[0].detail


def test_a_model_that_floods_stdout_is_answered(pod: Scorer) -> None:
    assert pod.predict(HOSTILE, x=[4.0], act=["stdout"]) == [4.0]


def test_a_hung_prediction_is_killed_and_its_worker_replaced(pod: Scorer) -> None:
    response = pod.infer(HOSTILE, {"x": [1.0], "act": ["hang"]}, X_Deadline_Ms="30000")
    assert [e.code for e in response.errors] == ["overdue"]
    assert "far longer over these rows" in response.errors[0].detail
    assert pod.metric("scorer_workers_ended_total", cause="hung") >= 1
    assert pod.predict(HOSTILE, x=[1.0], act=["ok"]) == [1.0]


def test_a_call_leaves_nothing_behind_in_the_session(pod: Scorer) -> None:
    def session() -> list[str]:
        acts = ["digits", "locale", "tz", "wd", "sinks", "search", "seed"]
        return unpack_frame(INSPECT.signature.outputs, pod.infer(INSPECT, {"what": acts}).frame)[1]  # type: ignore[return-value]

    before = session()
    assert pod.predict(HOSTILE, x=[3.0], act=["session"]) == [3.0]
    [hostile] = [w for w in pod.workers("hostile") if w["state"] == "idle"][:1]
    assert pod.predict(HOSTILE, x=[3.0], act=["ok"]) == [3.0]
    assert session() == before
    assert hostile["pid"] in {w["pid"] for w in pod.workers("hostile")}


def test_a_worker_near_rs_limit_of_open_files_is_replaced(pod: Scorer) -> None:
    before = {worker["pid"] for worker in pod.workers("hostile")}
    pod.predict(HOSTILE, x=[1.0], act=["connections"])
    eventually(lambda: before - {w["pid"] for w in pod.workers("hostile")}, what="a worker was replaced")
    assert pod.predict(HOSTILE, x=[1.0], act=["ok"]) == [1.0]


def test_r_runs_with_the_reference_blas_one_thread_and_no_credential(pod: Scorer) -> None:
    rows = ["blas", "threads", "jit", "environment", "tempdir"]
    answer = unpack_frame(INSPECT.signature.outputs, pod.infer(INSPECT, {"what": rows}).frame)[1]
    state = dict(zip(rows, answer, strict=True))
    assert "/blas/libblas" in str(state["blas"])
    assert (state["threads"], state["jit"]) == ("1", "3")
    assert "SCORER_" not in str(state["environment"])
    assert str(pod.run_dir) in str(state["tempdir"])


# --- workers


def test_a_killed_worker_costs_no_request(pod: Scorer) -> None:
    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(pod.predict, SLOW, seconds=[0.5])
        busy = eventually(lambda: [w for w in pod.workers("slow") if w["state"] == "busy"], what="a busy worker")
        os.kill(busy[0]["pid"], signal.SIGKILL)
        assert call.result() == [0.5]
    assert busy[0]["pid"] not in {w["pid"] for w in pod.workers()}


def test_an_idle_worker_that_answers_no_ping_is_replaced(pod: Scorer) -> None:
    stopped = eventually(lambda: [w for w in pod.workers("inspect") if w["state"] == "idle"], what="an idle worker")[0]
    os.kill(stopped["pid"], signal.SIGSTOP)
    eventually(lambda: stopped["pid"] not in {w["pid"] for w in pod.workers()}, what="it is replaced")
    eventually(lambda: [w for w in pod.workers("inspect") if w["state"] == "idle"], what="another is there")


def test_a_dead_zygote_is_replaced_and_the_version_served_meanwhile(pod: Scorer) -> None:
    [old] = [z["pid"] for z in pod.status()["zygotes"] if z["model"] == "double"]
    failures: list[BaseException] = []
    done = threading.Event()

    def load() -> None:
        while not done.is_set():
            try:
                assert pod.predict(DOUBLE, x=[1.0]) == [2.0]
            except BaseException as error:
                failures.append(error)
                return

    thread = threading.Thread(target=load)
    thread.start()
    try:
        os.kill(old, signal.SIGKILL)
        eventually(
            lambda: [z for z in pod.status()["zygotes"] if z["model"] == "double" and z["pid"] != old],
            what="a new zygote",
        )
    finally:
        done.set()
        thread.join()
    assert failures == []
    assert pod.version("double")["state"] == "ready"
    eventually(
        lambda: old not in [z["pid"] for z in pod.status()["zygotes"]], what="the old one's workers and guard are gone"
    )
    assert pod.predict(DOUBLE, x=[1.0]) == [2.0]


def test_nothing_a_test_did_left_a_dead_child_behind(pod: Scorer) -> None:
    def zombies() -> list[str]:
        names = []
        for task in (f"/proc/{pod.process.pid}/task/{pod.process.pid}/children",):
            with open(task) as file:  # noqa: PTH123 - /proc
                for pid in file.read().split():
                    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
                        if stat.read().rpartition(")")[2].split()[0] == "Z":
                            names.append(pid)
        return names

    eventually(lambda: not zombies(), what="all children were waited for")


def test_probes_and_metrics_need_no_token_and_tell_no_row(pod: Scorer) -> None:
    assert pod.http.get(f"{pod.internal_url}/healthz").json() == {"status": "ok"}
    assert pod.http.get(f"{pod.internal_url}/readyz").json() == {"ready": True, "reasons": []}
    metrics = pod.http.get(f"{pod.internal_url}/metrics").text
    assert 'scorer_workers{model="slow"' in metrics
    assert "poisoned" not in metrics + pod.log.read_text()
