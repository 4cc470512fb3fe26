"""What `/v1` takes, and what it says of what it does not take."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.core.findings import CODES
from shared.errors import InvalidDataError, MalformedRequestError, PayloadTooLargeError
from shared.signature import Field, Type
from tests.unit.gateway.contract_cases import FIELDS, ROW, contract, parse, parse_v2, rows_body, values

X = Field(name="x", type=Type.DOUBLE)


def problems(body: bytes | Any, *fields: Field) -> list[dict[str, Any]]:
    """What is wrong with a body of the usual columns, or of these."""
    compiled = contract(fields or FIELDS)
    with pytest.raises(InvalidDataError) as caught:
        parse(compiled, body if isinstance(body, bytes) else json.dumps(body).encode())
    found = [dict(problem) for problem in caught.value.problems]
    assert found
    assert caught.value.problems_total >= len(found)
    assert all(problem["code"] in CODES for problem in found)
    return found


def short(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(problem["pointer"], problem["code"]) for problem in found]


def test_rows_and_columns_give_the_same_frame() -> None:
    compiled = contract()
    columns = {name: [value, value] for name, value in ROW.items()}
    frame = parse(compiled, rows_body(ROW, ROW))
    assert parse(compiled, json.dumps({"columns": columns}).encode()) == frame
    assert [column[0] for column in values(FIELDS, frame)] == [
        41.5, 2, True, "a:b", 'he: said, {"x"} ]', 4806.0, 1709204400.25,
    ]  # fmt: skip


def test_null_is_a_missing_value_where_the_model_takes_one() -> None:
    frame = parse(contract(), rows_body(ROW | {"kids": None, "job": None, "note:1": None, "seen": None}))
    assert [column[0] for column in values(FIELDS, frame)] == [41.5, None, True, None, None, 4806.0, None]


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("age", "41.5", "wrong_type"), ("age", True, "wrong_type"), ("age", [1], "wrong_type"), ("age", {}, "wrong_type"),
        ("age", None, "not_nullable"), ("age", "NaN", "wrong_type"), ("age", "", "wrong_type"),
        ("kids", 2.5, "not_integral"), ("kids", 2**31, "out_of_range"), ("kids", -(2**31), "out_of_range"),
        ("kids", 1e300, "out_of_range"), ("kids", "2", "wrong_type"), ("kids", 10**400, "out_of_range"),
        ("owner", 1, "wrong_type"), ("owner", "true", "wrong_type"), ("owner", None, "not_nullable"),
        ("job", "Clerk", "unknown_level"), ("job", 1, "wrong_type"), ("job", "", "unknown_level"),
        ("note:1", 5, "wrong_type"), ("note:1", "a\0b", "invalid_text"), ("note:1", "\ud800", "invalid_text"),
        ("note:1", "x" * (1024 * 1024 + 1), "text_too_long"),
        ("born", "1983-02-30", "invalid_date"), ("born", "28.2.1983", "invalid_date"), ("born", 4806, "wrong_type"),
        ("born", None, "not_nullable"), ("seen", "2024-02-29T12:00:00", "invalid_datetime"),
        ("seen", "2024-02-29", "invalid_datetime"), ("seen", 1.5, "wrong_type"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_named_by_row_and_column(column: str, value: Any, code: str) -> None:
    (problem,) = problems({"rows": [ROW, ROW | {column: value}]})
    assert (problem["pointer"], problem["code"]) == (f"/rows/1/{column}", code)
    assert (problem["column"], problem["row"]) == (column, 1)
    columns = {name: [v, v] for name, v in ROW.items()}
    (problem,) = problems({"columns": columns | {column: [ROW[column], value]}})
    assert (problem["pointer"], problem["code"]) == (f"/columns/{column}/1", code)


@pytest.mark.parametrize(
    ("text", "code"),
    [(b"NaN", "not_finite"), (b"Infinity", "not_finite"), (b"-Infinity", "not_finite"), (b"1e400", "out_of_range")],
)
def test_numbers_that_json_or_a_double_do_not_have_are_problems(text: bytes, code: str) -> None:
    assert short(problems(b'{"rows":[{"x":%b}]}' % text, X)) == [("/rows/0/x", code)]


def test_messages_say_what_to_do() -> None:
    def detail(column: str, value: Any) -> str:
        return str(problems({"rows": [ROW | {column: value}]})[0]["detail"])

    assert detail("age", "41.5") == 'expected a number, got the text "41.5"; send it without the quotes'
    assert detail("age", "NA") == 'expected a number, got the text "NA"; the model cannot score a missing value'
    assert detail("kids", "NA") == 'expected a whole number, got the text "NA"; send null for a missing value'
    assert detail("job", "Clerk") == (
        '"Clerk" is not a level; expected one of "clerk", "a:b", "none"; did you mean "clerk"?'
    )
    assert detail("seen", "2024-02-29T12:00:00").endswith("or with an offset like +01:00 for Z")


def test_an_unknown_column_comes_with_the_one_most_likely_meant() -> None:
    found = problems({"rows": [{**{k: v for k, v in ROW.items() if k != "kids"}, "Kids": 2}]})
    assert short(found) == [("/rows/0/Kids", "unknown_column"), ("/rows/0/kids", "missing_column")]
    assert 'did you mean "kids"?' in found[0]["detail"]
    assert '"age", "kids"' in problems({"rows": [ROW | {"zzzzzz": 1}]})[0]["detail"]


def test_absent_is_not_null() -> None:
    assert short(problems({"rows": [{k: v for k, v in ROW.items() if k != "job"}]})) == [
        ("/rows/0/job", "missing_column")
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [("", "missing_member")]),
        ([], [("", "wrong_type")]),
        (5, [("", "wrong_type")]),
        ({"rows": []}, [("/rows", "no_rows")]),
        ({"rows": {}}, [("/rows", "wrong_type")]),
        ({"rows": [[]]}, [("/rows/0", "wrong_type")]),
        ({"rows": [{"x": 1}], "more": {"a": [1]}}, [("/more", "unknown_member")]),
        ({"rows": [{"x": 1}], "columns": {"x": [1]}}, [("/columns", "conflicting_members")]),
        ({"columns": {}}, [("/columns/x", "missing_column")]),
        ({"columns": {"x": []}}, [("/columns", "no_rows")]),
        ({"columns": {"x": 1}}, [("/columns/x", "wrong_type")]),
        ({"columns": [1]}, [("/columns", "wrong_type")]),
        ({"columns": {"x": [1], "y": [2]}}, [("/columns/y", "unknown_column")]),
    ],
)
def test_a_request_of_another_shape_is_told_the_right_one(body: Any, expected: list[tuple[str, str]]) -> None:
    assert short(problems(body, X)) == expected


def test_columns_of_different_lengths_are_named() -> None:
    found = problems({"columns": {name: [v] * (3 if name == "owner" else 2) for name, v in ROW.items()}})
    assert short(found) == [("/columns/owner", "ragged_columns")]
    assert found[0]["detail"] == '"owner" has 3 values, "age" has 2; give one value per row'


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b'{"rows":[{"x":1,"x":2}]}', "/rows/0/x"),
        (b'{"rows":[{"x":1,"\\u0078":2}]}', "/rows/0/x"),
        (b'{"rows":[{"x":1},{"x":2, "x" :2}]}', "/rows/1/x"),
        (b'{"rows":[{"x":1}],"rows":[{"x":1}]}', "/rows"),
        (b'{"columns":{"x":[1],"x":[2]}}', "/columns/x"),
        (b'{"columns":{"x":[1]},"columns":{"x":[1]}}', "/columns"),
    ],
)
def test_the_same_key_twice_is_a_problem(body: bytes, where: str) -> None:
    assert short(problems(body, X)) == [(where, "duplicate_key")]


def test_a_key_twice_is_not_hidden_by_colons_in_texts() -> None:
    text = Field(name="s", type=Type.STRING)
    for body in (
        b'{"rows":[{"s":"a","s":"b\\u003a"}]}',
        b'{"rows":[{"s":":","s":"b"}]}',
        b'{"rows":[{"s":"\\\\u003a","s":""}]}',
    ):
        assert short(problems(body, text)) == [("/rows/0/s", "duplicate_key")]
    frame = parse(contract([text]), b'{"rows":[{"s":"\\u003a\\\\u003a:"}]}')
    assert values([text], frame) == [[":\\u003a:"]]


def test_negative_zero_keeps_its_sign() -> None:
    frame = parse(contract([X]), b'{"rows":[{"x":-0},{"x":-0.0},{"x":0}]}')
    assert [str(v) for v in values([X], frame)[0]] == ["-0.0", "-0.0", "0.0"]


def test_at_most_a_hundred_problems_are_listed_and_all_are_counted() -> None:
    with pytest.raises(InvalidDataError) as caught:
        parse(contract([X]), b'{"columns":{"x":[' + b",".join([b"true"] * 150) + b"]}}")
    assert len(caught.value.problems) == 100
    assert caught.value.problems_total == 150
    assert caught.value.detail == "The data does not fit model m version 1: 150 problems."


def test_the_search_for_problems_ends_in_time() -> None:
    now = iter(range(10**9))
    with pytest.raises(InvalidDataError) as caught:
        parse(
            contract([X], max_rows=10**6),
            b'{"columns":{"x":[' + b",".join([b"true"] * 20_000) + b"]}}",
            lambda: next(now),
        )
    assert 0 < caught.value.problems_total < 20_000
    assert "at least" in caught.value.detail


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "cut off"),
        (b"  ", "cut off"),
        (b"{", "cut off"),
        (b'{"rows":[{"x":1}', "cut off"),
        (b'{"rows":[{"x":"abc', "cut off"),
        (b'{"rows":[{"x":1}]} x', "byte 19"),
        (b'{"rows":[{"x":1},]}', "byte 17"),
        (b'{"rows":[{"x":1,}]}', "comma"),
        (b'{"rows":[{"x":01}]}', "byte 14"),
        (b'{"rows":[{"x":.5}]}', "byte 14"),
        (b"{'rows':[]}", "byte 1"),
        (b'{"rows":[{"x":"\\x"}]}', "backslash"),
        (b'{"rows":[{"x":"a\tb"}]}', "U+0009"),
        (b'{"rows":[{"x":"\xff"}]}', "UTF-8"),
        (b'{"rows":[{"x\xff":1}]}', "UTF-8"),
        (b"\xef\xbb\xbf{}", "byte 0"),
        (b'{"rows":\n[\n  {"x":1} {"x":1}]}', "line 3, column 11"),
        (b"[" * 100_000, "nested deeper than 64"),
        (b'{"rows":[{"x":' + b'{"a":' * 30_000, "nested deeper than 64"),
    ],
)
def test_what_is_not_json_is_malformed_and_says_where(body: bytes, says: str) -> None:
    with pytest.raises(MalformedRequestError, match="not well-formed JSON") as caught:
        parse(contract([X]), body)
    assert says in caught.value.detail


def test_more_rows_than_the_limit_are_too_large_in_every_form() -> None:
    compiled = contract([X], max_rows=3)
    assert parse(compiled, b'{"columns":{"x":[1,2,3]}}').rows == 3
    for body in (b'{"columns":{"x":[1,2,3,4]}}', rows_body(*[{"x": 1}] * 4), b'{"columns":{"x":[1,2,3,true]}}'):
        with pytest.raises(PayloadTooLargeError) as caught:
            parse(compiled, body)
        assert caught.value.reason == "too_many_rows"


def test_names_that_no_struct_can_have_are_read_all_the_same() -> None:
    odd = (Field(name='say "x"', type=Type.DOUBLE), Field(name="back\\slash", type=Type.INTEGER))
    frame = parse(contract(odd), json.dumps({"rows": [{'say "x"': 1.5, "back\\slash": 2}] * 2}).encode())
    assert values(odd, frame) == [[1.5, 1.5], [2, 2]]
    assert short(problems(b'{"rows":[{"say \\"x\\"":1,"say \\"x\\"":1,"back\\\\slash":2}]}', *odd)) == [
        ('/rows/0/say "x"', "duplicate_key")
    ]


def test_pointers_escape_what_rfc_6901_escapes() -> None:
    assert short(problems({"rows": [{"a/b~c": "x"}]}, Field(name="a/b~c", type=Type.DOUBLE))) == [
        ("/rows/0/a~1b~0c", "wrong_type")
    ]


def test_what_a_caller_sent_is_repeated_short_and_printable() -> None:
    (problem,) = problems({"rows": [{"x": "\n" + "z" * 500}]}, X)
    assert len(problem["detail"]) < 200
    assert "\n" not in problem["detail"]
    assert problem["detail"].startswith('expected a number, got the text "\\u000azzz')


REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
DOCUMENTED = (
    Field(name="income", type=Type.DOUBLE),
    Field(name="children", type=Type.INTEGER, nullable=True),
    Field(name="owner", type=Type.LOGICAL),
    Field(name="job", type=Type.FACTOR, levels=("clerk", "farmer")),
    Field(name="born", type=Type.DATE),
)


def examples(page: str) -> list[bytes]:
    text = (REFERENCE / page).read_text(encoding="utf-8")
    return [block.encode() for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]


def test_the_reference_lists_every_code_with_its_meaning() -> None:
    _, _, text = (REFERENCE / "requests.md").read_text(encoding="utf-8").partition("| code | meaning |\n")
    assert dict(re.findall(r"^\| `([a-z_]+)` \| (.*) \|$", text, re.MULTILINE)) == CODES


def test_the_references_examples_are_requests() -> None:
    compiled = contract(DOCUMENTED)
    rows, columns, _, call, problem = examples("requests.md")
    assert json.loads(call)["inputs"].keys() == {"principal", "rate", "years", "start"}
    assert parse(compiled, rows) == parse(compiled, columns)
    assert parse_v2(compiled, examples("oip.md")[0]).frame == parse(compiled, rows)
    (shown,) = json.loads(problem)["problems"]
    (found,) = problems(rows.replace(b'"farmer"', b'"Clerk"'), *DOCUMENTED)
    assert found == shown
