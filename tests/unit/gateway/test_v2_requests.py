"""What `/v2` takes in each column, and what it says of what it does not take."""

from __future__ import annotations

import json
from array import array
from typing import Any

import pytest

from gateway.core.contract.oip_binary import bytes_elements
from gateway.core.findings import CODES
from gateway.routes.v2 import V2Form
from shared.errors import InvalidDataError, MalformedRequestError, PayloadTooLargeError
from shared.signature import Field, Type
from shared.wire import NA_INTEGER
from tests.unit.gateway.contract_cases import contract, parse_v2, values


def column(kind: Type, *, nullable: bool = False) -> Field:
    return Field(name="x", type=kind, nullable=nullable, levels=("a", "b") if kind is Type.FACTOR else ())


def tensor(datatype: str, data: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"name": "x", "datatype": datatype, "shape": [1 if data is None else len(data)], **more}
    return found if data is None else {**found, "data": data}


def taken(field: Field, datatype: str, data: list[Any]) -> list[Any]:
    body = json.dumps({"inputs": [tensor(datatype, data)]}).encode()
    return values([field], parse_v2(contract([field]), body).frame)[0]


def in_binary(field: Field, datatype: str, content: bytes, rows: int, missing: list[int] | None = None) -> list[Any]:
    inputs = [tensor(datatype, shape=[rows], parameters={"binary_data_size": len(content)})]
    if missing is not None:
        na = array("i", missing).tobytes()
        inputs.append(
            {
                "name": "__na.x",
                "datatype": "INT32",
                "shape": [len(missing)],
                "parameters": {"binary_data_size": len(na)},
            }
        )
        content += na
    head = json.dumps({"inputs": inputs}).encode()
    return values([field], parse_v2(contract([field]), head + content, len(head)).frame)[0]


def refused(field: Field, body: dict[str, Any] | bytes, length: int | None = None) -> list[tuple[str, str]]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(InvalidDataError) as caught:
        parse_v2(contract([field]), raw, length)
    assert all(problem["code"] in CODES for problem in caught.value.problems)
    return [(problem["pointer"], problem["code"]) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("kind", "datatype", "sent", "expected"),
    [
        (Type.DOUBLE, "FP64", [1.5, None], [1.5, None]),
        (Type.DOUBLE, "FP32", [0.1, None], [0.10000000149011612, None]),
        (Type.DOUBLE, "INT64", [2**53, -1.0, None], [2.0**53, -1.0, None]),
        (Type.DOUBLE, "UINT64", [2**63], [2.0**63]),
        (Type.INTEGER, "INT32", [5.0, NA_INTEGER, None], [5, None, None]),
        (Type.INTEGER, "INT64", [5, None], [5, None]),
        (Type.INTEGER, "UINT8", [255], [255]),
        (Type.LOGICAL, "BOOL", [True, None], [True, None]),
        (Type.LOGICAL, "INT32", [0, 1, NA_INTEGER, None], [False, True, None, None]),
        (Type.FACTOR, "BYTES", ["b", None], ["b", None]),
        (Type.FACTOR, "INT32", [1, 2, NA_INTEGER, None], ["a", "b", None, None]),
        (Type.STRING, "BYTES", ["é:", None], ["é:", None]),
        (Type.DATE, "BYTES", ["1970-01-02", None], [1.0, None]),
        (Type.DATE, "FP64", [1.5, None], [1.5, None]),
        (Type.DATETIME, "BYTES", ["1970-01-01T00:00:01.5Z", None], [1.5, None]),
        (Type.DATETIME, "FP64", [1.5], [1.5]),
    ],
)
def test_each_type_takes_its_datatypes_in_json(kind: Type, datatype: str, sent: list[Any], expected: list[Any]) -> None:
    assert taken(column(kind, nullable=True), datatype, sent) == expected


