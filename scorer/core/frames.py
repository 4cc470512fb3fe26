"""A worker's bytes and a frame: the buffers in order, one after the other, without a header."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from shared.wire import LENGTH_PREFIX, NA_INTEGER, Frame, TensorSpec, WireError, vector_size_of


def join(frame: Frame) -> bytes:
    """What goes to the worker."""
    return b"".join(frame.buffers)


def cut(specs: Sequence[TensorSpec], rows: int, body: bytes) -> Frame:
    """What came back, as a frame of `rows` rows. Raises WireError unless it is exactly that."""
    view = memoryview(body)
    buffers: list[memoryview] = []
    at = text_bytes = 0
    for spec in specs:
        size = text_bytes if spec.text else (vector_size_of(buffers[-1]) if spec.vector else rows) * spec.width
        if at + size > len(body):
            raise WireError(f"R's answer ends in {spec.name}")
        buffer = view[at : at + size]
        at += size
        if spec.name.startswith(LENGTH_PREFIX):
            lengths = array("i", bytes(buffer))
            if any(n < 0 and n != NA_INTEGER for n in lengths):
                raise WireError(f"R's answer has a negative length in {spec.name}")
            text_bytes = sum(n for n in lengths if n > 0)
        buffers.append(buffer)
    if at != len(body):
        raise WireError(f"R's answer has {len(body)} bytes where {rows} rows need {at}")
    return Frame(rows, tuple(buffers))
