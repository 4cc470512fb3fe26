"""A client written by others: `tritonclient` builds the requests and reads the answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult

from gateway.core.contract import Contract, v2_model_metadata, v2_server_metadata
from shared.wire import NA_REAL, pack_frame
from tests.unit.gateway.contract_cases import FIELDS, contract, encode_v2, entry, parse_v2, values

DATATYPES = {
    "float64": "FP64",
    "float32": "FP32",
    "int32": "INT32",
    "int64": "INT64",
    "bool": "BOOL",
    "object": "BYTES",
}
SENT: dict[str, Any] = {
    "age": np.array([41.5, 0.1]),
    "kids": np.array([2, 0], dtype=np.int32),
    "owner": np.array([True, False]),
    "job": np.array(["a:b", "clerk"], dtype=object),
    "note:1": np.array(["é ,}", ""], dtype=object),
    "born": np.array(["1983-02-28", "1969-12-31"], dtype=object),
    "seen": np.array(["1970-01-01T00:00:01Z", "2024-02-29T12:00:00.25+01:00"], dtype=object),
}
TAKEN = [
    [41.5, 0.1], [2, 0], [True, False], ["a:b", "clerk"], ["é ,}", ""], [4806.0, -1.0], [1.0, 1709204400.25],
]  # fmt: skip


def request_body(
    data: dict[str, Any], *, binary: bool, shape: tuple[int, ...] = (), **more: Any
) -> tuple[bytes, int | None]:
    inputs = []
    for name, array in data.items():
        shaped = array.reshape(shape) if shape else array
        tensor = InferInput(name, list(shaped.shape), DATATYPES[str(array.dtype)])
        tensor.set_data_from_numpy(shaped, binary_data=binary)
        inputs.append(tensor)
    body, length = InferenceServerClient.generate_request_body(inputs, **more)
    return (body if isinstance(body, bytes) else body.encode()), length


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("shape", [(), (2, 1)])
def test_what_it_sends_is_taken(binary: bool, shape: tuple[int, ...]) -> None:
    request = parse_v2(contract(), *request_body(SENT, binary=binary, shape=shape, request_id="7"))
    assert values(FIELDS, request.frame) == TAKEN
    assert request.id == "7"


@pytest.mark.parametrize("binary", [True, False])
def test_other_number_types_are_taken_where_nothing_is_lost(binary: bool) -> None:
    other = SENT | {"age": np.array([41, 7], dtype=np.int64), "kids": np.array([2, 0], dtype=np.int64)}
    taken = values(FIELDS, parse_v2(contract(), *request_body(other, binary=binary)).frame)
    assert taken[:2] == [[41.0, 7.0], [2, 0]]
    single = SENT | {"age": np.array([0.1, 2.5], dtype=np.float32)}
    taken = values(FIELDS, parse_v2(contract(), *request_body(single, binary=binary)).frame)
    assert taken[0] == [float(np.float32(0.1)), 2.5]


@pytest.fixture
def echo() -> Contract:
    """Answers with its own columns."""
    return contract(outputs=FIELDS, kind="table")


@pytest.mark.parametrize("binary", [True, False])
def test_it_reads_what_we_answer(echo: Contract, binary: bool) -> None:
    outputs = [InferRequestedOutput(name, binary_data=binary) for name in ("seen", "age", "job", "owner", "kids")]
    request = parse_v2(echo, *request_body(SENT, binary=True, outputs=outputs, request_id="7"))
    length, body = encode_v2(echo, request.frame, request)
    result = InferResult.from_response_body(body, header_length=length)
    reply = result.get_response()
    assert (reply["model_name"], reply["model_version"], reply["id"]) == ("m", "1", "7")
    assert [output["name"] for output in reply["outputs"]] == ["seen", "age", "job", "owner", "kids"]
    assert (length is not None) is binary
    np.testing.assert_array_equal(result.as_numpy("age"), SENT["age"])
    np.testing.assert_array_equal(result.as_numpy("kids"), SENT["kids"])
    np.testing.assert_array_equal(result.as_numpy("owner"), SENT["owner"])
    seen = [t.decode() if isinstance(t, bytes) else t for t in result.as_numpy("seen")]
    assert seen == ["1970-01-01T00:00:01Z", "2024-02-29T11:00:00.25Z"]


def test_without_outputs_it_asks_for_all_in_binary(echo: Contract) -> None:
    request = parse_v2(echo, *request_body(SENT, binary=False))
    length, body = encode_v2(echo, request.frame, request)
    result = InferResult.from_response_body(body, header_length=length)
    assert len(result.get_response()["outputs"]) == len(FIELDS)
    np.testing.assert_array_equal(result.as_numpy("note:1"), np.array(["é ,}".encode(), b""], dtype=object))


def test_missing_values_travel_in_binary(echo: Contract) -> None:
    missing = [[NA_REAL], [None], [True], [None], [None], [4806.0], [NA_REAL]]
    request = parse_v2(echo, *request_body({k: v[:1] for k, v in SENT.items()}, binary=True))
    frame = pack_frame(FIELDS, missing)
    length, body = encode_v2(echo, frame, request)
    result = InferResult.from_response_body(body, header_length=length)
    assert result.as_numpy("age").tobytes() == frame.buffers[0]
    assert result.as_numpy("kids").tolist() == [-(2**31)]
    for name in ("job", "note:1", "seen"):
        assert result.as_numpy(name).tolist() == [b""]
        assert result.as_numpy(f"__na.{name}").tolist() == [0]
    assert "__na.born" not in {output["name"] for output in result.get_response()["outputs"]}


def test_metadata_names_a_datatype_that_is_taken_for_each_column() -> None:
    described = v2_model_metadata(entry(outputs=FIELDS), ["2", "1"])
    assert described["versions"] == ["2", "1"]
    assert [(t["name"], t["datatype"], t["shape"]) for t in described["inputs"]] == [
        ("age", "FP64", [-1]), ("kids", "INT32", [-1]), ("owner", "BOOL", [-1]), ("job", "BYTES", [-1]),
        ("note:1", "BYTES", [-1]), ("born", "BYTES", [-1]), ("seen", "BYTES", [-1]),
    ]  # fmt: skip
    assert described["inputs"][3]["parameters"]["levels"] == ("clerk", "a:b", "none")
    assert "binary_tensor_data" in v2_server_metadata()["extensions"]
