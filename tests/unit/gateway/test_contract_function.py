"""Functions: calls of named inputs read into a frame and its outputs written, by `/v1` and `/v2`, every type and length."""

from __future__ import annotations

import json
import math
import struct
from array import array
from typing import Any

import pytest

from gateway.core.catalogue import build_index
from gateway.core.contract import Contract, compile_contract, v2_model_metadata
from gateway.core.contract.catalogue_form import model_form
from gateway.core.contract.tokens import Steps
from gateway.core.openapi import openapi_document
from shared.catalogue import Catalogue, VersionEntry
from shared.errors import InvalidDataError, MalformedRequestError, PayloadTooLargeError
from shared.signature import Field, Signature, Type
from shared.wire import NA_REAL, Frame, WireError, pack_call, unpack_frame
from tests.unit.gateway.contract_cases import encode_v1, encode_v2, entry, parse, parse_v2

INPUTS = (
    Field(name="principal", type=Type.DOUBLE),
    Field(name="rate", type=Type.DOUBLE, vector=True, nullable=True),
    Field(name="years", type=Type.INTEGER),
    Field(name="tags", type=Type.STRING, vector=True, nullable=True),
    Field(name="kind", type=Type.FACTOR, levels=("a", "b")),
    Field(name="kinds", type=Type.FACTOR, levels=("a", "b"), vector=True),
    Field(name="ok", type=Type.LOGICAL, vector=True),
    Field(name="start", type=Type.DATE, nullable=True),
    Field(name="at", type=Type.DATETIME, vector=True),
    Field(name="note", type=Type.STRING),
)
CALL: dict[str, Any] = {
    "principal": 1000,
    "rate": [0.1, None, -0.0],
    "years": 2,
    "tags": ["é", None, "", "x:y"],
    "kind": "b",
    "kinds": ["b", "a"],
    "ok": [],
    "start": None,
    "at": ["1970-01-02T00:00:00Z"],
    "note": "n",
}
VALUES = [[1000.0], [0.1, None, -0.0], [2], ["é", None, "", "x:y"], ["b"], ["b", "a"], [], [None], [86400.0], ["n"]]
OUTPUTS = tuple(Field(name=f.name, type=f.type, levels=f.levels, vector=f.vector, nullable=True) for f in INPUTS)


def function(max_rows: int = 1000, **more: Any) -> Contract:
    return compile_contract(entry(INPUTS, OUTPUTS, kind="function", batchable=False, **more), max_rows)


def body(**changes: Any) -> bytes:
    return json.dumps({"inputs": {name: v for name, v in (CALL | changes).items() if v is not ...}}).encode()


def numbers(frame: Frame) -> list[list[Any]]:
    return [[None if v != v else v for v in column] for column in unpack_frame(INPUTS, frame)]  # noqa: PLR0124 - NaN


def problems(raw: bytes) -> list[tuple[str, str]]:
    with pytest.raises(InvalidDataError) as caught:
        parse(function(), raw)
    return [(found["pointer"], found["code"]) for found in caught.value.problems]


def test_a_call_is_one_row_with_each_vector_at_its_own_length() -> None:
    frame = parse(function(), body())
    assert frame == pack_call(INPUTS, VALUES)
    assert frame.rows == 1
    assert numbers(frame) == VALUES
    assert math.copysign(1, unpack_frame(INPUTS, frame)[1][2]) == -1  # type: ignore[arg-type]


def test_a_call_costs_as_many_rows_as_its_longest_input_has_values_and_at_least_one() -> None:
    contract = function()
    assert contract.cost_rows(parse(contract, body())) == 4
    assert contract.cost_rows(parse(contract, body(rate=[], tags=[], kinds=[], at=[]))) == 1


def test_a_function_without_inputs_takes_an_empty_object() -> None:
    contract = compile_contract(entry((), OUTPUTS[:1], kind="function"), 10)
    frame = parse(contract, b'{"inputs":{}}')
    assert frame == Frame(1, ())
    assert contract.cost_rows(frame) == 1


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"years": ...}, [("/inputs/years", "missing_column")]),
        ({"yers": 3}, [("/inputs/yers", "unknown_column")]),
        ({"rate": 0.1}, [("/inputs/rate", "wrong_type")]),
        ({"years": [2]}, [("/inputs/years", "wrong_type")]),
        ({"years": 2.5}, [("/inputs/years", "not_integral")]),
        ({"principal": None}, [("/inputs/principal", "not_nullable")]),
        ({"kinds": ["a", "c"]}, [("/inputs/kinds/1", "unknown_level")]),
        ({"rate": [1, "2", {"x": [1]}]}, [("/inputs/rate/1", "wrong_type"), ("/inputs/rate/2", "wrong_type")]),
        ({"start": "2024-02-30"}, [("/inputs/start", "invalid_date")]),
        ({"note": {"deep": [1, {}]}}, [("/inputs/note", "wrong_type")]),
    ],
)
def test_what_does_not_fit_is_named_by_its_pointer(changes: dict[str, Any], found: list[tuple[str, str]]) -> None:
    assert problems(body(**changes)) == found


