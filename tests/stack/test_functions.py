"""Functions through the real gateway: R's own answer to the bit by every way in, each caller its own, and clear refusals."""

from __future__ import annotations

import concurrent.futures
import json
import math
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import np_to_triton_dtype

from client import Client, DataError, InvalidDataError, StaticToken
from devkit import r
from gateway.core.contract.civil import parse_date, parse_datetime
from shared.wire import NA_REAL
from tests.stack.conftest import publish
from tests.stack.stack import ROOT, Stack, rscript

HERE = Path(__file__).parent
DATES, TIMES = {"d", "ds"}, {"t", "ts"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with the function of every type, the example of a loan, and a model beside them."""
    folder = tmp_path_factory.mktemp("functions")
    publish(folder / "store", ROOT / "tests" / "models" / "calls" / "train.R")
    publish(folder / "store", ROOT / "examples" / "models" / "loan-schedule" / "train.R")
    publish(folder / "store", ROOT / "tests" / "models" / "echo" / "train.R")
    running = Stack.up("--store", (folder / "store").as_uri())
    yield running
    running.close()


@pytest.fixture(scope="module")
def http(stack: Stack) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {stack.token()}"}
    with httpx.Client(base_url=stack.gateway_url, headers=headers, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def own(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Inputs, and what R answers in a session of its own."""
    out = tmp_path_factory.mktemp("own") / "own.json"
    rscript(HERE / "independent_call.R", stack.published("calls")[1], out)
    found: dict[str, dict[str, Any]] = json.loads(out.read_text(encoding="utf-8"))
    return found


def bits(name: str, value: Any, expected: Any) -> Any:
    """A value that came, in the form R's own answer has; a missing double has the bits that R gave it."""
    if name in DATES and value is not None:
        value = float(parse_date(value))
    if name in TIMES and value is not None:
        value = parse_datetime(value)
    if not isinstance(expected, str) or name in {"s", "ss", "f", "fs"}:
        return value
    if value is None:
        number = struct.unpack(">d", bytes.fromhex(expected))[0]
        return expected if not math.isfinite(number) else None  # JSON has one null for NA, NaN and infinities
    return struct.pack(">d", value).hex()


def same(outputs: dict[str, list[Any]], own: dict[str, Any]) -> None:
    assert outputs.keys() == own["outputs"].keys()
    for name, expected in own["outputs"].items():
        assert len(outputs[name]) == len(expected), name
        assert [bits(name, v, e) for v, e in zip(outputs[name], expected, strict=True)] == expected, name


def test_v1_answers_what_r_answers(http: httpx.Client, own: dict[str, Any]) -> None:
    answer = http.post("/v1/models/calls/score", json={"inputs": own["inputs"]})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["model"], body["version"]) == ("calls", "1")
    vectors = {f["name"] for f in http.get("/v1/models/calls").json()["signature"]["outputs"] if f.get("vector")}
    assert {name for name, value in body["outputs"].items() if isinstance(value, list)} == vectors
    same({name: v if name in vectors else [v] for name, v in body["outputs"].items()}, own)


def test_v2_json_answers_what_r_answers(http: httpx.Client, own: dict[str, Any]) -> None:
    inputs = []
    for tensor in http.get("/v2/models/calls").json()["inputs"]:
        value = own["inputs"][tensor["name"]]
        data = value if isinstance(value, list) else [value]
        assert tensor["shape"] == ([-1] if isinstance(value, list) else [1])
        inputs.append({"name": tensor["name"], "datatype": tensor["datatype"], "shape": [len(data)], "data": data})
    answer = http.post("/v2/models/calls/infer", json={"inputs": inputs})
    assert answer.status_code == 200, answer.text
    tensors = {t["name"]: t for t in answer.json()["outputs"]}
    assert all(t["shape"] == [len(t["data"])] for t in tensors.values())
    same({name: _logical(name, t["data"]) for name, t in tensors.items()}, own)


def _logical(name: str, values: list[Any]) -> list[Any]:
    return [None if v is None else bool(v) for v in values] if name in {"l", "ls"} else values


