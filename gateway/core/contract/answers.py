"""Writes a `/v1` answer from the frame that came back: `{"model","version","predictions":[…]}`.

Doubles as the shortest text that reads back to the same double; NA, NaN and infinities as null, since JSON has nothing else for
them (`/v2` binary keeps them). Works in steps of some thousand values, for the caller to let others run between them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.core.contract.civil import format_date, format_datetime
from gateway.core.contract.tokens import Steps
from shared.signature import Field, Type
from shared.wire import NA_INTEGER, Frame, TensorSpec, WireError, split, unpack

if TYPE_CHECKING:
    from gateway.core.contract.compiled import Contract

#: Values written between two pauses: about 2 ms.
STEP_VALUES = 8_192
_encode = msgspec.json.Encoder().encode


def shown(field: Field, buffers: Sequence[Any]) -> list[Any]:
    """One column's values as JSON shows them. Floats may still be NaN or infinite, which the encoder writes as null."""
    match field.type:
        case Type.DOUBLE:
            return list(array("d", bytes(buffers[0])))
        case Type.DATE:
            return [format_date(day) for day in array("d", bytes(buffers[0]))]
        case Type.DATETIME:
            return [format_datetime(second) for second in array("d", bytes(buffers[0]))]
        case Type.INTEGER:
            values: list[Any] = list(array("i", bytes(buffers[0])))
            return [None if v == NA_INTEGER else v for v in values] if NA_INTEGER in values else values
    return unpack(field, buffers)


def columns_of(fields: Sequence[Field], frame: Frame) -> list[list[Any]]:
    """All columns as JSON shows them."""
    buffers = iter(frame.buffers)
    return [shown(field, list(islice(buffers, 2 if field.type is Type.STRING else 1))) for field in fields]


def pieces(specs: Sequence[TensorSpec], frame: Frame) -> list[Frame]:
    """The frame in parts of about `STEP_VALUES` values."""
    rows = max(1, STEP_VALUES // max(1, len(specs)))
    if frame.rows <= rows:
        return [frame]
    sizes = [rows] * (frame.rows // rows) + ([frame.rows % rows] if frame.rows % rows else [])
    return split(specs, frame, sizes)


class RowWriter:
    """Writes the rows of one signature as JSON array elements."""

    def __init__(self, fields: Sequence[Field], kind: str) -> None:
        self._fields = fields
        self._vector = kind == "vector" and len(fields) == 1
        self._doubles = self._vector and fields[0].type is Type.DOUBLE
        self._row: Any = None
        names = {f"c{index}": field.name for index, field in enumerate(fields)}
        try:
            self._row = msgspec.defstruct("Row", [(name, Any) for name in names], rename=names, gc=False)
        except ValueError:
            keys = tuple(names.values())
            self._row = lambda *values: dict(zip(keys, values, strict=True))

    def elements(self, frame: Frame) -> bytes:
        """`24.1,…` or `{"fit":24.1,…},…`, without the brackets."""
        if self._doubles:
            return _encode(memoryview(frame.buffers[0]).cast("B").cast("d").tolist())[1:-1]
        columns = columns_of(self._fields, frame)
        rows: Sequence[Any] | Iterator[Any] = columns[0] if self._vector else list(map(self._row, *columns))
        return _encode(rows)[1:-1]


def answer_head(model: str, version: str) -> bytes:
    """`{"model":…,"version":…,"predictions":[`."""
    return b'{"model":%b,"version":%b,"predictions":[' % (_encode(model), _encode(version))


def encode_v1_steps(contract: Contract, frame: Frame) -> Steps[bytes]:
    """The body of the answer; raises WireError where the scorer's columns are not the signature's."""
    check_columns(contract.output_specs, frame)
    head = contract.answer_head
    if frame.rows * len(contract.output_specs) <= STEP_VALUES:
        return b"%b%b]}" % (head, contract.row_writer.elements(frame))
    parts = []
    for piece in pieces(contract.output_specs, frame):
        parts.append(contract.row_writer.elements(piece))
        yield
    return head + b",".join(parts) + b"]}"


def check_columns(specs: Sequence[TensorSpec], frame: Frame) -> None:
    """The frame's buffers are these columns; raises WireError."""
    if len(frame.buffers) != len(specs):
        raise WireError(f"{len(frame.buffers)} buffers for {len(specs)} tensors")
    for spec, buffer in zip(specs, frame.buffers, strict=True):
        if not spec.text and len(buffer) != frame.rows * spec.width:
            raise WireError(f"{spec.name}: {len(buffer)} bytes for {frame.rows} rows")
