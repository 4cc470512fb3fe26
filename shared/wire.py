"""The wire between gateway and scorer: Open Inference Protocol v2 with binary tensors, one tensor per column.

Here are frames; `shared.messages` has the messages that carry them.

A `Frame` is rows as packed columns, in the signature's order, little-endian, ready to send. Merging concurrent requests is
concatenation of their buffers, splitting is slicing: no value is ever parsed between the gateway's validation and R.

| column type            | tensors                                                              | missing           |
|------------------------|----------------------------------------------------------------------|-------------------|
| double, date, datetime | FP64 (days; seconds since 1970-01-01 UTC)                            | R's NA (any NaN)  |
| integer, logical       | INT32                                                                | -2147483648       |
| factor                 | INT32, the 1-based code of the level                                 | -2147483648       |
| string                 | INT32 `__len.NAME`, bytes per row, then UINT8 `NAME`, UTF-8 in a row | length -2147483648|

Strings are lengths and text apart, not OIP's BYTES with a length before each: R reads both with one vectorised call
(`readBin`, `readChar`) where BYTES needs a loop over rows. `__items` (INT32) comes last: how many rows each item has; they
sum to the rows. In an answer only the items that succeeded have rows; a failed item's size is 0 and its error stands in
`parameters.errors`.

A function's call is a frame of one row. A vector in it comes after an INT32 `__size.NAME`, how many values the row has of it;
then its tensors as above, with that many values instead of one per row.

Source of the form: the OIP v2 binary data extension (KServe, Triton).
"""

from __future__ import annotations

import dataclasses
import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise
from typing import Any, Self

import msgspec

from shared.signature import Field, Type

assert sys.byteorder == "little", "the wire is packed by array(), which writes the machine's order"  # noqa: S101

NA_INTEGER = -(2**31)
#: R's NA_real_: a NaN whose low word is 1954. Test for it with isnan: arithmetic may change the payload.
NA_REAL: float = struct.unpack("<d", (0x7FF00000000007A2).to_bytes(8, "little"))[0]
LENGTH_PREFIX = "__len."
SIZE_PREFIX = "__size."
WIDTHS = {"FP64": 8, "INT32": 4, "UINT8": 1}

Buffer = bytes | bytearray | memoryview


class WireError(ValueError):
    """The bytes are not a frame of this signature."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One buffer of a frame: `rows` long, or as long as the lengths (`text`) or sizes (`vector`) before it say."""

    name: str
    datatype: str
    text: bool = False
    vector: bool = False
    #: Bytes per element.
    width: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", WIDTHS[self.datatype])


class TensorSpecs(tuple[TensorSpec, ...]):
    """The buffers of a frame of some columns, in order; and what `shared.messages` knows of messages of such frames."""

    #: Whether the buffers' lengths follow from the rows alone.
    fixed: bool
    #: Heads, by what they follow from; and what was found in heads, by their bytes.
    written: dict[tuple[object, ...], bytes]
    read: dict[bytes, Any]

    def __new__(cls, specs: Iterable[TensorSpec]) -> Self:
        """Of the specs in this order."""
        self = super().__new__(cls, specs)
        self.fixed = bool(self) and not any(spec.text or spec.vector for spec in self)
        self.written, self.read = {}, {}
        return self


def tensor_specs(fields: Iterable[Field]) -> TensorSpecs:
    """The buffers of a frame of these columns, in order."""
    specs: list[TensorSpec] = []
    for field in fields:
        if field.vector:
            specs.append(TensorSpec(SIZE_PREFIX + field.name, "INT32"))
        if field.type is Type.STRING:
            specs.append(TensorSpec(LENGTH_PREFIX + field.name, "INT32", vector=field.vector))
            specs.append(TensorSpec(field.name, "UINT8", text=True))
        else:
            specs.append(TensorSpec(field.name, "FP64" if field.type.is_float else "INT32", vector=field.vector))
    return TensorSpecs(specs)


