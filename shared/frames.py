"""A frame as R reads and writes it: the buffers in order, one after the other, without a header."""

from __future__ import annotations

from collections.abc import Sequence

from shared.wire import LENGTH_PREFIX, Frame, TensorSpec, WireError, text_bytes_of, vector_size_of


def join(frame: Frame) -> bytes:
    """What goes to R."""
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
            text_bytes = text_bytes_of(buffer)
        buffers.append(buffer)
    if at != len(body):
        raise WireError(f"R's answer has {len(body)} bytes where {rows} rows need {at}")
    return Frame(rows, tuple(buffers))
