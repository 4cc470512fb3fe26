"""Signatures, rows and broken bodies for the contract's tests: what hypothesis draws, and a few fixed ones."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from gateway.core.contract import Contract, OipRequest, compile_contract
from gateway.core.contract.civil import format_date, format_datetime
from gateway.core.contract.compiled import Clock
from gateway.core.contract.tokens import Steps, T
from shared.catalogue import VersionEntry
from shared.signature import Field, Signature, Type
from shared.wire import Frame, unpack_frame

#: One column of each type, and labels, names and texts that a careless reader would trip over.
FIELDS = (
    Field(name="age", type=Type.DOUBLE),
    Field(name="kids", type=Type.INTEGER, nullable=True),
    Field(name="owner", type=Type.LOGICAL),
    Field(name="job", type=Type.FACTOR, levels=("clerk", "a:b", "none"), nullable=True),
    Field(name="note:1", type=Type.STRING, nullable=True),
    Field(name="born", type=Type.DATE),
    Field(name="seen", type=Type.DATETIME, nullable=True),
)
ROW: dict[str, Any] = {
    "age": 41.5,
    "kids": 2,
    "owner": True,
    "job": "a:b",
    "note:1": 'he: said, {"x"} ]',
    "born": "1983-02-28",
    "seen": "2024-02-29T12:00:00.25+01:00",
}
PREDICTION = (Field(name="prediction", type=Type.DOUBLE, nullable=True),)


def entry(
    inputs: Sequence[Field] = FIELDS,
    outputs: Sequence[Field] = PREDICTION,
    *,
    kind: str = "vector",
    name: str = "m",
    **more: Any,
) -> VersionEntry:
    signature = Signature(inputs=tuple(inputs), outputs=tuple(outputs), kind=kind)
    return VersionEntry(model=name, version="1", state="ready", digest="d", signature=signature, **more)


def contract(inputs: Sequence[Field] = FIELDS, *, max_rows: int = 1000, **more: Any) -> Contract:
    return compile_contract(entry(inputs, **more), max_rows)


# --- whole, where the gateway goes in steps


def finish(steps: Steps[T]) -> T:
    """Run to the end without letting anyone else run."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result


def parse(contract: Contract, body: bytes, clock: Clock | None = None) -> Frame:
    return finish(contract.parse_steps(body, clock))


def parse_v2(contract: Contract, body: bytes, header_length: int | None = None) -> OipRequest:
    return finish(contract.parse_v2_steps(body, header_length))


def encode_v1(contract: Contract, frame: Frame) -> bytes:
    return finish(contract.write_v1_steps(frame))


def encode_v2(contract: Contract, frame: Frame, request: OipRequest) -> tuple[int | None, bytes]:
    return finish(contract.write_v2_steps(frame, request))


# --- bodies and frames


def rows_body(*rows: dict[str, Any]) -> bytes:
    return json.dumps({"rows": list(rows)}).encode()


def values(fields: Sequence[Field], frame: Frame) -> list[list[Any]]:
    """A frame's columns, NaN as None."""
    return [
        [None if isinstance(v, float) and math.isnan(v) else v for v in column]
        for column in unpack_frame(fields, frame)
    ]


# --- what hypothesis draws

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
names = st.one_of(
    st.sampled_from(["x", "a b", "note:1", "é", "x.y", "rows", "columns", "日本"]),
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8).filter(
        lambda n: not n.startswith("__")
    ),
)
levels = st.lists(
    st.one_of(st.sampled_from(["a", "b:c", "", "null", "}", "é"]), text), min_size=1, max_size=4, unique=True
)


@st.composite
def fields(draw: st.DrawFn) -> Field:
    kind = draw(st.sampled_from(list(Type)))
    return Field(
        name=draw(names),
        type=kind,
        nullable=draw(st.booleans()),
        levels=tuple(draw(levels)) if kind is Type.FACTOR else (),
    )


signatures = st.lists(fields(), min_size=1, max_size=5, unique_by=lambda f: f.name)

_YEAR_1, _YEAR_9999 = -62_135_596_800.0, 253_402_300_799.0


