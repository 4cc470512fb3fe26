"""Large bodies are read, and large answers written, in steps short enough that other requests hardly notice."""

from __future__ import annotations

import json
import struct
import sys
from array import array
from collections.abc import Callable, Generator
from typing import Any

import pytest

from gateway.core.contract import Contract
from gateway.core.contract.oip_request import OipRequest, Requested
from shared.errors import InvalidDataError, MalformedRequestError
from shared.signature import Field, Type
from shared.wire import Frame
from tests.unit.gateway.contract_cases import contract

SIZE = 1024 * 1024
#: What a call counts for on the clock that the reader sees: a fair guess, and the same on every machine.
CALL_S = 2e-7
#: Calls of one step, to Python's functions and to C's: ten milliseconds at that price.
MOST_CALLS = 50_000
#: Bytes of the body for each step, so that no single call does the work of many.
MOST_BYTES = 250_000
#: Where there is no value to look at, or the reader has seen enough after a few.
PASSED_OVER = {"one giant text", "deep nesting", "white space", "tensors"}
X, S, T = Field(name="x", type=Type.DOUBLE), Field(name="s", type=Type.STRING), Field(name="t", type=Type.DATETIME)
WIDE = tuple(Field(name=f"column{i}", type=Type.DOUBLE) for i in range(13))


class Work:
    """Counts calls, which takes no time by its own clock: what is done between two pauses is the same on any machine."""

    def __init__(self) -> None:
        self.calls = 0

    def clock(self) -> float:
        """Seconds of work so far."""
        return self.calls * CALL_S

    def _count(self, *_: object) -> None:
        self.calls += 1

    def of(self, start: Callable[[Callable[[], float]], Generator[None, None, Any]]) -> list[int]:
        """How many calls each step makes."""
        running, steps = start(self.clock), []
        before = sys.getprofile()
        while True:
            began = self.calls
            try:
                sys.setprofile(self._count)
                next(running)
            except (StopIteration, InvalidDataError, MalformedRequestError):
                return [*steps, self.calls - began]
            finally:
                sys.setprofile(before)
            steps.append(self.calls - began)