@pytest.mark.parametrize(
    ("kind", "datatype", "sent", "code"),
    [
        (Type.DOUBLE, "FP32", 1e39, "out_of_range"), (Type.DOUBLE, "INT64", 2**53 + 1, "out_of_range"),
        (Type.DOUBLE, "INT64", 1.5, "not_integral"), (Type.DOUBLE, "UINT8", 256, "out_of_range"),
        (Type.DOUBLE, "FP64", None, "not_nullable"), (Type.INTEGER, "INT32", NA_INTEGER, "out_of_range"),
        (Type.INTEGER, "INT64", 2**31, "out_of_range"), (Type.INTEGER, "INT8", 128, "out_of_range"),
        (Type.LOGICAL, "BOOL", 1, "wrong_type"), (Type.LOGICAL, "INT32", 2, "out_of_range"),
        (Type.LOGICAL, "INT32", -5, "out_of_range"), (Type.FACTOR, "INT32", 0, "unknown_level"),
        (Type.FACTOR, "INT32", 3, "unknown_level"), (Type.FACTOR, "BYTES", "c", "unknown_level"),
        (Type.STRING, "BYTES", "\0", "invalid_text"), (Type.DATE, "BYTES", "1970-13-01", "invalid_date"),
        (Type.DOUBLE, "FP64", [1, 2], "wrong_type"), (Type.DOUBLE, "FP64", "1", "wrong_type"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_named_by_its_place(kind: Type, datatype: str, sent: Any, code: str) -> None:
    assert refused(column(kind), {"inputs": [tensor(datatype, [sent])]}) == [("/inputs/0/data/0", code)]


def test_null_and_the_sentinel_need_a_nullable_column() -> None:
    field = column(Type.FACTOR)
    assert refused(field, {"inputs": [tensor("INT32", [NA_INTEGER])]}) == [("/inputs/0/data/0", "unknown_level")]
    assert refused(field, {"inputs": [tensor("BYTES", [None])]}) == [("/inputs/0/data/0", "not_nullable")]


@pytest.mark.parametrize(
    ("kind", "datatype", "content", "expected"),
    [
        (Type.DOUBLE, "FP64", array("d", [1.5, float("nan"), float("inf")]), [1.5, None, float("inf")]),
        (Type.DOUBLE, "FP32", array("f", [0.5, float("nan")]), [0.5, None]),
        (Type.DOUBLE, "INT64", array("q", [2**60]), [2.0**60]),
        (Type.INTEGER, "INT32", array("i", [5, NA_INTEGER]), [5, None]),
        (Type.INTEGER, "UINT64", array("Q", [2**31 - 1]), [2**31 - 1]),
        (Type.LOGICAL, "BOOL", array("B", [1, 0]), [True, False]),
        (Type.LOGICAL, "INT32", array("i", [1, NA_INTEGER]), [True, None]),
        (Type.FACTOR, "INT32", array("i", [2, NA_INTEGER]), ["b", None]),
    ],
)
def test_each_type_takes_its_datatypes_in_binary(kind: Type, datatype: str, content: Any, expected: list[Any]) -> None:
    assert in_binary(column(kind, nullable=True), datatype, content.tobytes(), len(content)) == expected


@pytest.mark.parametrize("kind", [Type.STRING, Type.FACTOR, Type.DATE, Type.DATETIME])
def test_missing_texts_are_listed_in_a_tensor_of_their_own(kind: Type) -> None:
    content = bytes_elements([b"", b"", b""])
    assert in_binary(column(kind, nullable=True), "BYTES", content, 3, [0, 1, 2]) == [None] * 3
    with pytest.raises(InvalidDataError):
        in_binary(column(kind), "BYTES", content, 3, [0, 1, 2])
    for rows in ([3], [-1]):
        with pytest.raises(InvalidDataError):
            in_binary(column(kind, nullable=True), "BYTES", content, 3, rows)


@pytest.mark.parametrize(
    ("kind", "datatype", "content", "code"),
    [
        (Type.DOUBLE, "FP64", array("d", [1.5, float("nan")]).tobytes(), "not_nullable"),
        (Type.DOUBLE, "INT64", array("q", [2, 2**53 + 1]).tobytes(), "out_of_range"),
        (Type.INTEGER, "INT32", array("i", [2, NA_INTEGER]).tobytes(), "not_nullable"),
        (Type.INTEGER, "INT64", array("q", [2, -(2**31)]).tobytes(), "out_of_range"),
        (Type.LOGICAL, "BOOL", b"\1\2", "out_of_range"),
        (Type.FACTOR, "INT32", array("i", [2, 3]).tobytes(), "unknown_level"),
        (Type.FACTOR, "BYTES", bytes_elements([b"a", b"c"]), "unknown_level"),
        (Type.STRING, "BYTES", bytes_elements([b"a", b"\xff"]), "invalid_text"),
        (Type.STRING, "BYTES", bytes_elements([b"a", b"\0"]), "invalid_text"),
        (Type.DATE, "BYTES", bytes_elements([b"1970-01-01", b"x"]), "invalid_date"),
    ],
)
def test_a_binary_value_that_does_not_fit_is_named_by_its_row(
    kind: Type, datatype: str, content: bytes, code: str
) -> None:
    field = column(kind)
    with pytest.raises(InvalidDataError) as caught:
        in_binary(field, datatype, content, 2)
    (problem,) = caught.value.problems
    assert (problem["pointer"], problem["code"], problem["column"], problem["row"]) == ("/inputs/0", code, "x", 1)
    assert problem["detail"].startswith("row 1: ")


@pytest.mark.parametrize("datatype", ["FP64", "FP32"])
def test_every_nan_is_found_and_no_other_number_taken_for_one(datatype: str) -> None:
    width, code, mantissa = (8, "d", 52) if datatype == "FP64" else (4, "f", 23)
    exponent = (1 << (8 * width - 1)) - (1 << mantissa)
    sign = 1 << (8 * width - 1)
    for payload in (1, 1954, 1 << (mantissa - 1), (1 << mantissa) - 1):
        for bits in (exponent | payload, sign | exponent | payload):
            content = array(code, [1.5]).tobytes() + bits.to_bytes(width, "little")
            with pytest.raises(InvalidDataError):
                in_binary(column(Type.DOUBLE), datatype, content, 2)
    for bits in (exponent - 1, sign | (exponent - 1), exponent, sign | exponent, sign, 1):
        content = array(code, [1.5]).tobytes() + bits.to_bytes(width, "little")
        assert len(in_binary(column(Type.DOUBLE), datatype, content, 2)) == 2


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"", 1),
        (b"\5\0\0\0abc", 1),
        (b"\3\0\0\0abc", 2),
        (b"\3\0\0\0abc\0", 1),
        (b"\xff\xff\xff\xffabc", 1),
        (b"\0\0\0", 1),
    ],
)
def test_texts_whose_lengths_do_not_add_up_are_refused(content: bytes, rows: int) -> None:
    with pytest.raises(InvalidDataError) as caught:
        in_binary(column(Type.STRING), "BYTES", content, rows)
    assert [problem["code"] for problem in caught.value.problems] == ["wrong_size"]


