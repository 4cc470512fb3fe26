"""Open Inference Protocol v2 with binary tensors, as the gateway's /v2 takes and gives them: one tensor per column.

| column type            | tensor sent                        | missing |
|------------------------|------------------------------------|---------|
| double, date, datetime | FP64 (days; seconds, 1970-01-01 UTC) | NaN   |
| integer, logical       | INT32                              | -2^31    |
| factor                 | INT32, the 1-based code of a level | -2^31    |
| string                 | BYTES, each after its 4-byte length | its row in the INT32 tensor `__na.NAME` |

NaN and infinity travel as they are. Answers are read by their datatype, so a server may send labels or codes. Source
of the form: the protocol's binary data extension (KServe, Triton).
"""

from __future__ import annotations

import datetime as dt
import math
import struct
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from client.errors import DataError, ReplyError
from client.models import ColumnScores, Model
from client.replies import Reply, error_of
from shared.signature import Field, Signature, Type
from shared.wire import NA_INTEGER, NA_REAL

#: Before the name of a column of texts: the tensor with the rows, from 0, that are missing.
MISSING_PREFIX = "__na."
HEADER_LENGTH = "inference-header-content-length"
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_LOGICAL_TEXT = {True: 1, False: 0}


class _Parameters(msgspec.Struct, omit_defaults=True):
    binary_data_size: int | None = None


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: _Parameters = msgspec.field(default_factory=_Parameters)


class _OutputParameters(msgspec.Struct):
    binary_data_output: bool = True


class _Request(msgspec.Struct):
    inputs: list[_Tensor]
    parameters: _OutputParameters = msgspec.field(default_factory=_OutputParameters)


class _OutTensor(_Tensor):
    data: list[Any] | None = None


class _Response(msgspec.Struct):
    model_name: str
    outputs: list[_OutTensor]
    model_version: str = ""


def encode_request(
    signature: Signature, columns: Mapping[str, Sequence[Any]], start: int, stop: int
) -> tuple[int, bytes]:
    """The JSON header's length and the whole body, for these rows. Raises DataError for a value that its column
    cannot hold.
    """
    tensors: list[_Tensor] = []
    buffers: list[bytes] = []
    for field in signature.inputs:
        values = columns[field.name][start:stop]
        datatype, buffer = _pack(field, values)
        tensors.append(_Tensor(field.name, [stop - start], datatype, _Parameters(len(buffer))))
        buffers.append(buffer)
        if datatype == "BYTES" and None in values:
            _missing(field)
            rows = array("i", [row for row, value in enumerate(values) if value is None])
            tensors.append(_Tensor(MISSING_PREFIX + field.name, [len(rows)], "INT32", _Parameters(4 * len(rows))))
            buffers.append(rows.tobytes())
    head = msgspec.json.encode(_Request(tensors))
    return len(head), b"".join((head, *buffers))


def _pack(field: Field, values: Sequence[Any]) -> tuple[str, bytes]:
    try:
        if field.type.is_float:
            return "FP64", array("d", [NA_REAL if v is None else as_number(field, v) for v in values]).tobytes()
        if field.type is Type.STRING:
            return "BYTES", b"".join(_bytes_element(field, v) for v in values)
        if field.type is Type.FACTOR:
            codes: dict[object, int] = {level: code for code, level in enumerate(field.levels, start=1)}
            return "INT32", array("i", [_missing(field) if v is None else codes[v] for v in values]).tobytes()
        return "INT32", array("i", [_missing(field) if v is None else _whole(field, v) for v in values]).tobytes()
    except KeyError as error:
        raise DataError(
            f"column {field.name}: {error.args[0]!r} is not one of its levels ({', '.join(field.levels[:8])})"
        ) from error
    except OverflowError as error:
        raise DataError(f"column {field.name}: a whole number outside R's integers") from error
    except (TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"column {field.name} ({field.type}): {error}") from error


def _missing(field: Field) -> int:
    if not field.nullable:
        raise DataError(f"column {field.name} has a missing value, which the model cannot score")
    return NA_INTEGER


def as_number(field: Field, value: Any) -> float:
    """A value of a double, date or datetime column as R's number. Raises ValueError."""
    if isinstance(value, str):
        if field.type is Type.DATE:
            return dt.date.fromisoformat(value).toordinal() - _EPOCH_DAY
        if field.type is Type.DATETIME:
            return _seconds(dt.datetime.fromisoformat(value))
        raise DataError(f"column {field.name}: {value!r} is text, not a number")
    return float(value)


def _seconds(moment: dt.datetime) -> float:
    """The double nearest to the exact value: int by int is divided exactly, and rounded once."""
    since = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) / 1_000_000


