"""Frames as R's bytes, and back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.frames import cut, join
from shared.signature import Field, Type
from shared.wire import WireError, pack_frame, tensor_specs, unpack_frame

FIELDS = (
    Field(name="x", type=Type.DOUBLE),
    Field(name="s", type=Type.STRING),
    Field(name="n", type=Type.INTEGER),
)


@given(st.lists(st.tuples(st.floats(allow_nan=False), st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8), st.integers(-(2**31) + 1, 2**31 - 1))))  # fmt: skip  # noqa: E501
def test_a_frame_survives_being_joined_and_cut(rows: list[tuple[float, str | None, int]]) -> None:
    frame = pack_frame(FIELDS, [[row[i] for row in rows] for i in range(3)])
    again = cut(tensor_specs(FIELDS), frame.rows, join(frame))
    assert unpack_frame(FIELDS, again) == unpack_frame(FIELDS, frame)


@given(st.binary(max_size=80), st.integers(0, 4))
def test_bytes_that_are_no_frame_are_refused_not_read(body: bytes, rows: int) -> None:
    try:
        frame = cut(tensor_specs(FIELDS), rows, body)
    except WireError:
        return
    assert join(frame) == body