X = column(Type.DOUBLE)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ([], [("", "wrong_type")]),
        ({}, [("/inputs", "missing_member")]),
        ({"inputs": []}, [("/inputs", "missing_column")]),
        ({"inputs": [5]}, [("/inputs/0", "wrong_type"), ("/inputs", "missing_column")]),
        ({"inputs": [tensor("FP64", [1]), tensor("FP64", [1], name="y")]}, [("/inputs/1/name", "unknown_column")]),
        ({"inputs": [tensor("FP64", [1]), tensor("FP64", [1])]}, [("/inputs/1/name", "duplicate_key")]),
        ({"inputs": [tensor("BYTES", ["1"])]}, [("/inputs/0/datatype", "wrong_datatype")]),
        ({"inputs": [tensor("FP64", [1], shape=[1, 2])]}, [("/inputs/0/shape", "wrong_shape")]),
        ({"inputs": [tensor("FP64", [1], shape=[2])]}, [("/inputs/0/data", "wrong_shape")]),
        ({"inputs": [tensor("FP64", [1], shape=[True])]}, [("/inputs/0/shape", "wrong_shape")]),
        ({"inputs": [tensor("FP64", [], shape=[0])]}, [("/inputs/0/shape", "no_rows")]),
        ({"inputs": [tensor("FP64", [[1], 2], shape=[2, 1])]}, [("/inputs/0/data/1", "wrong_type")]),
        ({"inputs": [tensor("FP64")]}, [("/inputs/0/data", "missing_member")]),
        ({"inputs": [tensor("FP64", [1], more=1)]}, [("/inputs/0/more", "unknown_member")]),
        ({"inputs": [tensor("FP64", [1])], "input": []}, [("/input", "unknown_member")]),
        ({"inputs": [tensor("FP64", [1])], "id": 5}, [("/id", "wrong_type")]),
        ({"inputs": [tensor("FP64", [1])], "id": "\ud800"}, [("/id", "invalid_text")]),
        ({"inputs": [tensor("FP64", [1])], "outputs": [{"name": "y"}]}, [("/outputs/0/name", "unknown_column")]),
        (
            {"inputs": [tensor("FP64", [1])], "outputs": [{"name": "prediction"}] * 2},
            [("/outputs/1/name", "duplicate_key")],
        ),
        (
            {"inputs": [tensor("FP64", [1])], "outputs": [{"name": "prediction", "parameters": {"classification": 3}}]},
            [("/outputs/0/parameters/classification", "unknown_member")],
        ),
        (
            {"inputs": [tensor("FP64", [1])], "parameters": {"binary_data_output": 1}},
            [("/parameters/binary_data_output", "wrong_type")],
        ),
        (
            {"inputs": [tensor("FP64", parameters={"binary_data_size": 8})]},
            [("/inputs/0/parameters/binary_data_size", "wrong_size")],
        ),
    ],
)
def test_a_request_of_another_shape_is_told_the_right_one(body: Any, expected: list[tuple[str, str]]) -> None:
    assert refused(X, body) == expected


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs":[{"name":"x","name":"x","datatype":"FP64","shape":[1],"data":[1]}]}',
        b'{"inputs":[{"name":"x","datatype":"FP64","shape":[1],"data":[1],"data":[2]}]}',
        b'{"inputs":[{"name":"x","datatype":"FP64","shape":[1],"data":[1]}],"id":"a","id":":"}',
        b'{"inputs":[{"name":"x","datatype":"FP64","shape":[1],"data":[1]}],"parameters":{"a":1,"a":2}}',
    ],
)
def test_the_same_key_twice_is_a_problem(body: bytes) -> None:
    assert [code for _, code in refused(X, body)] == ["duplicate_key"]


