"""The two ways to read an Open Inference Protocol request agree, and both agree with `/v1`."""

from __future__ import annotations

import json
from array import array
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.contract import Contract, compile_contract
from gateway.core.contract.forms import UnfitError
from gateway.core.contract.oip import ACCEPTED, MISSING_PREFIX
from gateway.core.contract.oip_binary import bytes_elements
from gateway.core.contract.oip_fast import parse_fast
from gateway.core.contract.oip_reader import read_oip
from gateway.core.contract.oip_request import OipRequest
from shared.errors import InvalidDataError, MalformedRequestError, PayloadTooLargeError
from shared.signature import Field, Type
from shared.wire import NA_INTEGER, pack, pack_frame
from tests.unit.gateway.contract_cases import damaged, encoded, entry, finish, parse_v2, shown, tables


def plain(request: OipRequest) -> tuple[Any, ...]:
    return request.frame.rows, tuple(bytes(b) for b in request.frame.buffers), request.id, request.outputs


def outcome(read: Any) -> tuple[Any, ...]:
    try:
        return plain(read())
    except (MalformedRequestError, InvalidDataError, PayloadTooLargeError) as error:
        return type(error), error.detail, [tuple(sorted(p.items())) for p in error.problems]


def agree(compiled: Contract, body: bytes, length: int | None) -> tuple[Any, ...]:
    def reader(chunk: int) -> tuple[Any, ...]:
        return outcome(lambda: finish(read_oip(compiled, body, length, lambda: 0.0, chunk)))

    said = reader(0)
    for chunk in (1, 9, 10_000):
        assert reader(chunk) == said, chunk
    with suppress(UnfitError):
        assert plain(parse_fast(compiled, body, length)) == said
    assert outcome(lambda: parse_v2(compiled, body, length)) == said
    return said


def codes(field: Field, values: list[Any]) -> list[Any]:
    return [None if v is None else field.levels.index(v) + 1 for v in values]


def as_json(field: Field, values: list[Any], datatype: str) -> list[Any]:
    """A column's values as this datatype has them in JSON."""
    if datatype == "BYTES":
        return [shown(field, v) for v in values]
    if datatype == "INT32":
        if field.type is Type.FACTOR:
            return codes(field, values)
        if field.type is Type.LOGICAL:
            return [None if v is None else int(v) for v in values]
    return values


def as_binary(field: Field, values: list[Any], datatype: str) -> tuple[bytes, list[int]]:
    """A column's bytes, and the rows that are missing where the bytes cannot say so."""
    if datatype == "BYTES":
        texts = [b"" if v is None else str(shown(field, v)).encode() for v in values]
        return bytes_elements(texts), [row for row, v in enumerate(values) if v is None]
    if datatype == "BOOL":
        return bytes(values), []
    if datatype == "INT32":
        numbers = [NA_INTEGER if v is None else int(v) for v in as_json(field, values, datatype)]
        return array("i", numbers).tobytes(), []
    return pack(Field(name="x", type=Type.DOUBLE), values)[0], []


@st.composite
def requests(draw: st.DrawFn) -> tuple[list[Field], list[list[Any]], bytes, int | None]:
    """A signature, its values, and a request that says so, with every column as JSON or as binary."""
    columns, data = draw(tables())
    inputs: list[dict[str, Any]] = []
    tail = []
    for field, values in zip(columns, data, strict=True):
        datatype = draw(st.sampled_from([d for d in ACCEPTED[field.type] if d in ("FP64", "INT32", "BOOL", "BYTES")]))
        if field.type is Type.DOUBLE:
            datatype = "FP64"
        shape = draw(st.sampled_from([[len(values)], [len(values), 1]]))
        tensor: dict[str, Any] = {"name": field.name, "datatype": datatype, "shape": shape}
        inputs.append(tensor)
        if draw(st.booleans()) and not (datatype == "BOOL" and None in values):
            content, missing = as_binary(field, values, datatype)
            tensor["parameters"] = {"binary_data_size": len(content)}
            tail.append(content)
            if missing:
                rows = {"name": MISSING_PREFIX + field.name, "datatype": "INT32", "shape": [len(missing)]}
                inputs.append({**rows, "parameters": {"binary_data_size": 4 * len(missing)}})
                tail.append(array("i", missing).tobytes())
        else:
            listed = as_json(field, values, datatype)
            tensor["data"] = [[v] for v in listed] if len(shape) == 2 and draw(st.booleans()) else listed
    request: dict[str, Any] = {"inputs": inputs}
    if draw(st.booleans()):
        request["id"] = draw(st.text(max_size=4))
    if draw(st.booleans()):
        request["outputs"] = [{"name": "prediction", "parameters": {"binary_data": draw(st.booleans())}}]
    head = draw(encoded(request, floats=False)).encode() if draw(st.booleans()) else json.dumps(request).encode()
    body = b"".join([head, *tail])
    return columns, data, body, len(head) if tail or draw(st.booleans()) else None


@given(requests())
@settings(max_examples=100)
def test_a_valid_request_gives_the_frame_of_its_values(
    case: tuple[list[Field], list[list[Any]], bytes, int | None],
) -> None:
    columns, data, body, length = case
    said = agree(compile_contract(entry(columns), 1000), body, length)
    frame = pack_frame(columns, data)
    assert said[:2] == (frame.rows, frame.buffers)


@given(st.data())
@settings(max_examples=200)
def test_a_damaged_request_is_judged_alike(data: st.DataObject) -> None:
    columns, _, body, length = data.draw(requests())
    if length is None:
        body = data.draw(damaged(body))
    else:
        head = data.draw(damaged(body[:length]))
        body, length = head + data.draw(damaged(body[length:])), len(head)
    agree(compile_contract(entry(columns), 4), body, length)
