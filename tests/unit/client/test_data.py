"""CSV and JSON to typed values, values to bits: nothing is rounded, guessed or trimmed on the way."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import math
import struct
from array import array
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.compare import compare, same
from client.csvdata import read_csv, read_json
from client.errors import DataError, ReplyError
from client.examples import example_rows
from client.models import Model
from client.oip import HEADER_LENGTH, as_number, encode_request, read_reply
from client.replies import Reply
from client.rows import table_of
from shared.signature import Field, Signature, Type

NA = "NA"
FIELDS = (
    Field(name="x", type=Type.DOUBLE, nullable=True),
    Field(name="n", type=Type.INTEGER, nullable=True),
    Field(name="on", type=Type.LOGICAL, nullable=True),
    Field(name="text", type=Type.STRING, nullable=True),
    Field(name="size", type=Type.FACTOR, nullable=True, levels=("S", "M", "NA", "")),
    Field(name="hue", type=Type.FACTOR, nullable=True, levels=("red",)),
    Field(name="day", type=Type.DATE, nullable=True),
    Field(name="at", type=Type.DATETIME, nullable=True),
)


def parse(text: str, *fields: Field, **options: Any) -> dict[str, list[Any]]:
    return read_csv(io.StringIO(text, newline=""), fields, **options).columns


def one(type_: Type, cell: str, **more: Any) -> Any:
    out = io.StringIO()
    csv.writer(out).writerows([["v", "w"], [cell, ""]])
    return parse(out.getvalue(), Field(name="v", type=type_, nullable=True, **more))["v"][0]


@given(st.floats(allow_nan=False))
def test_every_double_is_read_exactly(value: float) -> None:
    for text in (repr(value), f"{value:.17g}"):
        assert struct.pack("<d", one(Type.DOUBLE, text)) == struct.pack("<d", value)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_every_text_is_read_exactly(text: str) -> None:
    assert one(Type.STRING, text) == (None if text == NA else text)


@pytest.mark.parametrize(
    ("type_", "cell", "value"),
    [
        (Type.DOUBLE, "", None),
        (Type.DOUBLE, "NA", None),
        (Type.DOUBLE, " 1e3 ", 1000.0),
        (Type.DOUBLE, "-Inf", -math.inf),
        (Type.DOUBLE, "0x1p3", ValueError),
        (Type.DOUBLE, "1_000", ValueError),
        (Type.DOUBLE, "1,5", ValueError),
        (Type.DOUBLE, "٣", ValueError),
        (Type.INTEGER, "7", 7),
        (Type.INTEGER, "7.0", 7),
        (Type.INTEGER, "7.5", ValueError),
        (Type.INTEGER, "Inf", ValueError),
        (Type.LOGICAL, "TRUE", True),
        (Type.LOGICAL, "F", False),
        (Type.LOGICAL, "yes", ValueError),
        (Type.STRING, "", ""),
        (Type.STRING, "NA", None),
        (Type.DATE, "2026-01-31", dt.date(2026, 1, 31)),
        (Type.DATE, "31.01.2026", ValueError),
        (Type.DATETIME, "2026-01-31T12:00:00+01:00", dt.datetime(2026, 1, 31, 11, tzinfo=dt.UTC)),
        (Type.DATETIME, "2026-01-31 12:00:00", dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)),
        (Type.DATETIME, "soon", ValueError),
    ],
)
def test_cells_are_typed_by_the_signature(type_: Type, cell: str, value: Any) -> None:
    if value is ValueError:
        with pytest.raises(DataError, match="line 2, v: "):
            one(type_, cell)
    else:
        assert one(type_, cell) == value


def test_a_label_spelled_like_missing_is_a_label_where_the_factor_has_it() -> None:
    levels = FIELDS[4].levels
    assert [one(Type.FACTOR, cell, levels=levels) for cell in ("NA", "", "S")] == ["NA", "", "S"]
    assert [one(Type.FACTOR, cell, levels=("red",)) for cell in ("NA", "", "red")] == [None, None, "red"]
    with pytest.raises(DataError, match=r"line 2, v: 'blue' is not a level \(red\)"):
        one(Type.FACTOR, "blue", levels=("red",))


def test_columns_come_in_the_signatures_order_and_others_are_named() -> None:
    text = "\ufeffn,,extra,x\r\n1,r1,e,0.5\r\n\r\n2,r2,e,NA\r\n"
    found = read_csv(io.StringIO(text, newline=""), FIELDS[:2])
    assert list(found.columns.items()) == [("x", [0.5, None]), ("n", [1, 2])]
    assert found.ignored == ("extra",)
    assert len(found) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("x\n1\n", "the file has no column n; it has x"),
        ("x,x,n\n1,1,1\n", "more than one column x"),
        ("x,n\n1,2,3\n", "line 2: 3 cells where the header has 2"),
        ('x,n\n"1,2\n', "line 2"),
        ("x,n\n" + "a,b\n" * 9, "(?s)line 2, x: 'a' is not a number.*line 4, x"),
    ],
)
def test_a_file_that_does_not_fit_says_where(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse(text, *FIELDS[:2])


def test_another_text_may_mean_missing() -> None:
    assert parse("x,n\n-9,NULL\n", *FIELDS[:1], na="-9")["x"] == [None]


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ('[{"a":1}]', [{"a": 1}]),
        ('{"rows":[{"a":1}]}', [{"a": 1}]),
        ('{"columns":{"a":[1]}}', {"a": [1]}),
        ('{"a":[1]}', {"a": [1]}),
        ('{"a":[1],"b":[2]}', {"a": [1], "b": [2]}),
    ],
)
def test_json_may_be_rows_columns_or_a_whole_body(text: str, data: Any) -> None:
    assert read_json(text) == data


@pytest.mark.parametrize("text", ["3", '"rows"', '{"a":1}', "{}", "[1", ""])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        read_json(text)


def test_dates_and_datetimes_become_r_numbers() -> None:
    assert as_number(FIELDS[6], "1969-12-31") == -1
    assert as_number(FIELDS[7], "1970-01-01T00:00:01.5Z") == 1.5
    assert as_number(FIELDS[7], "1969-12-31T23:59:59.900000Z") == -0.1
    assert as_number(FIELDS[7], "2026-01-31T12:00:00+01:00") == 1769857200.0


def test_an_example_of_a_manifest_can_be_sent() -> None:
    columns: dict[str, list[Any]] = {
        "x": [1.5, "Inf", None],
        "day": [0, 1, 20484],
        "at": [0.25, 1, None],
        "text": ["Inf", "b", None],
    }
    fields = [f for f in FIELDS if f.name in columns]
    assert example_rows(fields, columns) == [
        {"x": 1.5, "text": "Inf", "day": "1970-01-01", "at": "1970-01-01T00:00:00.250000Z"},
        {"x": None, "text": None, "day": "2026-01-31", "at": None},
    ]
    assert len(example_rows(fields, columns, at_most=1)) == 1


def test_a_data_frames_missing_values_are_null() -> None:
    class NAType:
        """As pandas': comparing it gives neither true nor false."""

        def __bool__(self) -> bool:
            raise TypeError

    table = table_of({"a": [NAType(), math.nan, None, 1]})
    assert table.columns == {"a": [None, None, None, 1]}