def _whole(field: Field, value: Any) -> int:
    if field.type is Type.LOGICAL:
        if isinstance(value, bool):
            return _LOGICAL_TEXT[value]
        raise DataError(f"column {field.name}: {value!r} is not true or false")
    if isinstance(value, bool) or value != int(value) or int(value) == NA_INTEGER:
        raise DataError(f"column {field.name}: {value!r} is not one of R's whole numbers")
    return int(value)


def _bytes_element(field: Field, value: Any) -> bytes:
    if value is None:
        return bytes(4)
    if not isinstance(value, str):
        raise DataError(f"column {field.name}: {value!r} is not text")
    text = value.encode()
    return struct.pack("<I", len(text)) + text


def read_reply(reply: Reply, described: Model, rows: int) -> ColumnScores:
    """The answer as columns. Raises the server's refusal, or ReplyError for what is not an answer of `rows` rows for
    this model.
    """
    if not reply.ok:
        raise error_of(reply)
    length = reply.headers.get(HEADER_LENGTH)
    head_end = int(length) if length is not None and length.isdigit() else len(reply.body)
    try:
        response = msgspec.json.decode(reply.body[:head_end], type=_Response)
    except msgspec.MsgspecError as error:
        raise ReplyError(f"the answer is not Open Inference Protocol v2 ({error})") from error
    outputs = {field.name: field for field in described.signature.outputs}
    found: dict[str, array[float] | list[Any]] = {}
    missing: dict[str, list[int]] = {}
    at = head_end
    for tensor in response.outputs:
        if tensor.name not in outputs and tensor.name.removeprefix(MISSING_PREFIX) in outputs:
            missing[tensor.name.removeprefix(MISSING_PREFIX)], at = _missing_rows(tensor, reply.body, at)
            continue
        if tensor.name not in outputs:
            raise ReplyError(f"{tensor.name!r} is not one of the model's outputs")
        size = tensor.parameters.binary_data_size
        if size is None:
            values = _from_json(tensor)
        else:
            values = _unpack(outputs[tensor.name], tensor, reply.body[at : at + size])
            at += size
        if len(values) != rows or math.prod(tensor.shape) != rows:
            raise ReplyError(f"{tensor.name} has {len(values)} values for {rows} rows")
        found[tensor.name] = values
    if at != len(reply.body) or found.keys() != outputs.keys():
        raise ReplyError("the answer's tensors, its length and the model's outputs disagree")
    for name, gone in missing.items():
        for row in gone:
            if not 0 <= row < rows:
                raise ReplyError(f"{name} has no row {row}")
            found[name][row] = None  # type: ignore[call-overload]
    return ColumnScores(
        response.model_name, response.model_version or described.version, {name: found[name] for name in outputs}
    )


def _missing_rows(tensor: _OutTensor, body: bytes, at: int) -> tuple[list[int], int]:
    """The rows, and where the next tensor's bytes begin."""
    size = tensor.parameters.binary_data_size
    if size is None:
        return list(tensor.data or []), at
    if size % 4 or at + size > len(body):
        raise ReplyError(f"{tensor.name}: its size is wrong")
    return list(array("i", body[at : at + size])), at + size


def _from_json(tensor: _OutTensor) -> array[float] | list[Any]:
    values = tensor.data or []
    if tensor.datatype == "FP64":
        return array("d", [math.nan if v is None else v for v in values])
    return values


def _unpack(field: Field, tensor: _OutTensor, data: bytes) -> array[float] | list[Any]:
    try:
        match tensor.datatype:
            case "FP64":
                return array("d", data)
            case "INT32":
                return _from_integers(field, array("i", data))
            case "BOOL":
                return [byte != 0 for byte in data]
            case "BYTES":
                return _texts(data)
    except (ValueError, struct.error, KeyError) as error:
        raise ReplyError(f"{tensor.name}: not {tensor.datatype} of {field.type}") from error
    raise ReplyError(f"{tensor.name} is {tensor.datatype}, which this client does not read")


def _from_integers(field: Field, integers: array[int]) -> list[Any]:
    known: Mapping[int, Any]
    if field.type is Type.FACTOR:
        known = {NA_INTEGER: None, **dict(enumerate(field.levels, start=1))}
    elif field.type is Type.LOGICAL:
        known = {NA_INTEGER: None, 0: False, 1: True}
    else:
        return [None if value == NA_INTEGER else value for value in integers]
    return [known[value] for value in integers]


def _texts(data: bytes) -> list[Any]:
    found: list[Any] = []
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        at += 4
        if at + length > len(data):
            raise ValueError("cut off")
        found.append(data[at : at + length].decode())
        at += length
    return found