@pytest.mark.parametrize("changes", [{"years": [2]}, {"rate": [1.5, [2.5]]}])
def test_an_array_in_the_place_of_one_value_is_told_so(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidDataError) as caught:
        parse(function(), body(**changes))
    (problem,) = caught.value.problems
    assert problem["detail"].endswith("got an array; a single value is wanted here")


def test_rows_and_other_members_are_told_what_a_function_takes() -> None:
    assert problems(b'{"rows":[{"principal":1}]}') == [("/rows", "unknown_member"), ("", "missing_member")]
    assert problems(b'{"inputs":[1]}') == [("/inputs", "wrong_type")]
    assert problems(b"[]")[0] == ("", "wrong_type")
    assert problems(b'{"inputs":{"principal":1,"principal":2}}')[0] == ("/inputs/principal", "duplicate_key")
    with pytest.raises(MalformedRequestError):
        parse(function(), b'{"inputs":{"principal":1')


def test_a_vector_longer_than_the_limit_is_too_large_also_in_v2() -> None:
    with pytest.raises(PayloadTooLargeError, match="more values than the 3"):
        parse(function(3), body(rate=[1, 2, 3, 4]))
    with pytest.raises(PayloadTooLargeError, match="more values than the 3"):
        parse_v2(function(3), v2_body(rate=[1, 2, 3, 4]))


def in_steps(steps: Steps[Any]) -> tuple[int, Any]:
    """How often it paused, and its result."""
    pauses = 0
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return pauses, stop.value
        pauses += 1


def test_a_long_vector_is_read_in_steps() -> None:
    rate = [i / 7 for i in range(100_000)]
    pauses, frame = in_steps(function(1_000_000).parse_steps(body(rate=rate)))
    assert numbers(frame)[1] == rate
    assert pauses > 10


# --- answers

ANSWERED = [
    [0.1],
    [1 / 3, None, math.inf],
    [None],
    ["é", None],
    ["a"],
    ["b", None],
    [True, False, None],
    [19_000.0],
    [],
    [None],
]


def test_an_answer_has_single_values_bare_and_vectors_as_arrays() -> None:
    said = json.loads(encode_v1(function(), pack_call(OUTPUTS, ANSWERED)))
    assert said == {
        "model": "m",
        "version": "1",
        "outputs": {
            "principal": 0.1,
            "rate": [1 / 3, None, None],
            "years": None,
            "tags": ["é", None],
            "kind": "a",
            "kinds": ["b", None],
            "ok": [True, False, None],
            "start": "2022-01-08",
            "at": [],
            "note": None,
        },
    }


def test_a_long_answer_is_written_in_steps_and_whole() -> None:
    values = [*ANSWERED]
    values[1] = [i / 3 for i in range(30_000)]
    pauses, said = in_steps(function().write_v1_steps(pack_call(OUTPUTS, values)))
    assert json.loads(said)["outputs"]["rate"] == values[1]
    assert pauses > len(OUTPUTS)


def test_an_answer_that_is_no_call_is_refused() -> None:
    with pytest.raises(WireError):
        encode_v1(function(), Frame(2, ()))


# --- the Open Inference Protocol


def v2_body(**changes: Any) -> bytes:
    datatypes = {Type.DOUBLE: "FP64", Type.INTEGER: "INT32", Type.LOGICAL: "BOOL"}
    tensors = []
    for field in INPUTS:
        value = (CALL | changes)[field.name]
        data = value if field.vector else [value]
        tensors.append(
            {
                "name": field.name,
                "datatype": datatypes.get(field.type, "BYTES"),
                "shape": [len(data)],
                "data": data,
            }
        )
    return json.dumps({"id": "7", "inputs": tensors}).encode()


def test_v2_takes_one_tensor_per_input_of_its_own_length() -> None:
    contract = function()
    request = parse_v2(contract, v2_body())
    assert request.frame == parse(contract, body())
    said = json.loads(encode_v2(contract, pack_call(OUTPUTS, ANSWERED), request)[1])
    assert [tensor["shape"] for tensor in said["outputs"]] == [[len(values)] for values in ANSWERED]
    assert said["outputs"][1]["data"] == [1 / 3, None, None]