def test_what_other_clients_add_is_no_problem() -> None:
    nested = {"a": [1, "b", []], "\n" * 300: ["\t" * 300, {}]}
    extra = {"model_name": "m", "id": None, "outputs": None, "parameters": {"priority": 1, "nested": nested}}
    body = {"inputs": [tensor("FP64", [1.5], parameters=None)], **extra}
    request = parse_v2(contract([X]), json.dumps(body).encode())
    assert values([X], request.frame) == [[1.5]]
    assert request.id is None
    assert [output.binary for output in request.outputs] == [False]


def test_the_outputs_asked_for_come_in_that_order() -> None:
    outputs = (Field(name="fit", type=Type.DOUBLE), Field(name="lwr", type=Type.DOUBLE))
    asked = [{"name": "lwr", "parameters": {"binary_data": False}}, {"name": "fit"}]
    for more in ({}, {"priority": 1}):
        body = {"inputs": [tensor("FP64", [1])], "outputs": asked, "parameters": {"binary_data_output": True, **more}}
        request = parse_v2(contract([X], outputs=outputs, kind="table"), json.dumps(body).encode())
        assert [(output.index, output.binary) for output in request.outputs] == [(1, False), (0, True)]


def test_bytes_after_the_last_tensor_are_refused() -> None:
    head = json.dumps({"inputs": [tensor("FP64", parameters={"binary_data_size": 8})]}).encode()
    assert parse_v2(contract([X]), head + bytes(8), len(head)).frame.rows == 1
    for content in (bytes(9), bytes(7)):
        assert {code for _, code in refused(X, head + content, len(head))} == {"wrong_size"}


@pytest.mark.parametrize("binary", [False, True])
def test_an_empty_datatype_or_name_is_a_problem(binary: bool) -> None:
    data: dict[str, Any] = {"parameters": {"binary_data_size": 8}} if binary else {"data": [1]}
    for changes, member in (({"datatype": ""}, "datatype"), ({"name": ""}, "name")):
        head = json.dumps({"inputs": [{"name": "x", "datatype": "FP64", "shape": [1], **data, **changes}]}).encode()
        problems = refused(X, head + bytes(8 if binary else 0), len(head))
        assert (f"/inputs/0/{member}", "wrong_type") in problems
    head = json.dumps({"inputs": [tensor("FP64", [1]), tensor("FP64", [1], name="")]}).encode()
    assert refused(X, head) == [("/inputs/1/name", "wrong_type")]


@pytest.mark.parametrize("text", [b"-1", b"", b"1 2", b"99", b"0" * 20 + b"99", b"0" * 5000])
def test_a_header_length_that_is_none_is_malformed_whatever_its_digits(text: bytes) -> None:
    body = json.dumps({"inputs": [tensor("FP64", [1])]}).encode()[:90]
    steps = V2Form().read(contract([X]), body, {b"inference-header-content-length": text})
    with pytest.raises(MalformedRequestError, match="Inference-Header-Content-Length"):
        next(steps)


def test_a_header_length_beyond_the_body_is_malformed() -> None:
    with pytest.raises(MalformedRequestError, match="Inference-Header-Content-Length"):
        parse_v2(contract([X]), b"{}", 3)


def test_more_rows_than_the_limit_are_too_large() -> None:
    for body in (
        {"inputs": [tensor("FP64", [1, 2, 3])]},
        {"inputs": [tensor("FP64", shape=[3], parameters={"binary_data_size": 24})]},
    ):
        raw = json.dumps(body).encode()
        with pytest.raises(PayloadTooLargeError):
            parse_v2(contract([X], max_rows=2), raw + bytes(24 if "data" not in body["inputs"][0] else 0), len(raw))