@given(st.floats(), st.floats())
def test_two_doubles_are_the_same_if_their_bits_are_or_both_are_missing(a: float, b: float) -> None:
    expected = (math.isnan(a) and math.isnan(b)) or struct.pack("<d", a) == struct.pack("<d", b)
    assert same(a, b) is expected
    assert same(a, a)


@pytest.mark.parametrize(
    ("a", "b", "through_json", "expected"),
    [
        (0.0, -0.0, False, False),
        (None, math.nan, False, True),
        (None, math.inf, False, False),
        (None, math.inf, True, True),
        (math.inf, None, True, True),
        (None, 1.0, True, False),
        (1.0, 1, False, True),
        (1, True, False, False),
        (1.0, True, False, False),
        ("a", "a", False, True),
        ("a", None, False, False),
    ],
)
def test_values_are_compared_by_what_they_are(a: Any, b: Any, through_json: bool, expected: bool) -> None:
    assert same(a, b, through_json=through_json) is expected


def test_a_comparison_counts_bits_and_shows_the_first_rows() -> None:
    near = math.nextafter(1.0, 2.0)
    result = compare(
        {"p": [1.0, 2.0, 1.0], "q": ["a", "b", "c"]}, {"p": [1.0, 2.0, near], "q": ["a", "x", "c"]}, shown=1
    )
    assert (result.rows, result.values, result.rows_differing, result.values_differing) == (3, 6, 2, 2)
    assert result.bits == 64 + 1
    assert [str(d) for d in result.first] == ["row 2 q: R here 'b', the gateway 'x'"]
    (only,) = compare({"p": [1.0]}, {"p": [near]}).first
    assert str(only) == "row 1 p: R here 1, the gateway 1.0000000000000002 (1 steps apart)"