def numbers(field: Field) -> st.SearchStrategy[Any]:
    """Values of a column as R has them: dates and datetimes as numbers."""
    found: st.SearchStrategy[Any]
    match field.type:
        case Type.DOUBLE:
            found = st.floats(allow_nan=False, allow_infinity=False)
        case Type.INTEGER:
            found = st.integers(-(2**31) + 1, 2**31 - 1)
        case Type.LOGICAL:
            found = st.booleans()
        case Type.STRING:
            found = text
        case Type.FACTOR:
            found = st.sampled_from(field.levels)
        case Type.DATE:
            found = st.integers(-719_162, 2_932_896).map(float)
        case Type.DATETIME:
            found = st.floats(_YEAR_1, _YEAR_9999).map(lambda second: second + 0.0) | st.integers(
                int(_YEAR_1), int(_YEAR_9999)
            ).map(float)
    return st.none() | found if field.nullable else found


def shown(field: Field, value: Any) -> Any:
    """The value as a client sends it."""
    if value is None:
        return None
    if field.type is Type.DATE:
        return format_date(value)
    return format_datetime(value) if field.type is Type.DATETIME else value


@st.composite
def tables(draw: st.DrawFn, min_rows: int = 1, max_rows: int = 6) -> tuple[list[Field], list[list[Any]]]:
    """A signature and its rows, as lists of columns."""
    columns = draw(signatures)
    count = draw(st.integers(min_rows, max_rows))
    return columns, [draw(st.lists(numbers(f), min_size=count, max_size=count)) for f in columns]


@st.composite
def encoded(draw: st.DrawFn, value: Any, *, floats: bool = True) -> str:
    """JSON text of a value, written in one of the ways there are; whole numbers also as 5.0 if `floats`."""
    space = draw(st.sampled_from(["", "", "", " ", "\n\t "]))
    if isinstance(value, dict):
        items = list(value.items())
        if draw(st.booleans()):
            items = draw(st.permutations(items))
        return (
            "{"
            + space
            + ",".join(f"{_text(draw, k)}{space}:{draw(encoded(v, floats=floats))}" for k, v in items)
            + space
            + "}"
        )
    if isinstance(value, list):
        return "[" + space + f"{space},{space}".join(draw(encoded(v, floats=floats)) for v in value) + space + "]"
    if isinstance(value, str):
        return _text(draw, value)
    if isinstance(value, int) and not isinstance(value, bool) and floats and draw(st.booleans()):
        return draw(st.sampled_from([f"{value}.0", f"{value}.000", f"{value}e0", f"{value}E+00"]))
    if isinstance(value, float):
        return draw(st.sampled_from([repr(value), f"{value:.17g}", f"{value:.25e}"]))
    return json.dumps(value)


def _text(draw: st.DrawFn, value: str) -> str:
    style = draw(st.sampled_from(["ascii", "utf-8", "escaped"]))
    if style == "escaped":
        pairs = value.encode("utf-16-be", "surrogatepass")
        return '"' + "".join(f"\\u{pairs[i]:02x}{pairs[i + 1]:02X}" for i in range(0, len(pairs), 2)) + '"'
    return json.dumps(value, ensure_ascii=style == "ascii")


_FRAGMENTS = [
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b"-0", b"1e400", b"1e5", b".5", b"null", b"true", b"NaN",
    b"-Infinity", b'"x"', b'"x":1', b"\\u0000", b"\\ud800", b"\xff", b"\xed\xa0\x80", b"\0", b"\n", b" ", b"\\u003a",
    b'"a"', b",,", b"[]", b"{}", b"2147483648", b"-2147483648", b"5.0", b"5.5", b'"2024-02-30"', b"\xef\xbb\xbf",
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, body: bytes) -> bytes:
    """The body with a few bytes taken out, put in, doubled or exchanged; sometimes unharmed."""
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        to = min(len(body), at + draw(st.integers(0, 12)))
        match draw(st.sampled_from(["cut", "drop", "insert", "double", "replace"])):
            case "cut":
                body = body[:at]
            case "drop":
                body = body[:at] + body[to:]
            case "insert":
                body = body[:at] + draw(st.sampled_from(_FRAGMENTS)) + body[at:]
            case "double":
                body = body[:to] + body[at:]
            case "replace":
                body = body[:at] + draw(st.sampled_from(_FRAGMENTS)) + body[to:]
    return body


def seconds_of(moment: datetime) -> float:
    """Exact for whole microseconds near the epoch."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)
