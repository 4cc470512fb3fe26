"""Writes an Open Inference Protocol v2 answer, each output as JSON or binary as it was asked for.

Binary keeps every double as it came, NaN and R's NA included. A missing text is empty there, and its row stands in the INT32
tensor `__na.NAME`, which is sent only where something is missing; an INT32 is -2147483648.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.core.contract.answers import check_columns, pieces, shown
from gateway.core.contract.oip import MISSING_PREFIX, datatype_of
from gateway.core.contract.oip_binary import bytes_elements
from gateway.core.contract.oip_request import OipRequest
from gateway.core.contract.tokens import Steps
from shared.signature import Field, Type
from shared.wire import NA_INTEGER, Frame, WireError

if TYPE_CHECKING:
    from gateway.core.contract.compiled import Contract

_encode = msgspec.json.Encoder().encode


def encode_v2_steps(contract: Contract, frame: Frame, request: OipRequest) -> Steps[tuple[int | None, bytes]]:
    """(the JSON part's length if there is binary data, else None; the body). Raises WireError as `encode_v1_steps`."""
    check_columns(contract.output_specs, frame)
    count = len(request.outputs)
    data: list[list[bytes]] = [[] for _ in range(count)]
    missing = [array("i") for _ in range(count)]
    starts = contract.output_starts
    row = 0
    parts = pieces(contract.output_specs, frame)
    for part in parts:
        for number, output in enumerate(request.outputs):
            field = contract.outputs[output.index]
            buffers = part.buffers[starts[output.index] : starts[output.index + 1]]
            if output.binary:
                data[number].append(binary_part(field, buffers, row, missing[number]))
            else:
                data[number].append(json_part(field, buffers))
        row += part.rows
        if len(parts) > 1:
            yield
    return assemble(contract, request, [frame.rows] * count, data, missing)


def assemble(
    contract: Contract,
    request: OipRequest,
    sizes: Sequence[int],
    data: Sequence[Sequence[bytes]],
    missing: Sequence[array[int]],
) -> tuple[int | None, bytes]:
    """As `encode_v2_steps`, from each output's number of values, its parts as JSON or binary, and its missing texts."""
    heads, tail = [], []
    for number, output in enumerate(request.outputs):
        field = contract.outputs[output.index]
        name, datatype = _encode(field.name), datatype_of(field)
        opening = b'{"name":%b,"datatype":"%b","shape":[%d],' % (name, datatype.encode(), sizes[number])
        if not output.binary:
            heads.append(opening + b'"data":[%b]}' % b",".join(data[number]))
            continue
        content = b"".join(data[number])
        heads.append(opening + b'"parameters":{"binary_data_size":%d}}' % len(content))
        tail.append(content)
        if rows := missing[number]:
            heads.append(
                b'{"name":%b,"datatype":"INT32","shape":[%d],"parameters":{"binary_data_size":%d}}'
                % (_encode(MISSING_PREFIX + field.name), len(rows), 4 * len(rows))
            )
            tail.append(rows.tobytes())
    identity = b"" if request.id is None else b'"id":%b,' % _encode(request.id)
    head = b'{"model_name":%b,"model_version":%b,%b"outputs":[%b]}' % (
        _encode(contract.entry.model),
        _encode(contract.entry.version),
        identity,
        b",".join(heads),
    )
    if not any(output.binary for output in request.outputs):
        return None, head
    return len(head), b"".join((head, *tail))


def json_part(field: Field, buffers: Sequence[Any]) -> bytes:
    """This part of an output as JSON array elements, without the brackets."""
    values = shown(field, buffers)
    if field.type is Type.LOGICAL and field.nullable:
        values = [None if value is None else int(value) for value in values]
    return _encode(values)[1:-1]


def binary_part(field: Field, buffers: Sequence[Any], row: int, missing: array[int]) -> bytes:
    """This part of an output; the rows, counted from `row`, of missing texts are added to `missing`."""
    match field.type:
        case Type.DOUBLE | Type.INTEGER:
            return bytes(buffers[0])
        case Type.LOGICAL:
            if field.nullable:
                return bytes(buffers[0])
            values = array("i", bytes(buffers[0]))
            if not {0, 1}.issuperset(values):
                raise WireError(f"{field.name} is not nullable, but a value is missing")
            return bytes(values.tolist())
        case Type.FACTOR:
            codes = array("i", bytes(buffers[0]))
            if NA_INTEGER in codes:
                missing.extend([row + i for i, code in enumerate(codes) if code == NA_INTEGER])
            elements = {code: bytes_elements([level.encode()]) for code, level in enumerate(field.levels, start=1)}
            elements[NA_INTEGER] = bytes(4)
            try:
                return b"".join([elements[code] for code in codes])
            except KeyError as error:
                raise WireError(f"{field.name} has code {error.args[0]}, which is no level") from error
    texts = shown(field, buffers)
    missing.extend([row + i for i, text in enumerate(texts) if text is None])
    return bytes_elements([b"" if text is None else text.encode() for text in texts])
