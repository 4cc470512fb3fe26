"""Messages between gateway and scorer: a JSON head that names the tensors, then a frame's buffers as they are (`shared.wire`).

Without texts and vectors a head follows from how many rows and items there are: it is written and read once, and then known by
that, and by its bytes.

Source of the form: the OIP v2 binary data extension (KServe, Triton).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final, TypeVar

import msgspec

from shared.wire import (
    LENGTH_PREFIX,
    WIDTHS,
    Buffer,
    Frame,
    TensorSpec,
    TensorSpecs,
    WireError,
    text_bytes_of,
    vector_size_of,
)

HEADER_LENGTH: Final = "inference-header-content-length"
#: With what may share a run: what says the same, nothing included; what says ALONE, with nothing.
SHARE_HEADER: Final = "x-share"
ALONE: Final = "alone"
CONTENT_TYPE: Final = "application/octet-stream"
ITEMS: Final = "__items"
#: Of one side of a signature, written and read, and what they take in all.
MAX_HEADS: Final = 256
MAX_HEADS_BYTES: Final = 1024 * 1024
_Key = TypeVar("_Key")
_Known = TypeVar("_Known")


class ItemError(msgspec.Struct, frozen=True):
    """Why item number `item` (0-based) has no rows in this answer. `code` is one of `shared.errors.ITEM_ERRORS`."""

    item: int
    code: str
    detail: str


class _Parameters(msgspec.Struct, omit_defaults=True):
    binary_data_size: int | None = None


class _Tensor(msgspec.Struct):
    name: str
    datatype: str
    shape: tuple[int]
    parameters: _Parameters


class _MessageParameters(msgspec.Struct, omit_defaults=True):
    errors: tuple[ItemError, ...] = ()


class _Request(msgspec.Struct):
    inputs: list[_Tensor]
    id: str = ""


class _Response(msgspec.Struct):
    model_name: str
    model_version: str
    outputs: list[_Tensor]
    parameters: _MessageParameters = msgspec.field(default_factory=_MessageParameters)


_decode_request = msgspec.json.Decoder(_Request)
_decode_response = msgspec.json.Decoder(_Response)
_encode = msgspec.json.Encoder().encode


class _Found(msgspec.Struct, frozen=True):
    """What a head says, once it has been held against its message: whose answer it is, rows, where each buffer begins and ends."""

    rows: int
    ends: tuple[int, ...]
    model: str = ""
    version: str = ""


def _keep(known: dict[_Key, _Known], key: _Key, value: _Known, head: bytes) -> None:
    most = min(MAX_HEADS, MAX_HEADS_BYTES // len(head))  # heads of one signature are about as long as each other
    if len(known) >= most:
        known.clear()
    if most:
        known[key] = value


def _tensors(specs: Sequence[TensorSpec], frame: Frame, items: Sequence[int]) -> list[_Tensor]:
    tensors = [
        _Tensor(s.name, s.datatype, (len(b) // s.width,), _Parameters(len(b)))
        for s, b in zip(specs, frame.buffers, strict=True)
    ]
    tensors.append(_Tensor(ITEMS, "INT32", (len(items),), _Parameters(4 * len(items))))
    return tensors


def _message(head: bytes, frame: Frame, items: Sequence[int]) -> tuple[int, bytes]:
    return len(head), b"".join((head, *frame.buffers, array("i", items).tobytes()))


def encode_request(specs: TensorSpecs, frame: Frame, items: Sequence[int]) -> tuple[int, bytes]:
    """The header's length (for `Inference-Header-Content-Length`) and the whole body."""
    key = (frame.rows, len(items))
    head = specs.written.get(key)
    if head is None:
        head = _encode(_Request(_tensors(specs, frame, items)))
        if specs.fixed:
            _keep(specs.written, key, head, head)
    return _message(head, frame, items)


def encode_response(
    model: str,
    version: str,
    specs: TensorSpecs,
    frame: Frame,
    items: Sequence[int],
    errors: Sequence[ItemError] = (),
) -> tuple[int, bytes]:
    """As `encode_request`, for an answer; a failed item has size 0 and an entry in `errors`."""
    key = (frame.rows, len(items), model, version)
    head = None if errors else specs.written.get(key)
    if head is None:
        parameters = _MessageParameters(tuple(errors))
        head = _encode(_Response(model, version, _tensors(specs, frame, items), parameters))
        if specs.fixed and not errors:
            _keep(specs.written, key, head, head)
    return _message(head, frame, items)