def test_tritonclient_gets_what_r_answers_to_the_last_bit_of_every_missing_value(
    stack: Stack, own: dict[str, Any]
) -> None:
    headers = {"Authorization": f"Bearer {stack.token()}"}
    with triton.InferenceServerClient(stack.gateway_url.removeprefix("http://")) as client:
        assert client.is_model_ready("calls", headers=headers)
        metadata = client.get_model_metadata("calls", headers=headers)
        inputs = [made for tensor in metadata["inputs"] for made in _tensors(tensor, own["inputs"][tensor["name"]])]
        asked = [triton.InferRequestedOutput(o["name"], binary_data=True) for o in metadata["outputs"]]
        result = client.infer("calls", inputs, outputs=asked, headers=headers)
    for output in metadata["outputs"]:
        name, expected = output["name"], own["outputs"][output["name"]]
        values = result.as_numpy(name)
        assert values is not None
        if output["datatype"] == "FP64":
            assert [v.tobytes()[::-1].hex() for v in values] == expected, name
            continue
        gone = result.as_numpy(f"__na.{name}")
        found = [v.decode() if isinstance(v, bytes) else v for v in values.tolist()]
        for place in [] if gone is None else gone.tolist():
            found[place] = None
        found = [None if v == -(2**31) else v for v in found]
        if name in DATES | TIMES:
            missing = ["NA" if v is None else bits(name, v, e) for v, e in zip(found, expected, strict=True)]
            assert missing == ["NA" if math.isnan(struct.unpack(">d", bytes.fromhex(e))[0]) else e for e in expected]
        else:
            assert _logical(name, found) == expected, name


def _tensors(tensor: dict[str, Any], value: Any) -> list[triton.InferInput]:
    values = value if isinstance(value, list) else [value]
    kind = {"FP64": np.float64, "INT32": np.int32, "BOOL": np.bool_, "BYTES": np.object_}[tensor["datatype"]]
    instead = {"FP64": NA_REAL, "INT32": -(2**31), "BOOL": False, "BYTES": ""}[tensor["datatype"]]
    data = np.array([instead if v is None else v for v in values], dtype=kind)
    made = [triton.InferInput(tensor["name"], list(data.shape), np_to_triton_dtype(data.dtype) or "BYTES")]
    made[0].set_data_from_numpy(data, binary_data=True)
    places = np.array([i for i, v in enumerate(values) if v is None], dtype=np.int32)
    if tensor["datatype"] == "BYTES" and len(places):
        made.append(triton.InferInput(f"__na.{tensor['name']}", list(places.shape), "INT32"))
        made[1].set_data_from_numpy(places, binary_data=True)
    return made


def test_concurrent_callers_each_get_their_own(http: httpx.Client, own: dict[str, Any]) -> None:
    """Beside rows of a model, which are merged meanwhile; a slow call among them."""

    def call(number: int) -> tuple[int, Any]:
        inputs = own["inputs"] | {"x": number, "xs": [number] * (number % 7), "act": "nap" if number % 40 == 0 else ""}
        answer = http.post("/v1/models/calls/score", json={"inputs": inputs})
        assert answer.status_code == 200, answer.text
        return number, answer.json()["outputs"]

    def row(number: int) -> tuple[int, Any]:
        answer = http.post("/v1/models/echo/score", json={"rows": [{"marker": number, "sleep_ms": 0}]})
        return number, answer.json()["predictions"]

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        rows, calls = pool.map(row, range(100)), pool.map(call, range(200))
        for number, outputs in calls:
            assert outputs["x"] == math.sqrt(number) * math.pi
            assert outputs["count"] == number % 7
            assert outputs["xs"] == [number / 3] * (number % 7) + [None, None, None, -0.0]
        assert all(predictions == [number] for number, predictions in rows)


@pytest.mark.parametrize(
    ("changes", "pointers"),
    [
        ({"x": "1"}, ["/inputs/x"]),
        ({"xs": [1, "2", 3, None, "x"]}, ["/inputs/xs/1", "/inputs/xs/4"]),
        ({"xs": 1}, ["/inputs/xs"]),
        ({"i": [1]}, ["/inputs/i"]),
        ({"fs": ["low", "lo"]}, ["/inputs/fs/1"]),
        ({"y": 1}, ["/inputs/y"]),
    ],
)
def test_bad_inputs_are_named_before_r(
    http: httpx.Client, own: dict[str, Any], changes: dict[str, Any], pointers: list[str]
) -> None:
    answer = http.post("/v1/models/calls/score", json={"inputs": own["inputs"] | changes})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_data")
    assert [problem["pointer"] for problem in answer.json()["problems"]] == pointers


def test_a_missing_input_and_rows_are_refused_with_what_to_send(http: httpx.Client, own: dict[str, Any]) -> None:
    less = {name: value for name, value in own["inputs"].items() if name != "ts"}
    answer = http.post("/v1/models/calls/score", json={"inputs": less}).json()
    assert [(p["pointer"], p["code"]) for p in answer["problems"]] == [("/inputs/ts", "missing_column")]
    answer = http.post("/v1/models/calls/score", json={"rows": [own["inputs"]]}).json()
    assert '{"inputs":{…}}' in answer["problems"][0]["detail"]


@pytest.mark.parametrize(
    ("act", "code", "says"),
    [
        ("error", "prediction_failed", "the function refuses 2"),
        ("names", "prediction_failed", "where its outputs are"),
        ("type", "prediction_failed", "where its outputs are"),
        ("length", "prediction_failed", "2 values of x, which is a single double"),
    ],
)
def test_what_r_says_reaches_the_one_caller(
    http: httpx.Client, own: dict[str, Any], act: str, code: str, says: str
) -> None:
    answer = http.post("/v1/models/calls/score", json={"inputs": own["inputs"] | {"x": 2, "act": act}})
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert says in answer.json()["detail"]


