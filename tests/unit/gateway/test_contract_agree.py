"""The ways to read a body agree: msgspec at once, msgspec in chunks, and value by value.

They take the same bodies, give the same frame to the last bit, and refuse with the same problems.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core.contract import Contract, compile_contract
from gateway.core.contract.forms import UnfitError
from gateway.core.contract.v1_reader import V1Reader
from shared.errors import InvalidDataError, MalformedRequestError, PayloadTooLargeError
from shared.signature import Field
from shared.wire import Frame, pack_frame
from tests.unit.gateway.contract_cases import (
    FIELDS,
    ROW,
    contract,
    damaged,
    encoded,
    entry,
    finish,
    parse,
    shown,
    tables,
)

#: (frame) or (kind of refusal, problems).
Outcome = tuple[Any, ...]


def as_bytes(frame: Frame | None) -> Outcome:
    if frame is None:
        return ("exactly",)
    return frame.rows, tuple(bytes(buffer) for buffer in frame.buffers)


def outcome(read: Any) -> Outcome:
    try:
        return as_bytes(read())
    except (MalformedRequestError, InvalidDataError, PayloadTooLargeError) as error:
        return type(error), error.detail, [tuple(sorted(p.items())) for p in error.problems]


def fast_way(compiled: Contract, body: bytes) -> Any:
    """The frame, or None where the fast way leaves the body to the exact one."""
    try:
        return compiled.fast.whole(body)
    except UnfitError:
        return None


def exact(compiled: Contract, body: bytes) -> Outcome:
    return outcome(lambda: finish(V1Reader(compiled, body, lambda: 0.0, chunk_bytes=0).read()))


def agree(compiled: Contract, body: bytes) -> Outcome:
    """What all ways say of this body."""
    said = exact(compiled, body)
    for chunk in (1, 7, 40, 10_000):
        chunked = outcome(lambda size=chunk: finish(V1Reader(compiled, body, lambda: 0.0, chunk_bytes=size).read()))
        assert chunked == said, chunk
    assert outcome(lambda: parse(compiled, body, lambda: 0.0)) == said
    fast = outcome(lambda: fast_way(compiled, body))
    assert fast == ("exactly",) or fast[0] == said[0]
    assert fast[0] in ("exactly", PayloadTooLargeError) or fast == said
    return said


@st.composite
def bodies(draw: st.DrawFn) -> tuple[list[Field], list[list[Any]], bytes]:
    """A signature, its values, and a body that says so."""
    columns, data = draw(tables())
    named = {f.name: [shown(f, v) for v in vs] for f, vs in zip(columns, data, strict=True)}
    document: dict[str, Any] = {"columns": named}
    if draw(st.booleans()):
        document = {"rows": [dict(zip(named, row, strict=True)) for row in zip(*named.values(), strict=True)]}
    return columns, data, draw(encoded(document)).encode()


@given(bodies())
def test_what_is_valid_is_taken_bit_by_bit_by_every_way(case: tuple[list[Field], list[list[Any]], bytes]) -> None:
    columns, data, body = case
    compiled = compile_contract(entry(columns), 1000)
    assert agree(compiled, body) == as_bytes(pack_frame(columns, data))


@given(st.data())
@settings(max_examples=250)
def test_what_is_damaged_is_judged_alike_by_every_way(data: st.DataObject) -> None:
    columns, _, body = data.draw(bodies())
    agree(compile_contract(entry(columns), 4), data.draw(damaged(body)))


@given(st.data())
@settings(max_examples=250)
def test_damage_to_the_usual_request_is_judged_alike(data: st.DataObject) -> None:
    document: Any = {"rows": [ROW, ROW | {"job": None, "kids": None}]}
    if data.draw(st.booleans()):
        document = {"columns": {name: [value, value, value] for name, value in ROW.items()}}
    body = json.dumps(document, ensure_ascii=data.draw(st.booleans())).encode()
    agree(contract(), data.draw(damaged(body)))


@given(bodies())
def test_what_a_usual_client_sends_needs_no_second_look(case: tuple[list[Field], list[list[Any]], bytes]) -> None:
    """The fast way takes everything valid, but for what it says it leaves: -0, escaped colons, names with quotes."""
    columns, data, body = case
    compiled = compile_contract(entry(columns), 1000)
    if b"-0" in body or b"\\u003" in body or any(c in f.name for f in columns for c in '"\\') or b'"\\u' in body:
        return
    assert as_bytes(compiled.fast.whole(body)) == as_bytes(pack_frame(columns, data))


_NUMBERS = st.from_regex(rb"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)


@given(st.lists(_NUMBERS, min_size=1, max_size=5))
@example([b"9007199254740993", b"-9007199254740993", b"18446744073709551617", b"1" * 400, b"-0", b"-0.0", b"-0e5"])
@example([b"2.2250738585072011e-308", b"1.7976931348623158e308", b"1.7976931348623159e308", b"4.9e-324", b"2e-324"])
def test_a_number_reaches_double_rounded_once(tokens: list[bytes]) -> None:
    (field,) = columns = (Field(name="x", type=FIELDS[0].type),)
    compiled = contract(columns)
    said = agree(compiled, b'{"columns":{"x":[%b]}}' % b",".join(tokens))
    doubles = [float(token) for token in tokens]
    if any(abs(d) == float("inf") for d in doubles):
        assert said[0] is InvalidDataError
    else:
        assert said == as_bytes(pack_frame([field], [doubles]))


@given(st.lists(_NUMBERS, min_size=1, max_size=5))
@example([b"5.0", b"1e2", b"2147483647", b"-2147483647.0"])
@example([b"-2147483648"])
def test_an_integer_is_taken_however_it_is_written(tokens: list[bytes]) -> None:
    (field,) = columns = (Field(name="x", type=FIELDS[1].type),)
    said = agree(contract(columns), b'{"columns":{"x":[%b]}}' % b",".join(tokens))
    doubles = [float(token) for token in tokens]
    if all(d.is_integer() and abs(d) < 2**31 for d in doubles):
        assert said == as_bytes(pack_frame([field], [[int(d) for d in doubles]]))
    else:
        assert said[0] is InvalidDataError