def decode_request(specs: TensorSpecs, body: Buffer, header_length: int) -> tuple[Frame, list[int]]:
    """The frame and its item sizes. Raises WireError for anything that is not exactly one frame of `specs`."""
    head, data = bytes(body[:header_length]), memoryview(body)[header_length:]
    found: _Found | None = specs.read.get(head)
    if found is not None:
        frame, items = _cut(found, data)
    else:
        try:
            request = _decode_request.decode(head)
        except msgspec.MsgspecError as error:
            raise WireError(f"header: {error}") from error
        frame, items = _frame(specs, request.inputs, data)
        if specs.fixed:
            _keep(specs.read, head, _Found(frame.rows, _ends(request.inputs)), head)
    if not items or min(items) < 1:
        raise WireError("every item has at least one row")
    return frame, items


class Answer(msgspec.Struct, frozen=True):
    """An answer as it came: who answered, the rows of the items that succeeded, and why the others did not."""

    model: str
    version: str
    frame: Frame
    items: list[int]
    errors: tuple[ItemError, ...]


def decode_response(specs: TensorSpecs, body: Buffer, header_length: int) -> Answer:
    """The inverse of `encode_response`. Raises WireError for anything else, also where items, rows and errors disagree."""
    head, data = bytes(body[:header_length]), memoryview(body)[header_length:]
    found: _Found | None = specs.read.get(head)
    if found is not None:
        frame, items = _cut(found, data)
        if 0 in items:
            raise WireError("items without rows and errors disagree")
        return Answer(found.model, found.version, frame, items, ())
    try:
        response = _decode_response.decode(head)
    except msgspec.MsgspecError as error:
        raise WireError(f"header: {error}") from error
    frame, items = _frame(specs, response.outputs, data)
    model, version, errors = response.model_name, response.model_version, response.parameters.errors
    failed = {error.item for error in errors}
    if any((size == 0) != (index in failed) for index, size in enumerate(items)) or not failed <= set(
        range(len(items))
    ):
        raise WireError("items without rows and errors disagree")
    if specs.fixed and not errors:
        _keep(specs.read, head, _Found(frame.rows, _ends(response.outputs), model, version), head)
    return Answer(model, version, frame, items, errors)


def _ends(tensors: Sequence[_Tensor]) -> tuple[int, ...]:
    return tuple(accumulate((tensor.parameters.binary_data_size or 0 for tensor in tensors), initial=0))


def _cut(found: _Found, data: memoryview) -> tuple[Frame, list[int]]:
    """As `_frame`, of a message with a head that is known."""
    ends = found.ends
    if len(data) != ends[-1]:
        raise WireError("the tensors are not as long as the head says")
    buffers = [data[begin:end] for begin, end in pairwise(ends)]
    items = array("i", bytes(buffers.pop())).tolist()
    if sum(items) != found.rows or min(items, default=0) < 0:
        raise WireError(f"items of {sum(items)} rows in a frame of {found.rows}")
    return Frame(found.rows, tuple(buffers)), items


def _frame(specs: Sequence[TensorSpec], tensors: Sequence[_Tensor], data: memoryview) -> tuple[Frame, list[int]]:
    expected = [(s.name, s.datatype) for s in specs] + [(ITEMS, "INT32")]
    if [(t.name, t.datatype) for t in tensors] != expected:
        raise WireError("the tensors are not the signature's columns")
    buffers: list[memoryview] = []
    at = 0
    rows: int | None = None
    text_bytes = 0
    for index, tensor in enumerate(tensors):
        size = tensor.parameters.binary_data_size
        if size is None or size != tensor.shape[0] * WIDTHS[tensor.datatype] or at + size > len(data) or size < 0:
            raise WireError(f"{tensor.name}: size and shape disagree")
        buffer = data[at : at + size]
        at += size
        if index < len(specs):
            if specs[index].text:
                if size != text_bytes:
                    raise WireError(f"{tensor.name}: lengths and text disagree")
            elif specs[index].vector:
                if tensor.shape[0] != vector_size_of(buffers[-1]):
                    raise WireError(f"{tensor.name}: sizes and values disagree")
            elif rows is not None and rows != tensor.shape[0]:
                raise WireError("columns differ in length")
            else:
                rows = tensor.shape[0]
            if tensor.name.startswith(LENGTH_PREFIX):
                text_bytes = text_bytes_of(buffer)
        buffers.append(buffer)
    if at != len(data):
        raise WireError("bytes after the last tensor")
    items = list(array("i", bytes(buffers.pop())))
    rows = rows if rows is not None else sum(items)
    if sum(items) != rows or min(items, default=0) < 0:
        raise WireError(f"items of {sum(items)} rows in a frame of {rows}")
    return Frame(rows, tuple(buffers)), items
