"""Functions between the services: a call on the wire, in a manifest, in the self-test at load, and in the client."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from client.calls import call_body
from client.changes import signature_changes
from client.csvdata import read_inputs
from client.errors import DataError
from scorer.core.manifest import ManifestError, example_frames, parse_manifest
from scorer.core.self_test import reproduces
from shared.frames import cut, join
from shared.messages import ItemError, decode_request, decode_response, encode_request, encode_response
from shared.signature import Field, Signature, Type
from shared.wire import Frame, WireError, call_values, pack_call, tensor_specs, unpack_frame

FIELDS = (
    Field(name="x", type=Type.DOUBLE),
    Field(name="xs", type=Type.DOUBLE, vector=True),
    Field(name="ss", type=Type.STRING, vector=True),
    Field(name="i", type=Type.INTEGER, vector=True),
    Field(name="s", type=Type.STRING),
)
SPECS = tensor_specs(FIELDS)
VALUES: list[list[Any]] = [[0.5], [1.0, -0.0, 3.0], ["é", None], [], ["t"]]
CALL = pack_call(FIELDS, VALUES)


def as_bytes(frame: Frame) -> list[bytes]:
    return [bytes(buffer) for buffer in frame.buffers]


def test_a_call_comes_over_the_wire_as_it_was_packed() -> None:
    head, body = encode_request(SPECS, CALL, [1])
    frame, items = decode_request(SPECS, body, head)
    assert (frame.rows, items, as_bytes(frame)) == (1, [1], as_bytes(CALL))
    assert unpack_frame(FIELDS, frame) == VALUES
    head, body = encode_response("m", "1", SPECS, CALL, [1])
    assert as_bytes(decode_response(SPECS, body, head).frame) == as_bytes(CALL)


def test_an_answer_without_an_item_has_no_vectors() -> None:
    empty = Frame(0, tuple(b"" for _ in SPECS))
    head, body = encode_response("m", "1", SPECS, empty, [0], [ItemError(0, "prediction_failed", "no")])
    assert decode_response(SPECS, body, head).errors[0].detail == "no"


def test_two_calls_with_vectors_never_share_a_frame() -> None:
    two = Frame(2, tuple(b + b for b in as_bytes(CALL)))
    head, body = encode_request(SPECS, two, [1, 1])
    with pytest.raises(WireError, match="one by one"):
        decode_request(SPECS, body, head)


@pytest.mark.parametrize("size", [2, 4, -1])
def test_sizes_that_are_not_the_values_are_refused(size: int) -> None:
    buffers = [*as_bytes(CALL)]
    buffers[1] = size.to_bytes(4, "little", signed=True)
    head, body = encode_request(SPECS, Frame(1, tuple(buffers)), [1])
    with pytest.raises(WireError):
        decode_request(SPECS, body, head)
    with pytest.raises(WireError):
        cut(SPECS, 1, b"".join(buffers))


def test_a_workers_bytes_are_cut_as_they_were_joined() -> None:
    assert as_bytes(cut(SPECS, 1, join(CALL))) == as_bytes(CALL)
    with pytest.raises(WireError):
        cut(SPECS, 1, join(CALL) + b"x")


def test_a_single_value_is_one_value() -> None:
    with pytest.raises(WireError, match="2 values, not one"):
        pack_call(FIELDS[:1], [[1.0, 2.0]])
    with pytest.raises(WireError, match="not one call"):
        call_values(FIELDS, Frame(1, ()))


# --- the manifest and the self-test


def manifest(**changes: Any) -> bytes:
    signature = {
        "inputs": [{"name": "x", "type": "double", "vector": True}],
        "outputs": [{"name": "y", "type": "double", "vector": True}, {"name": "n", "type": "integer"}],
        "kind": "function",
    }
    content = {
        "format": "scoregate.model/1",
        "name": "f",
        "version": "1",
        "files": {"model.rds": {"sha256": "a" * 64, "size": 1}},
        "predict": {"method": "function"},
        "signature": signature,
        "batchable": False,
        "example": {"inputs": {"x": [1, 2, 3]}, "outputs": {"y": [0.5], "n": [3]}},
    }
    return json.dumps(content | changes).encode()


def test_the_example_of_a_function_is_one_call_of_its_own_lengths() -> None:
    inputs, outputs = example_frames(parse_manifest(manifest(), "f", "1"))
    assert (inputs.rows, outputs.rows) == (1, 1)
    assert unpack_frame(parse_manifest(manifest(), "f", "1").signature.inputs, inputs) == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batchable": True}, "not batchable"),
        (
            {
                "signature": {
                    "inputs": [{"name": "x", "type": "double", "vector": True}],
                    "outputs": [{"name": "y", "type": "double"}],
                }
            },
            "only a function's",
        ),
    ],
)
def test_a_manifest_that_is_half_a_function_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ManifestError, match=says):
        parse_manifest(manifest(**changes), "f", "1")


def test_an_example_with_two_single_values_is_refused() -> None:
    raw = manifest(example={"inputs": {"x": []}, "outputs": {"y": [], "n": [1, 2]}})
    with pytest.raises(ManifestError, match="2 values, not one"):
        example_frames(parse_manifest(raw, "f", "1"))


def test_the_self_test_sees_another_length_and_another_value() -> None:
    fields = FIELDS[1:2]
    old = pack_call(fields, [[1.0, 2.0]])
    assert reproduces(fields, old, pack_call(fields, [[1.0, 2.0]])).reproduced
    assert reproduces(fields, old, pack_call(fields, [[1.0, 2.0 + 1e-12]])).close
    longer = reproduces(fields, old, pack_call(fields, [[1.0, 2.0, 3.0]]))
    assert "had 2 values when packaged and has 3 here" in (longer.reason or "")
    other = reproduces(fields, old, pack_call(fields, [[1.0, 5.0]]))
    assert "xs in value 2 of the example was 2.0" in (other.reason or "")


# --- the client


def test_lists_and_arrays_are_vectors_and_anything_else_a_single_value() -> None:
    inputs = {"a": 1, "b": [1], "c": np.array([0.1, math.nan]), "d": np.float64(2.5), "e": "text", "f": np.array(3)}
    assert json.loads(call_body(inputs)) == {
        "inputs": {"a": 1, "b": [1], "c": [0.1, None], "d": 2.5, "e": "text", "f": 3}
    }


@pytest.mark.parametrize("value", [math.inf, [1.0, -math.inf], {"deep": 1}, object()])
def test_what_has_no_json_is_refused_before_it_is_sent(value: Any) -> None:
    with pytest.raises(DataError):
        call_body({"x": value})


@pytest.mark.parametrize(
    ("text", "inputs"),
    [('{"inputs":{"x":1}}', {"x": 1}), ('{"inputs":[1]}', None), ('{"rows":[]}', None), ("[", None)],
)
def test_the_command_knows_a_call_from_rows(text: str, inputs: Any) -> None:
    assert read_inputs(text) == inputs


def test_a_change_of_shape_is_said() -> None:
    old = Signature(inputs=FIELDS[:1], outputs=FIELDS[:1], kind="function")
    new = Signature(inputs=(Field(name="x", type=Type.DOUBLE, vector=True),), outputs=FIELDS[:1])
    assert signature_changes(old, new) == [
        "input x: now a vector",
        "answers: the named outputs of a function, now a value for each row",
    ]
