"""Answers keep every value: `/v1` text reads back to the same double, `/v2` binary keeps the bits."""

from __future__ import annotations

import json
import math
import struct
from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.contract import Contract, compile_contract
from gateway.core.contract.answers import STEP_VALUES
from gateway.core.contract.oip_request import OipRequest, Requested
from shared.signature import Field, Type
from shared.wire import NA_REAL, Frame, WireError, pack_frame
from tests.unit.gateway.contract_cases import FIELDS, contract, encode_v1, encode_v2, entry, parse, shown, tables

EMPTY = Frame(1, ())


def predictions(compiled: Contract, frame: Frame) -> list[Any]:
    answer = json.loads(encode_v1(compiled, frame))
    assert (answer["model"], answer["version"]) == ("m", "1")
    return list(answer["predictions"])


@given(st.lists(st.floats(), min_size=1, max_size=20))
def test_a_double_is_written_as_the_shortest_text_that_reads_back(numbers: list[float]) -> None:
    frame = Frame(len(numbers), (array("d", numbers).tobytes(),))
    read = predictions(contract(), frame)
    for number, value in zip(numbers, read, strict=True):
        if math.isfinite(number):
            assert struct.pack("<d", value) == struct.pack("<d", number)
        else:
            assert value is None


def test_na_nan_and_infinities_are_null() -> None:
    frame = Frame(4, (array("d", [NA_REAL, math.nan, math.inf, -math.inf]).tobytes(),))
    assert predictions(contract(), frame) == [None] * 4


@given(tables())
def test_a_table_is_answered_as_an_object_per_row(case: tuple[list[Field], list[list[Any]]]) -> None:
    fields, data = case
    compiled = compile_contract(entry(outputs=fields, kind="table"), 1000)
    rows = predictions(compiled, pack_frame(fields, data))
    assert rows == [{f.name: shown(f, v) for f, v in zip(fields, row, strict=True)} for row in zip(*data, strict=True)]


@given(tables())
def test_an_answer_can_be_sent_as_a_request_again(case: tuple[list[Field], list[list[Any]]]) -> None:
    fields, data = case
    compiled = compile_contract(entry(fields, fields, kind="table"), 1000)
    frame = pack_frame(fields, data)
    rows = predictions(compiled, frame)
    again = parse(compiled, json.dumps({"rows": rows}).encode())
    assert [bytes(b) for b in again.buffers] == [bytes(b) for b in frame.buffers]


def test_a_table_of_one_column_is_still_objects() -> None:
    compiled = contract(kind="table")
    assert predictions(compiled, Frame(1, (array("d", [2.5]).tobytes(),))) == [{"prediction": 2.5}]


def test_an_answer_of_many_rows_is_whole_and_in_order() -> None:
    rows = STEP_VALUES * 3 + 1
    frame = Frame(rows, (array("d", range(rows)).tobytes(),))
    compiled = contract()
    assert predictions(compiled, frame) == list(range(rows))
    for binary in (False, True):
        length, body = encode_v2(compiled, frame, OipRequest(EMPTY, None, (Requested(0, binary),)))
        if binary:
            assert length is not None
            assert body[length:] == frame.buffers[0]
        else:
            assert json.loads(body)["outputs"][0]["data"] == list(range(rows))


@given(tables(), st.booleans())
def test_v2_json_has_the_values_of_v1(case: tuple[list[Field], list[list[Any]]], named: bool) -> None:
    fields, data = case
    compiled = compile_contract(entry(outputs=fields, kind="table"), 1000)
    asked = tuple(Requested(i, binary=False) for i in range(len(fields)))
    length, body = encode_v2(compiled, pack_frame(fields, data), OipRequest(EMPTY, "a" if named else None, asked))
    assert length is None
    answer = json.loads(body)
    assert answer.get("id") == ("a" if named else None)
    for field, values, output in zip(fields, data, answer["outputs"], strict=True):
        assert output["name"] == field.name
        assert output["shape"] == [len(values)]
        assert output["data"] == [shown(field, v) for v in values]


def test_what_is_not_the_signatures_columns_is_a_wire_error() -> None:
    asked = OipRequest(EMPTY, None, (Requested(0, binary=True),))
    for frame in (Frame(2, (bytes(8),)), Frame(1, (bytes(8), bytes(8))), Frame(1, ())):
        with pytest.raises(WireError):
            encode_v2(contract(), frame, asked)
        with pytest.raises(WireError):
            encode_v1(contract(), frame)


def test_a_missing_logical_where_none_may_be_is_a_wire_error_in_binary() -> None:
    field = Field(name="ok", type=Type.LOGICAL)
    frame = pack_frame([Field(name="ok", type=Type.LOGICAL, nullable=True)], [[None]])
    with pytest.raises(WireError):
        encode_v2(contract(FIELDS, outputs=(field,)), frame, OipRequest(EMPTY, None, (Requested(0, binary=True),)))
