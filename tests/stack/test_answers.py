"""The answer is R's answer: what predict() gives in a separate R session on the published .rds, by every way in, to the bit."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import np_to_triton_dtype

from tests.stack.conftest import Stack
from tests.stack.stack import rscript

HERE = Path(__file__).parent
MODELS = ("boston-housing", "iris-species", "cars-interval", "credit-default")
Columns = dict[str, list[Any]]


@pytest.fixture(scope="session")
def rows(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Columns]:
    """For each example some rows of data as R has them, every number with 17 digits."""
    folder = tmp_path_factory.mktemp("rows")
    found = {}
    for model in MODELS:
        out = folder / f"{model}.json"
        rscript(HERE / "independent.R", "rows", model, stack.published(model)[1], out)
        found[model] = json.loads(out.read_text())
    return found


@pytest.fixture(scope="session")
def http(stack: Stack) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {stack.token()}"}
    with httpx.Client(base_url=stack.gateway_url, headers=headers, timeout=60, trust_env=False) as client:
        yield client


def identical(stack: Stack, model: str, got: Columns, folder: Path) -> str:
    """What R's identical() says of received columns, doubles as the hexadecimal digits of their bits."""
    file = folder / "got.json"
    file.write_text(json.dumps({name: [_bits(v) for v in column] for name, column in got.items()}))
    return rscript(HERE / "independent.R", "identical", model, stack.published(model)[1], file).strip()


def _bits(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else struct.pack(">d", value).hex()
    return value


def predictions(answer: httpx.Response) -> Columns:
    assert answer.status_code == 200, answer.text
    found = answer.json()["predictions"]
    if isinstance(found[0], dict):
        return {name: [_number(row[name]) for row in found] for name in found[0]}
    return {"prediction": [_number(value) for value in found]}


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@pytest.mark.parametrize("model", MODELS)
def test_v1_rows(stack: Stack, http: httpx.Client, rows: dict[str, Columns], model: str, tmp_path: Path) -> None:
    columns = rows[model]
    as_rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    got = predictions(http.post(f"/v1/models/{model}/score", json={"rows": as_rows}))
    assert identical(stack, model, got, tmp_path).startswith("identical")


@pytest.mark.parametrize("model", MODELS)
def test_v1_columns(stack: Stack, http: httpx.Client, rows: dict[str, Columns], model: str, tmp_path: Path) -> None:
    got = predictions(http.post(f"/v1/models/{model}/score", json={"columns": rows[model]}))
    assert identical(stack, model, got, tmp_path).startswith("identical")


@pytest.mark.parametrize("model", MODELS)
def test_v2_json(stack: Stack, http: httpx.Client, rows: dict[str, Columns], model: str, tmp_path: Path) -> None:
    datatypes = {t["name"]: t["datatype"] for t in http.get(f"/v2/models/{model}").json()["inputs"]}
    inputs = [
        {"name": name, "datatype": datatypes[name], "shape": [len(values)], "data": values}
        for name, values in rows[model].items()
    ]
    answer = http.post(f"/v2/models/{model}/infer", json={"id": "x1", "inputs": inputs})
    assert answer.status_code == 200, answer.text
    assert answer.json()["id"] == "x1"
    got = {t["name"]: [_number(v) for v in t["data"]] for t in answer.json()["outputs"]}
    assert identical(stack, model, got, tmp_path).startswith("identical")


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("model", MODELS)
def test_tritonclient_lists_describes_and_infers(
    stack: Stack, rows: dict[str, Columns], model: str, binary: bool, tmp_path: Path
) -> None:
    headers = {"Authorization": f"Bearer {stack.token()}"}
    with triton.InferenceServerClient(stack.gateway_url.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(model, headers=headers)
        assert "binary_tensor_data" in client.get_server_metadata(headers=headers)["extensions"]
        assert model in {m["name"] for m in client.get_model_repository_index(headers=headers)}
        metadata = client.get_model_metadata(model, headers=headers)
        inputs = []
        for tensor in metadata["inputs"]:
            inputs += _triton_inputs(tensor, rows[model][tensor["name"]], binary=binary)
        outputs = [triton.InferRequestedOutput(o["name"], binary_data=binary) for o in metadata["outputs"]]
        result = client.infer(model, inputs, outputs=outputs, headers=headers)
    got = {}
    for output in metadata["outputs"]:
        values = result.as_numpy(output["name"])
        assert values is not None
        got[output["name"]] = [v.decode() if isinstance(v, bytes) else v for v in values.tolist()]
    assert identical(stack, model, got, tmp_path).startswith("identical")


def _triton_inputs(tensor: dict[str, Any], values: list[Any], *, binary: bool) -> list[triton.InferInput]:
    kind = {"FP64": np.float64, "INT32": np.int32, "BOOL": np.bool_, "BYTES": np.object_}[tensor["datatype"]]
    missing = [i for i, v in enumerate(values) if v is None]
    if tensor["datatype"] == "BYTES":
        data = np.array(["" if v is None else str(v) for v in values], dtype=kind)
    elif tensor["datatype"] == "INT32":
        data = np.array([-(2**31) if v is None else int(v) for v in values], dtype=kind)
    else:
        data = np.array([math.nan if v is None else v for v in values], dtype=kind)
    if missing and tensor["datatype"] in ("FP64", "BYTES"):
        binary = True  # this client cannot write null in JSON
    made = triton.InferInput(tensor["name"], list(data.shape), np_to_triton_dtype(data.dtype) or "BYTES")
    made.set_data_from_numpy(data, binary_data=binary)
    inputs = [made]
    if missing and tensor["datatype"] == "BYTES":
        places = np.array(missing, dtype=np.int32)
        where = triton.InferInput(f"__na.{tensor['name']}", list(places.shape), "INT32")
        where.set_data_from_numpy(places, binary_data=binary)
        inputs.append(where)
    return inputs


def test_the_credit_rows_hold_every_type_and_missing_values(rows: dict[str, Columns]) -> None:
    columns = rows["credit-default"]
    assert any(None in values for values in columns.values())
    kinds = {type(v) for values in columns.values() for v in values}
    assert {bool, str} <= kinds
    assert date.fromisoformat(columns["opened"][0])


def test_one_row_at_a_time_gives_the_same_as_all_at_once(http: httpx.Client, rows: dict[str, Columns]) -> None:
    for model in MODELS:
        columns = rows[model]
        whole = http.post(f"/v1/models/{model}/score", json={"columns": columns}).json()["predictions"]
        for index, expected in enumerate(whole):
            one = {name: [values[index]] for name, values in columns.items()}
            assert http.post(f"/v1/models/{model}/score", json={"columns": one}).json()["predictions"] == [expected]