def test_v2_takes_and_gives_binary_tensors_to_the_bit() -> None:
    fields = (
        Field(name="x", type=Type.DOUBLE, vector=True, nullable=True),
        Field(name="s", type=Type.STRING, vector=True),
    )
    contract = compile_contract(entry(fields, fields, kind="function"), 10)
    doubles = struct.pack("<3d", 0.1, math.inf, NA_REAL)
    texts = b"\x01\x00\x00\x00a\x00\x00\x00\x00"
    head = json.dumps(
        {
            "inputs": [
                {"name": "x", "datatype": "FP64", "shape": [3], "parameters": {"binary_data_size": len(doubles)}},
                {"name": "s", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(texts)}},
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    request = parse_v2(contract, head + doubles + texts, len(head))
    assert request.frame.buffers[1] == doubles
    length, answer = encode_v2(contract, request.frame, request)
    assert answer[length:] == doubles + texts


def test_v2_takes_vectors_of_no_values() -> None:
    fields = (Field(name="x", type=Type.INTEGER, vector=True), Field(name="s", type=Type.STRING, vector=True))
    contract = compile_contract(entry(fields, fields, kind="function"), 10)
    head = json.dumps(
        {
            "inputs": [
                {"name": "x", "datatype": "INT32", "shape": [0], "parameters": {"binary_data_size": 0}},
                {"name": "s", "datatype": "BYTES", "shape": [0], "data": []},
            ]
        }
    ).encode()
    assert parse_v2(contract, head, len(head)).frame == pack_call(fields, [[], []])


def test_v2_refuses_shapes_that_are_not_the_inputs() -> None:
    raw = json.loads(v2_body())
    raw["inputs"][0] |= {"shape": [2], "data": [1.0, 2.0]}
    raw["inputs"][1] |= {"shape": [1, 3]}
    with pytest.raises(InvalidDataError) as caught:
        parse_v2(function(), json.dumps(raw).encode())
    assert [p["pointer"] for p in caught.value.problems] == ["/inputs/0/shape", "/inputs/1/shape"]


def test_metadata_tells_single_values_from_vectors() -> None:
    shapes = {t["name"]: t["shape"] for t in v2_model_metadata(function().entry)["inputs"]}
    assert (shapes["principal"], shapes["rate"]) == ([1], [-1])


# --- what is told of it

EXAMPLE = {
    "inputs": {f.name: v for f, v in zip(INPUTS, VALUES, strict=True)},
    "outputs": {f.name: v for f, v in zip(OUTPUTS, ANSWERED, strict=True)} | {"rate": [1 / 3, None, "Inf"]},
}


def described() -> VersionEntry:
    return function(example=EXAMPLE).entry


def test_the_catalogue_shows_a_call_that_can_be_sent_as_it_stands() -> None:
    index = build_index({"pod": Catalogue(pod="pod", workers=1, versions=(described(),))})
    form = model_form(index.models["m"])
    assert form["signature"]["kind"] == "function"
    assert form["signature"]["inputs"][1]["vector"] is True
    assert "vector" not in form["signature"]["inputs"][0]
    sent = form["example"]["request"]
    assert parse(function(), json.dumps(sent).encode()) == pack_call(INPUTS, VALUES)
    assert form["example"]["response"] == json.loads(encode_v1(function(), pack_call(OUTPUTS, ANSWERED)))


def test_openapi_describes_inputs_and_outputs() -> None:
    index = build_index({"pod": Catalogue(pod="pod", workers=1, versions=(described(),))})
    path = openapi_document(index.models.values())["paths"]["/v1/models/m/score"]["post"]
    content = path["requestBody"]["content"]["application/json"]
    inputs = content["schema"]["properties"]["inputs"]
    assert inputs["required"] == list(CALL)
    assert inputs["properties"]["rate"]["items"]["type"] == ["number", "null"]
    assert inputs["properties"]["years"]["type"] == "integer"
    assert content["examples"]["inputs"]["value"]["inputs"]["tags"] == CALL["tags"]
    answer = path["responses"]["200"]["content"]["application/json"]
    assert answer["schema"]["properties"]["outputs"]["properties"]["at"]["type"] == "array"
    assert answer["example"]["outputs"]["kind"] == "a"


def test_a_version_with_another_shape_of_input_does_not_take_over_silently() -> None:
    one = Signature(inputs=INPUTS[:1], outputs=OUTPUTS[:1], kind="function")
    other = Signature(
        inputs=(Field(name="principal", type=Type.DOUBLE, vector=True),), outputs=OUTPUTS[:1], kind="function"
    )
    assert one.takes_all_that(one)
    assert not other.takes_all_that(one)
    assert not Signature(inputs=INPUTS[:1], outputs=OUTPUTS[:1]).takes_all_that(one)


def test_sizes_fill_one_call_only() -> None:
    assert array("i", pack_call(INPUTS[1:2], [[1.0, 2.0]]).buffers[0]).tolist() == [2]
