"""Binary tensors of the Open Inference Protocol to a column's buffers, in steps, without a Python loop per number.

Numbers pass as they are or through `array`, and are tested by `min`, `max`, `set` and `isnan` over arrays; values are looked at
one by one only to say which of them do not fit. Source: the binary tensor data extension of KServe and Triton; a BYTES element
is its length in four bytes, little-endian, and then its bytes.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from math import isnan
from typing import Any

from gateway.core.contract.forms import STRING, Buffers, Form, RefusedError, UnfitError, join
from gateway.core.contract.tokens import Steps
from gateway.core.findings import Findings, pointer
from shared.signature import Field, Type
from shared.wire import NA_INTEGER, pack

#: Array typecode and bytes per element of each datatype; BYTES has elements of any size.
TYPECODES = {
    "BOOL": "B",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "FP32": "f",
    "FP64": "d",
}
WIDTH = {datatype: array(code).itemsize for datatype, code in TYPECODES.items()}
#: Least and greatest value of the integer datatypes.
BOUNDS = {
    f"{sign}INT{bits}": (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for sign in ("", "U")
    for bits in (8, 16, 32, 64)
}
#: Elements between two pauses.
_STEP = 16_384
_TEXT_STEP = 2_048
_EXACT = 2**53
_length_at = struct.Struct("<I").unpack_from


def numbers(
    field: Field, datatype: str, data: memoryview, where: tuple[str | int, ...], findings: Findings
) -> Steps[Buffers]:
    """One column sent as numbers. `data` has the datatype's size times the rows; what does not fit goes to `findings`."""
    convert = converter(field, datatype)
    parts: list[Buffers] = []
    width = WIDTH[datatype]
    for start in range(0, len(data) // width, _STEP):
        values = array(TYPECODES[datatype], b"")
        values.frombytes(data[start * width : (start + _STEP) * width])
        refused, part = convert(values)
        for index, code, detail in refused:
            findings.add(code, pointer(*where), f"row {start + index}: {detail}", column=field.name, row=start + index)
            if findings.tick():
                yield from findings.pause()
        parts.append(part)
        yield from findings.pause()
    return join(parts) if parts else pack(field, [])


def converter(field: Field, datatype: str) -> Callable[[Any], _Converted]:
    """What packs an array of this datatype for this column, and says which values do not fit."""
    return _CONVERT[field.type](field, datatype)


def few_numbers(convert: Callable[[Any], _Converted], datatype: str, data: memoryview) -> Buffers:
    """As `numbers`, in one go, for little data; raises UnfitError where something does not fit."""
    values = array(TYPECODES[datatype])
    values.frombytes(data)
    refused, part = convert(values)
    if refused:
        raise UnfitError
    return part


def few_texts(form: Form, data: memoryview, rows: int) -> Buffers:
    """As `texts`, in one go, for little data without missing rows; raises UnfitError."""
    values = []
    at, size = 0, len(data)
    for _ in range(rows):
        start = at + 4
        if start > size or (at := start + _length_at(data, at)[0]) > size:
            raise UnfitError
        try:
            values.append(str(data[start:at], "utf-8"))
        except UnicodeDecodeError:
            raise UnfitError from None
    if at != size:
        raise UnfitError
    return form.pack_texts(values)


#: (index, code, detail) of each value that does not fit, and the packed values.
_Converted = tuple[Iterable[tuple[int, str, str]], Buffers]


def _may_hold_nan(values: Any) -> bool:
    """False where no float is a NaN, found by one byte of each: a NaN's exponent is all ones, and seven of its bits stand there."""
    highest = values.tobytes()[values.itemsize - 1 :: values.itemsize]
    return 0x7F in highest or 0xFF in highest


def _doubles(field: Field, datatype: str) -> Callable[[Any], _Converted]:
    def missing(values: Any) -> Iterable[tuple[int, str, str]]:
        if field.nullable or not (_may_hold_nan(values) and any(map(isnan, values))):
            return ()
        detail = "NaN stands for a missing value, which the model cannot score"
        return [(i, "not_nullable", detail) for i, value in enumerate(values) if isnan(value)]

    def inexact(values: Any) -> Iterable[tuple[int, str, str]]:
        if not values or (max(values) <= _EXACT and min(values) >= -_EXACT):
            return ()
        return [
            (i, "out_of_range", f"{v} has no exact double; send FP64")
            for i, v in enumerate(values)
            if int(float(v)) != v
        ]

    if datatype == "FP64":
        return lambda values: (missing(values), (values.tobytes(),))
    if datatype == "FP32":
        return lambda values: (missing(values), (array("d", values).tobytes(),))
    return lambda values: (inexact(values), (array("d", values).tobytes(),))


def _integers(field: Field, datatype: str) -> Callable[[Any], _Converted]:
    takes_na = field.nullable and datatype == "INT32"

    def fits(value: int) -> bool:
        return NA_INTEGER < value <= 2**31 - 1 or (takes_na and value == NA_INTEGER)

    def convert(values: Any) -> _Converted:
        if takes_na or (min(values) > NA_INTEGER and max(values) <= 2**31 - 1):
            return (), (values.tobytes() if datatype == "INT32" else array("i", values).tobytes(),)
        return [
            (i, "out_of_range", f"{v} is outside -2147483647 to 2147483647, the integers R has")
            if v != NA_INTEGER or datatype != "INT32"
            else (i, "not_nullable", "-2147483648 stands for a missing value, which the model cannot score")
            for i, v in enumerate(values)
            if not fits(v)
        ], ()

    return convert


def _among(allowed: frozenset[int], code: str, what: str) -> Callable[[Any], _Converted]:
    def convert(values: Any) -> _Converted:
        if allowed.issuperset(values):
            return (), (values.tobytes() if values.typecode == "i" else array("i", values.tolist()).tobytes(),)
        return [(i, code, f"{v} is not {what}") for i, v in enumerate(values) if v not in allowed], ()

    return convert


def _logicals(field: Field, datatype: str) -> Callable[[Any], _Converted]:
    missing = field.nullable and datatype == "INT32"
    return _among(
        frozenset({0, 1} | ({NA_INTEGER} if missing else set())),
        "out_of_range",
        "0 or 1" + (", nor -2147483648 for a missing value" if missing else ""),
    )


def _factors(field: Field, _: str) -> Callable[[Any], _Converted]:
    codes = set(range(1, len(field.levels) + 1)) | ({NA_INTEGER} if field.nullable else set())
    return _among(frozenset(codes), "unknown_level", f"the code of a level, 1 to {len(field.levels)}")


_CONVERT: dict[Type, Callable[[Field, str], Callable[[Any], _Converted]]] = {
    Type.DOUBLE: _doubles,
    Type.DATE: _doubles,
    Type.DATETIME: _doubles,
    Type.INTEGER: _integers,
    Type.LOGICAL: _logicals,
    Type.FACTOR: _factors,
}


def texts(
    form: Form, data: memoryview, rows: int, missing: frozenset[int], where: tuple[str | int, ...], findings: Findings
) -> Steps[Buffers]:
    """One column sent as BYTES; the rows in `missing` are NA, whatever their text."""
    name = form.field.name
    parts: list[Buffers] = []
    at = 0
    size = len(data)
    for start in range(0, rows, _TEXT_STEP):
        values: list[str | None] = []
        count = min(_TEXT_STEP, rows - start)
        for row in range(start, start + count):
            end = at + 4 + _length_at(data, at)[0] if at + 4 <= size else size + 1
            if end > size:
                detail = f"the binary data ends within row {row}; each text has its length in 4 bytes before it"
                findings.add("wrong_size", pointer(*where), detail, column=name, row=row)
                return ()
            if row in missing:
                values.append(None)
            else:
                try:
                    values.append(str(data[at + 4 : end], "utf-8"))
                except UnicodeDecodeError:
                    findings.add("invalid_text", pointer(*where), f"row {row}: not UTF-8", column=name, row=row)
                    values.append("")
                    if findings.tick():
                        yield from findings.pause()
            at = end
        try:
            parts.append(form.pack_texts(values))
        except UnfitError:
            parts.append((yield from _checked(form, values, start, where, findings)))
        yield from findings.pause()
    if at != size:
        detail = f"the binary data has {size - at} bytes after its {rows} texts"
        findings.add("wrong_size", pointer(*where), detail, column=name)
    return join(parts) if parts else pack(form.field, [])


def _checked(
    form: Form, values: Sequence[str | None], start: int, where: tuple[str | int, ...], findings: Findings
) -> Steps[Buffers]:
    """The exact way for texts."""
    taken: list[Any] = []
    for row, value in enumerate(values, start):
        try:
            taken.append(None if value is None else form.check(STRING, value))
        except RefusedError as error:
            findings.add(error.code, pointer(*where), f"row {row}: {error.detail}", column=form.field.name, row=row)
        if findings.tick():
            yield from findings.pause()
    return pack(form.field, taken) if not findings else ()


def bytes_elements(encoded: Iterable[bytes]) -> bytes:
    """BYTES elements: each with its length before it."""
    return b"".join(chain.from_iterable((len(text).to_bytes(4, "little"), text) for text in encoded))