def test_binary_requests_are_kserves_form() -> None:
    signature = Signature(inputs=FIELDS, outputs=())
    columns: dict[str, list[Any]] = {
        "x": [0.5, None],
        "n": [1, None],
        "on": [True, None],
        "text": ["é", None],
        "size": ["M", None],
        "hue": ["red", "red"],
        "day": ["1970-01-02", None],
        "at": [None, "1970-01-01T00:00:00Z"],
    }
    length, body = encode_request(signature, columns, 0, 2)
    head = json.loads(body[:length])
    assert head["parameters"] == {"binary_data_output": True}
    assert [(t["name"], t["datatype"], t["shape"]) for t in head["inputs"]] == [
        ("x", "FP64", [2]),
        ("n", "INT32", [2]),
        ("on", "INT32", [2]),
        ("text", "BYTES", [2]),
        ("__na.text", "INT32", [1]),
        ("size", "INT32", [2]),
        ("hue", "INT32", [2]),
        ("day", "FP64", [2]),
        ("at", "FP64", [2]),
    ]
    assert sum(t["parameters"]["binary_data_size"] for t in head["inputs"]) == len(body) - length
    assert b"\x02\x00\x00\x00\xc3\xa9\x00\x00\x00\x00" in body


def test_a_missing_value_where_none_may_be_is_refused_before_sending() -> None:
    for type_ in (Type.INTEGER, Type.LOGICAL, Type.FACTOR, Type.STRING):
        signature = Signature(inputs=(Field(name="v", type=type_, levels=("a",)),), outputs=())
        with pytest.raises(DataError, match="column v has a missing value"):
            encode_request(signature, {"v": [None]}, 0, 1)


def answer(outputs: list[dict[str, Any]], *buffers: bytes) -> Reply:
    head = msgspec.json.encode({"model_name": "m", "model_version": "3", "outputs": outputs})
    return Reply(200, {HEADER_LENGTH: str(len(head))}, b"".join((head, *buffers)))


def tensor(name: str, datatype: str, rows: int, size: int) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [rows], "parameters": {"binary_data_size": size}}


OUTPUTS = Model(
    model="m",
    version="3",
    signature=Signature(
        inputs=(),
        outputs=(
            Field(name="ok", type=Type.LOGICAL),
            Field(name="n", type=Type.INTEGER),
            Field(name="class", type=Type.FACTOR, levels=("lo", "hi")),
        ),
        kind="table",
    ),
)


def test_answers_are_read_by_their_datatype() -> None:
    codes = array("i", [2, -(2**31)]).tobytes()
    numbers = array("i", [5, -(2**31)]).tobytes()
    reply = answer(
        [tensor("n", "INT32", 2, 8), tensor("class", "INT32", 2, 8), tensor("ok", "BOOL", 2, 2)],
        numbers,
        codes,
        b"\1\0",
    )
    found = read_reply(reply, OUTPUTS, 2)
    assert found.columns == {"ok": [True, False], "n": [5, None], "class": ["hi", None]}
    assert (found.model, found.version) == ("m", "3")


def test_answers_as_json_are_read_too() -> None:
    head = msgspec.json.encode(
        {
            "model_name": "m",
            "outputs": [
                {"name": "ok", "datatype": "BOOL", "shape": [1], "data": [True]},
                {"name": "n", "datatype": "INT32", "shape": [1], "data": [None]},
                {"name": "class", "datatype": "BYTES", "shape": [1], "data": ["lo"]},
            ],
        }
    )
    assert read_reply(Reply(200, {}, head), OUTPUTS, 1).columns == {"ok": [True], "n": [None], "class": ["lo"]}


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(200, {}, b"<html>"), "not Open Inference Protocol"),
        (answer([tensor("z", "INT32", 1, 4)], b"\0\0\0\0"), "'z' is not one of"),
        (answer([tensor("n", "INT32", 1, 4)], b"\0\0\0\0"), "disagree"),
        (answer([tensor("n", "INT32", 2, 4)], b"\0\0\0\0"), "1 values for 1 rows|n has 1 values"),
        (answer([tensor("n", "INT32", 1, 3)], b"\0\0\0"), "n: not INT32 of integer"),
        (answer([tensor("class", "INT32", 1, 4)], b"\7\0\0\0"), "class: not INT32 of factor"),
        (answer([tensor("class", "BYTES", 1, 6)], b"\7\0\0\0lo"), "class: not BYTES of factor"),
        (answer([tensor("n", "FP16", 1, 2)], b"\0\0"), "which this client does not read"),
    ],
)
def test_answers_that_do_not_fit_are_refused(reply: Reply, message: str) -> None:
    with pytest.raises(ReplyError, match=message):
        read_reply(reply, OUTPUTS, 1)