def test_a_function_that_kills_r_is_refused_and_the_next_call_is_answered(
    http: httpx.Client, own: dict[str, Any]
) -> None:
    answer = http.post("/v1/models/calls/score", json={"inputs": own["inputs"] | {"act": "die"}})
    assert answer.json()["code"] == "worker_crashed", answer.text
    assert http.post("/v1/models/calls/score", json={"inputs": own["inputs"]}).status_code == 200


def test_the_example_that_is_shown_is_answered_as_shown(http: httpx.Client) -> None:
    described = http.get("/v1/models/loan-schedule").json()
    assert described["signature"]["kind"] == "function"
    assert described["batchable"] is False
    example = described["example"]
    answer = http.post("/v1/models/loan-schedule/score", json=example["request"])
    assert answer.json() == example["response"]
    assert len(answer.json()["outputs"]["payment"]) == 24
    shown = http.get("/openapi.json").json()["paths"]["/v1/models/loan-schedule/score"]["post"]
    assert shown["requestBody"]["content"]["application/json"]["examples"]["inputs"]["value"] == example["request"]


LOAN = {"principal": 1000, "rate": [0.05, 0.07], "years": 2, "start": "2025-02-01"}


def test_the_python_client_and_the_command_give_the_same_outputs(
    stack: Stack, http: httpx.Client, tmp_path: Path
) -> None:
    expected = http.post("/v1/models/loan-schedule/score", json={"inputs": LOAN}).json()
    with Client(stack.gateway_url, credential=StaticToken(stack.token())) as client:
        answer = client.call("loan-schedule", LOAN | {"rate": np.array(LOAN["rate"])})
        assert (answer.version, answer.outputs) == (expected["version"], expected["outputs"])
        assert client.model("loan-schedule").signature.inputs[1].vector
        with pytest.raises(DataError, match="is a function and takes inputs"):
            client.score_binary("loan-schedule", [LOAN])
        with pytest.raises(InvalidDataError, match="does not fit function loan-schedule"):
            client.score("loan-schedule", [{"principal": 1000}])
    file = tmp_path / "loan.json"
    file.write_text(json.dumps({"inputs": LOAN}))
    assert json.loads(scoregate("score", "loan-schedule", "--data", str(file), "--stack", stack.name)) == expected
    rows = tmp_path / "rows.csv"
    rows.write_text("principal\n1000\n")
    says = scoregate("score", "loan-schedule", "--data", str(rows), "--stack", stack.name, code=2)
    assert "is a function" in says
    says = scoregate("verify", "loan-schedule", str(rows), "--stack", stack.name, code=2)
    assert "is a function" in says
    says = scoregate("capacity", "--model", "loan-schedule", "--stack", stack.name, code=2)
    assert "is a function" in says
    same = scoregate("diff", "loan-schedule", "1", "1", "--stack", stack.name)
    assert "inputs and outputs are the same" in same


def scoregate(*arguments: str, code: int = 0) -> str:
    """All that the command says; fails unless it exits with `code`."""
    done = subprocess.run(
        [sys.executable, "-m", "client", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + (done.stderr if code else "")


def test_score_in_r_gives_what_the_function_gives(stack: Stack) -> None:
    code = f"""
        fun <- readRDS("{stack.published("loan-schedule")[1]}")$run_function
        inputs <- list(principal = 1000, rate = c(0.05, 0.07), years = 2L, start = as.Date("2025-02-01"))
        got <- scoregate::score("{stack.gateway_url}", inputs, Sys.getenv("TOKEN"), "loan-schedule")
        cat(identical(got, do.call(fun, inputs)))
    """
    env = os.environ | r.environment() | {"TOKEN": stack.token()}
    assert rscript("-e", code, env=env).strip() == "TRUE"


def test_a_function_in_a_file_is_no_model_to_package_and_the_command_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "f.R").write_text("run_function <- function(x) x\n")
    (tmp_path / "rows.csv").write_text("x\n1\n")
    subprocess.run(
        ["Rscript", "--vanilla", "-e", f'saveRDS(function(x) x, "{tmp_path}/f.rds")'],
        env=os.environ | r.environment(),
        check=True,
    )
    for file in ("f.R", "f.rds"):
        arguments = (
            "package",
            str(tmp_path / file),
            "--sample",
            str(tmp_path / "rows.csv"),
            "--out",
            str(tmp_path / "o"),
        )
        says = scoregate(*arguments, code=2)
        assert "package_function()" in says
        assert not (tmp_path / "o").exists()
