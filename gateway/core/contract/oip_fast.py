"""Reads a small Open Inference Protocol v2 request of the usual shape by msgspec; `oip_reader` decides where this cannot.

All in one go, so only for bodies up to `CHUNK_BYTES`. Says no more than that something does not fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from gateway.core.contract.forms import Buffers, Form, UnfitError, colons_in, flatten, with_negative_zeros
from gateway.core.contract.json_reader import decoded
from gateway.core.contract.oip import ACCEPTED
from gateway.core.contract.oip_binary import WIDTH, few_numbers, few_texts
from gateway.core.contract.oip_request import MAX_ID, OipRequest, Requested
from shared.signature import Field
from shared.wire import Frame

if TYPE_CHECKING:
    from gateway.core.contract.compiled import Contract


class _TensorParameters(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    binary_data_size: int | UnsetType = UNSET


class _Tensor(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str
    datatype: str
    shape: list[int]
    data: Raw | UnsetType = UNSET
    parameters: _TensorParameters | UnsetType = UNSET


class _OutputParameters(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    binary_data: bool | UnsetType = UNSET


class _Output(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str
    parameters: _OutputParameters | UnsetType = UNSET


class _RequestParameters(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    binary_data_output: bool | UnsetType = UNSET


class _Request(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    inputs: list[_Tensor]
    id: Annotated[str, msgspec.Meta(max_length=MAX_ID)] | UnsetType = UNSET
    outputs: list[_Output] | UnsetType = UNSET
    parameters: _RequestParameters | UnsetType = UNSET


_decode = msgspec.json.Decoder(_Request).decode


def _colons(request: _Request) -> int:
    """How many colons explain this request's structure, names and id; its data apart."""
    count = 1 + (request.parameters is not UNSET)
    if request.parameters is not UNSET:
        count += request.parameters.binary_data_output is not UNSET
    if request.id is not UNSET:
        count += 1 + request.id.count(":")
    for tensor in request.inputs:
        count += 3 + (tensor.data is not UNSET) + tensor.name.count(":") + tensor.datatype.count(":")
        if tensor.parameters is not UNSET:
            count += 1 + (tensor.parameters.binary_data_size is not UNSET)
    if request.outputs is not UNSET:
        count += 1
        for output in request.outputs:
            count += 1 + output.name.count(":")
            if output.parameters is not UNSET:
                count += 1 + (output.parameters.binary_data is not UNSET)
    return count


def parse_fast(contract: Contract, body: bytes, header_length: int | None) -> OipRequest:
    """A usual request; raises UnfitError where the exact way must decide. For bodies up to `CHUNK_BYTES`."""
    head = body if header_length is None else body[:header_length]
    request = decoded(_decode, head)
    if len(request.inputs) != len(contract.inputs):
        raise UnfitError
    rows = request.inputs[0].shape[0] if request.inputs and request.inputs[0].shape else 0
    if not 1 <= rows <= contract.max_rows:
        raise UnfitError
    colons = _colons(request)
    columns: dict[str, Buffers] = {}
    binary = memoryview(body)[len(head) :]
    for tensor in request.inputs:
        position = contract.position.get(tensor.name)
        if position is None or tensor.name in columns or tensor.shape not in ([rows], [rows, 1]):
            raise UnfitError
        field = contract.inputs[position]
        if tensor.datatype not in ACCEPTED[field.type] or (tensor.data is UNSET) == (tensor.parameters is UNSET):
            raise UnfitError
        if tensor.data is not UNSET:
            form, values = _fast_values(contract, field, tensor, rows)
            columns[tensor.name] = form.pack(values)
            if form.may_hold_colons:
                colons += form.colons(values)
        else:
            size = tensor.parameters.binary_data_size
            if size is UNSET or size < 0 or size > len(binary):
                raise UnfitError
            columns[tensor.name] = _fast_binary(contract, field, tensor.datatype, binary[:size], rows)
            binary = binary[size:]
    if len(binary) or colons_in(head) != colons:
        raise UnfitError
    frame = Frame(rows, tuple([buffer for field in contract.inputs for buffer in columns[field.name]]))
    return OipRequest(frame, None if request.id is UNSET else request.id, _fast_outputs(contract, request))


def _fast_values(contract: Contract, field: Field, tensor: _Tensor, rows: int) -> tuple[Form, list[Any]]:
    form, flat, nested = contract.oip_forms.get(field, tensor.datatype)
    raw = bytes(tensor.data)  # type: ignore[arg-type]
    if form.numeric:
        raw = with_negative_zeros(raw)
    try:
        values = decoded(flat, raw)
    except UnfitError:
        if len(tensor.shape) != 2:
            raise
        values = flatten(decoded(nested, raw))
    if len(values) != rows:
        raise UnfitError
    return form, values


def _fast_binary(contract: Contract, field: Field, datatype: str, data: memoryview, rows: int) -> Buffers:
    if datatype == "BYTES":
        return few_texts(contract.oip_forms.get(field, "BYTES")[0], data, rows)
    if len(data) != rows * WIDTH[datatype]:
        raise UnfitError
    return few_numbers(contract.oip_forms.converter(field, datatype), datatype, data)


def _fast_outputs(contract: Contract, request: _Request) -> tuple[Requested, ...]:
    default = request.parameters is not UNSET and request.parameters.binary_data_output is True
    if request.outputs is UNSET or not request.outputs:
        return tuple([Requested(index, default) for index in range(len(contract.outputs))])
    chosen: dict[int, Requested] = {}
    for output in request.outputs:
        index = contract.output_position.get(output.name)
        if index is None or index in chosen:
            raise UnfitError
        asked = UNSET if output.parameters is UNSET else output.parameters.binary_data
        chosen[index] = Requested(index, default if asked is UNSET else asked)
    return tuple(chosen.values())