def many(before: bytes, one: bytes, after: bytes) -> bytes:
    return before + b",".join([one] * (SIZE // (len(one) + 1))) + after


def wide_rows() -> bytes:
    row = {field.name: 1 / (3 + i) for i, field in enumerate(WIDE)}
    return many(b'{"rows":[', json.dumps(row).encode(), b"]}")


BODIES: dict[str, tuple[tuple[Field, ...], Callable[[], bytes]]] = {
    "rows": (WIDE, wide_rows),
    "rows, a column missing in each": (WIDE, lambda: wide_rows().replace(b'"column3"', b'"column_"')),
    "rows, the last one wrong": (WIDE, lambda: wide_rows()[:-4] + b'"}]}'),
    "few rows, all wrong": (WIDE, lambda: json.dumps({"rows": [{f.name: "1" for f in WIDE}] * 280}).encode()),
    "rows cut off": (WIDE, lambda: wide_rows()[:-2]),
    "one column": ((X,), lambda: many(b'{"columns":{"x":[', b"1.25", b"]}}")),
    "one column of texts": ((S,), lambda: many(b'{"columns":{"s":[', b'"},]{["', b"]}}")),
    "one column of datetimes": ((T,), lambda: many(b'{"columns":{"t":[', b'"2024-02-29T00:00:00Z"', b"]}}")),
    "a wrong value in each place": ((X,), lambda: many(b'{"columns":{"x":[', b'"a"', b"]}}")),
    "one giant text": ((S,), lambda: b'{"rows":[{"s":"%b"}]}' % (b"a" * SIZE)),
    "one giant text of escapes": ((S,), lambda: b'{"rows":[{"s":"%b"}]}' % (b"\\n" * (SIZE // 2))),
    "one giant row": ((X,), lambda: b'{"rows":[{%b}]}' % b",".join(b'"k%d":1' % i for i in range(SIZE // 12))),
    "one giant row of one key": ((X,), lambda: many(b'{"rows":[{', b'"x":1', b"}]}")),
    "unknown members": ((X,), lambda: b"{%b}" % b",".join(b'"k%d":1' % i for i in range(SIZE // 12))),
    "deep nesting": ((X,), lambda: b'{"rows":[{"x":' + b"[" * SIZE),
    "shallow nesting": ((X,), lambda: many(b'{"rows":[{"x":[', b"[]", b"]}]}")),
    "white space": ((X,), lambda: b" " * SIZE + b"{}"),
    "escaped colons": ((S,), lambda: many(b'{"rows":[', b'{"s":"\\u003a"}', b"]}")),
    "negative zeros": ((X,), lambda: many(b'{"columns":{"x":[', b"-0", b"]}}")),
}


@pytest.mark.parametrize("name", BODIES)
def test_no_step_of_reading_a_large_body_holds_others_up(name: str) -> None:
    fields, make = BODIES[name]
    compiled, body = contract(fields, max_rows=10**7), make()
    assert len(body) < 65_536 or len(body) > SIZE * 0.7
    steps = Work().of(lambda clock: compiled.parse_steps(body, clock))
    assert max(steps) < MOST_CALLS
    assert name in PASSED_OVER or len(steps) > len(body) / MOST_BYTES


def binary(datatype: str, data: bytes, rows: int, name: str = "x") -> tuple[bytes, int]:
    tensor = {"name": name, "datatype": datatype, "shape": [rows], "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    return head + data, len(head)


@pytest.mark.parametrize(
    ("name", "fields", "make"),
    [
        (
            "json",
            (X,),
            lambda: (many(b'{"inputs":[{"data":[', b"1.5", b'],"name":"x","datatype":"FP64","shape":[1]}]}'), None),
        ),
        ("nested", (X,), lambda: (many(b'{"inputs":[{"name":"x","data":[', b"[[1]]", b"]}]}"), None)),
        ("tensors", (X,), lambda: (many(b'{"inputs":[', b'{"name":"x"}', b"]}"), None)),
        ("outputs", (X,), lambda: (many(b'{"inputs":[],"outputs":[', b'{"name":"x"}', b"]}"), None)),
        ("nan", (X,), lambda: binary("FP64", struct.pack("<d", float("nan")) * (SIZE // 8), SIZE // 8)),
        ("inexact", (X,), lambda: binary("INT64", array("q", [2**60 + 1] * (SIZE // 8)).tobytes(), SIZE // 8)),
        ("texts", (S,), lambda: binary("BYTES", b"\3\0\0\0abc" * (SIZE // 7), SIZE // 7, "s")),
        ("not-utf8", (S,), lambda: binary("BYTES", b"\1\0\0\0\xff" * (SIZE // 5), SIZE // 5, "s")),
    ],
)
def test_no_step_of_reading_a_large_tensor_holds_others_up(
    name: str, fields: tuple[Field, ...], make: Callable[[], Any]
) -> None:
    compiled = contract(fields, max_rows=10**7)
    body, length = make()
    steps = Work().of(lambda clock: compiled.parse_v2_steps(body, length, clock))
    assert max(steps) < MOST_CALLS
    assert name in PASSED_OVER or len(steps) > len(body) / MOST_BYTES


def test_a_small_body_is_read_in_one_step() -> None:
    assert len(Work().of(lambda clock: contract([X]).parse_steps(b'{"rows":[{"x":1}]}', clock))) == 1


def test_others_time_does_not_count_as_time_spent_searching() -> None:
    """Each look at the clock is a microsecond later, each pause an hour long; and still every problem is found."""
    clock = [0.0]

    def now() -> float:
        clock[0] += 1e-5
        return clock[0]

    body = b'{"columns":{"x":[' + b",".join([b"true"] * 40_000) + b"]}}"
    pauses = 0

    def run() -> None:
        nonlocal pauses
        for _ in contract([X], max_rows=10**6).parse_steps(body, now):
            clock[0] += 3600
            pauses += 1

    with pytest.raises(InvalidDataError) as caught:
        run()
    assert caught.value.problems_total == 40_000
    assert pauses > 3


@pytest.fixture
def answering() -> tuple[Contract, Frame]:
    outputs = (Field(name="fit", type=Type.DOUBLE), Field(name="label", type=Type.FACTOR, levels=("a", "b")))
    rows = 100_000
    frame = Frame(rows, (array("d", [1 / 3] * rows).tobytes(), array("i", [1, 2] * (rows // 2)).tobytes()))
    return contract(outputs=outputs, kind="table"), frame


def test_no_step_of_writing_a_large_answer_holds_others_up(answering: tuple[Contract, Frame]) -> None:
    compiled, frame = answering
    steps = Work().of(lambda _: compiled.write_v1_steps(frame))
    for asked in (False, True):
        request = OipRequest(frame, None, (Requested(0, asked), Requested(1, asked)))
        steps += Work().of(lambda _, request=request: compiled.write_v2_steps(frame, request))  # type: ignore[misc]
    assert max(steps) < MOST_CALLS
    assert len(steps) > 3 * 10