class Frame(msgspec.Struct, frozen=True):
    """`rows` rows as one buffer per `TensorSpec`, in order. Immutable by convention: buffers are shared, never written."""

    rows: int
    buffers: tuple[Buffer, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all buffers together."""
        return sum(map(len, self.buffers))


# --- values to buffers and back


def pack(field: Field, values: Sequence[float | int | bool | str | None]) -> tuple[bytes, ...]:
    """Pack one column. `None` is NA. Factors come as labels, dates and datetimes as numbers.

    Raises WireError for an integer outside R's, a label that is not a level, text with U+0000.
    """
    if field.type.is_float:
        floats: Any = [NA_REAL if v is None else v for v in values] if None in values else values
        return (array("d", floats).tobytes(),)
    if field.type is Type.STRING:
        return _pack_strings(values)  # type: ignore[arg-type]
    if field.type is Type.FACTOR:
        codes: dict[object, int] = {level: code for code, level in enumerate(field.levels, start=1)}
        codes[None] = NA_INTEGER
        try:
            return (array("i", [codes[v] for v in values]).tobytes(),)
        except KeyError as error:
            raise WireError(f"{error.args[0]!r} is not a level of {field.name}") from error
    try:
        integers: Any = [NA_INTEGER if v is None else v for v in values]
        packed = array("i", integers)
    except OverflowError as error:
        raise WireError(f"{field.name} has an integer outside R's range") from error
    return (packed.tobytes(),)


def _pack_strings(values: Sequence[str | None]) -> tuple[bytes, bytes]:
    lengths = array("i")
    texts: list[bytes] = []
    for value in values:
        if value is None:
            lengths.append(NA_INTEGER)
            continue
        text = value.encode()
        if b"\0" in text:
            raise WireError("text cannot hold U+0000 in R")
        lengths.append(len(text))
        texts.append(text)
    return lengths.tobytes(), b"".join(texts)


def unpack(field: Field, buffers: Sequence[Buffer]) -> list[float | int | bool | str | None]:
    """The inverse of `pack`, NaN kept for doubles (NA and NaN are both NaN here), NA as None elsewhere.

    Raises WireError for a code that is no level or text that is not UTF-8.
    """
    if field.type.is_float:
        return list(array("d", bytes(buffers[0])))
    integers = array("i", bytes(buffers[0]))
    if field.type is Type.STRING:
        text, end, strings = bytes(buffers[1]), 0, []
        try:
            for length in integers:
                start, end = end, end + max(length, 0)
                strings.append(None if length == NA_INTEGER else text[start:end].decode())
        except UnicodeDecodeError as error:
            raise WireError(f"{field.name} is not UTF-8") from error
        return strings  # type: ignore[return-value]
    if field.type is Type.FACTOR:
        levels: dict[int, str | None] = dict(enumerate(field.levels, start=1))
        levels[NA_INTEGER] = None
        try:
            return [levels[code] for code in integers]
        except KeyError as error:
            raise WireError(f"{field.name} has code {error.args[0]}, which is no level") from error
    if field.type is Type.LOGICAL:
        return [None if value == NA_INTEGER else bool(value) for value in integers]
    return [None if value == NA_INTEGER else value for value in integers]


def pack_frame(fields: Sequence[Field], columns: Sequence[Sequence[float | int | bool | str | None]]) -> Frame:
    """A frame from one list per column, all of the same length."""
    rows = len(columns[0]) if columns else 0
    return Frame(rows, tuple(b for f, v in zip(fields, columns, strict=True) for b in pack(f, v)))


def pack_call(fields: Sequence[Field], values: Sequence[Sequence[float | int | bool | str | None]]) -> Frame:
    """The frame of a function's call, from one list per input or output, each of its own length."""
    return call_frame(fields, [(len(v), pack(f, v)) for f, v in zip(fields, values, strict=True)])


def call_frame(fields: Sequence[Field], packed: Iterable[tuple[int, Sequence[Buffer]]]) -> Frame:
    """As `pack_call`, from how many values each has and its buffers."""
    buffers: list[Buffer] = []
    for field, (size, parts) in zip(fields, packed, strict=True):
        if field.vector:
            buffers.append(array("i", (size,)).tobytes())
        elif size != 1:
            raise WireError(f"{field.name} has {size} values, not one")
        buffers += parts
    return Frame(1, tuple(buffers))


def call_values(fields: Sequence[Field], frame: Frame) -> list[tuple[int, tuple[Buffer, ...]]]:
    """The inverse of `call_frame`. Raises WireError where the frame is not one call."""
    if frame.rows != 1 or len(frame.buffers) != len(tensor_specs(fields)):
        raise WireError("the frame is not one call")
    buffers, values = iter(frame.buffers), []
    for field in fields:
        size = array("i", bytes(next(buffers)))[0] if field.vector else 1
        values.append((size, tuple(islice(buffers, 2 if field.type is Type.STRING else 1))))
    return values


def unpack_frame(fields: Sequence[Field], frame: Frame) -> list[list[float | int | bool | str | None]]:
    """One list per column."""
    buffers, columns = iter(frame.buffers), []
    for field in fields:
        if field.vector:
            next(buffers)
        count = 2 if field.type is Type.STRING else 1
        columns.append(unpack(field, [next(buffers) for _ in range(count)]))
    return columns


# --- frames to frames


def merge(frames: Sequence[Frame]) -> Frame:
    """The rows of all frames, in order. All are of one signature."""
    if len(frames) == 1:
        return frames[0]
    return Frame(sum(f.rows for f in frames), tuple(map(b"".join, zip(*(f.buffers for f in frames), strict=True))))


def split(specs: Sequence[TensorSpec], frame: Frame, sizes: Sequence[int]) -> list[Frame]:
    """The inverse of `merge`: one frame per size. Raises WireError unless the sizes sum to the rows.

    Of a function's calls there is only ever one: a frame with vectors is not split.
    """
    if sum(sizes) != frame.rows or min(sizes, default=0) < 0:
        raise WireError(f"items of {sum(sizes)} rows in a frame of {frame.rows}")
    if len(sizes) == 1:
        return [frame]
    ends = list(accumulate(sizes, initial=0))
    columns: list[list[Buffer]] = []
    offsets: list[int] = []
    for spec, buffer in zip(specs, frame.buffers, strict=True):
        view = memoryview(buffer)
        if spec.text:
            columns.append([view[offsets[a] : offsets[b]] for a, b in pairwise(ends)])
            continue
        if spec.name.startswith(LENGTH_PREFIX):
            offsets = list(accumulate((max(n, 0) for n in array("i", bytes(buffer))), initial=0))
        columns.append([view[a * spec.width : b * spec.width] for a, b in pairwise(ends)])
    return [Frame(size, tuple(c[i] for c in columns)) for i, size in enumerate(sizes)]


def text_bytes_of(lengths: Buffer) -> int:
    """How many bytes the texts of a column have, from its `__len.` tensor. Raises WireError for a negative length but NA's."""
    found = array("i", bytes(lengths))
    if any(length < 0 and length != NA_INTEGER for length in found):
        raise WireError("a text has a negative length")
    return sum(length for length in found if length > 0)


def vector_size_of(sizes: Buffer) -> int:
    """How many values a vector has, from its `__size.` tensor: of one call, or of none. Raises WireError."""
    found = array("i", bytes(sizes))
    if len(found) > 1:
        raise WireError("calls with vectors go one by one")
    if found and found[0] < 0:
        raise WireError("a vector has a negative size")
    return found[0] if found else 0
