"""The wire: whatever goes in comes out, merging and splitting are inverses, and nothing else is taken."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messages import (
    ItemError,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from shared.signature import Field, Type
from shared.wire import (
    NA_INTEGER,
    NA_REAL,
    Frame,
    WireError,
    merge,
    pack,
    pack_frame,
    split,
    tensor_specs,
    unpack,
    unpack_frame,
)

LEVELS = ("low", "mid", "hïgh")
FIELDS = (
    Field(name="x", type=Type.DOUBLE),
    Field(name="n", type=Type.INTEGER),
    Field(name="flag", type=Type.LOGICAL),
    Field(name="note", type=Type.STRING),
    Field(name="level", type=Type.FACTOR, levels=LEVELS),
    Field(name="day", type=Type.DATE),
)
SPECS = tensor_specs(FIELDS)
text = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=12)
row = st.tuples(
    st.floats(),
    st.none() | st.integers(-(2**31) + 1, 2**31 - 1),
    st.none() | st.booleans(),
    st.none() | text,
    st.none() | st.sampled_from(LEVELS),
    st.floats(allow_nan=False),
)
items = st.lists(st.lists(row, min_size=1, max_size=6), min_size=1, max_size=6)


def frame_of(rows: list[tuple[object, ...]]) -> Frame:
    return pack_frame(FIELDS, [list(column) for column in zip(*rows, strict=True)])  # type: ignore[arg-type]


def bits(rows: list[list[object]]) -> list[list[object]]:
    return [[struct.pack("<d", v) if isinstance(v, float) else v for v in column] for column in rows]


@given(items)
def test_rows_of_many_items_come_back_as_they_went_through_merge_wire_and_split(
    groups: list[list[tuple[object, ...]]],
) -> None:
    frames = [frame_of(group) for group in groups]
    length, body = encode_request(SPECS, merge(frames), [f.rows for f in frames])
    whole, sizes = decode_request(SPECS, body, length)
    assert sizes == [len(group) for group in groups]
    for original, returned in zip(frames, split(SPECS, whole, sizes), strict=True):
        assert [bytes(b) for b in returned.buffers] == [bytes(b) for b in original.buffers]
        assert bits(unpack_frame(FIELDS, returned)) == bits(unpack_frame(FIELDS, original))  # type: ignore[arg-type]


@given(st.lists(row, min_size=1, max_size=5))
def test_values_come_back_from_their_buffers(rows: list[tuple[object, ...]]) -> None:
    columns = [list(column) for column in zip(*rows, strict=True)]
    returned = unpack_frame(FIELDS, frame_of(rows))
    assert bits(returned) == bits(columns)  # type: ignore[arg-type]


def test_missing_doubles_carry_the_payload_that_r_calls_na() -> None:
    (buffer,) = pack(FIELDS[0], [1.0, None])
    assert struct.unpack("<Q", buffer[8:])[0] == 0x7FF00000000007A2
    assert math.isnan(NA_REAL)


def test_missing_integers_are_the_lowest_one() -> None:
    assert pack(FIELDS[1], [None]) == (struct.pack("<i", NA_INTEGER),)
    assert unpack(FIELDS[1], pack(FIELDS[1], [None, 7])) == [None, 7]


@pytest.mark.parametrize(("field", "value"), [(FIELDS[1], 2**31), (FIELDS[4], "other"), (FIELDS[3], "a\0b")])
def test_a_value_that_r_cannot_hold_is_refused(field: Field, value: object) -> None:
    with pytest.raises(WireError):
        pack(field, [value])  # type: ignore[list-item]


def test_an_answer_carries_the_failure_of_one_item_beside_the_rows_of_the_others() -> None:
    frame = frame_of([(1.0, 1, True, "a", "low", 1.0)] * 3)
    length, body = encode_response("m", "1", SPECS, frame, [2, 0, 1], [ItemError(1, "prediction_failed", "no")])
    answer = decode_response(SPECS, body, length)
    assert (answer.model, answer.version, answer.items) == ("m", "1", [2, 0, 1])
    assert answer.errors == (ItemError(1, "prediction_failed", "no"),)


def test_an_item_without_rows_and_without_an_error_is_refused() -> None:
    frame = frame_of([(1.0, 1, True, "a", "low", 1.0)])
    length, body = encode_response("m", "1", SPECS, frame, [1, 0])
    with pytest.raises(WireError, match="disagree"):
        decode_response(SPECS, body, length)


@pytest.mark.parametrize("cut", [1, 4, 20])
def test_a_body_cut_short_is_refused(cut: int) -> None:
    length, body = encode_request(SPECS, frame_of([(1.0, 1, True, "a", "low", 1.0)]), [1])
    with pytest.raises(WireError):
        decode_request(SPECS, body[:-cut], length)


@pytest.mark.parametrize("sizes", [[2], [1, 1], [0, 1], [-1, 2], []])
def test_items_that_are_not_the_rows_are_refused(sizes: list[int]) -> None:
    length, body = encode_request(SPECS, frame_of([(1.0, 1, True, "a", "low", 1.0)]), sizes)
    with pytest.raises(WireError):
        decode_request(SPECS, body, length)


@given(st.binary(max_size=200), st.integers(-5, 250))
def test_garbage_is_refused_as_garbage(body: bytes, length: int) -> None:
    with pytest.raises(WireError):
        decode_request(SPECS, body, length)
