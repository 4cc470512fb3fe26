"""The self-test: what the example's answers mean."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.core import self_test
from shared.signature import Field, Type
from shared.wire import Frame, merge, pack_frame

DOUBLE = (Field(name="prediction", type=Type.DOUBLE),)
MIXED = (Field(name="fit", type=Type.DOUBLE), Field(name="label", type=Type.STRING))


def frame(*numbers: float | None) -> Frame:
    return pack_frame(DOUBLE, [numbers])


def other_nan() -> float:
    return struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000123))[0]


def test_the_same_bits_reproduce_the_example() -> None:
    verdict = self_test.reproduces(DOUBLE, frame(1.0, math.inf, None), frame(1.0, math.inf, other_nan()))
    assert verdict == self_test.Verdict(reproduced=True)


def test_a_last_bit_is_close_and_said_to_be() -> None:
    verdict = self_test.reproduces(DOUBLE, frame(1.0), frame(math.nextafter(1.0, 2.0)))
    assert verdict.reproduced
    assert verdict.close


@pytest.mark.parametrize("answered", [1.00001, math.nan, math.inf, -1.0])
def test_a_larger_difference_is_refused_with_its_place(answered: float) -> None:
    verdict = self_test.reproduces(DOUBLE, frame(0.5, 1.0), frame(0.5, answered))
    assert not verdict.reproduced
    assert "prediction in row 2" in (verdict.reason or "")


def test_text_and_classes_must_be_equal() -> None:
    old, new = pack_frame(MIXED, [[1.0], ["a"]]), pack_frame(MIXED, [[1.0], ["b"]])
    assert "label in row 1" in (self_test.reproduces(MIXED, old, new).reason or "")


def test_another_number_of_rows_is_refused() -> None:
    assert not self_test.reproduces(DOUBLE, frame(1.0, 2.0), frame(1.0)).reproduced


@given(st.integers(1, 20), st.sampled_from(self_test.SIZES))
def test_the_pieces_hold_the_example_over_and_over(rows: int, size: int) -> None:
    example = frame(*map(float, range(rows)))
    pieces = self_test.plan(DOUBLE, example, size)
    assert pieces[0].rows == size
    assert all(piece.rows == size for piece in pieces[:-1])
    again = merge(pieces)
    assert again.rows % rows == 0
    assert self_test.disagreement(DOUBLE, example, size, pieces) is None


def test_one_bit_in_one_piece_is_a_disagreement() -> None:
    whole = frame(1.0, 2.0, 3.0)
    pieces = [frame(1.0, 2.0), frame(math.nextafter(3.0, 4.0))]
    assert "pieces of 2" in (self_test.disagreement(DOUBLE, whole, 2, pieces) or "")


def test_zero_and_minus_zero_are_other_bits_and_one_nan_is_as_good_as_another() -> None:
    assert self_test.disagreement(DOUBLE, frame(0.0), 1, [frame(-0.0)]) is not None
    assert self_test.disagreement(DOUBLE, frame(None), 1, [frame(other_nan())]) is None


def test_pieces_that_lost_a_row_disagree() -> None:
    assert self_test.disagreement(DOUBLE, frame(1.0, 1.0), 1, [frame(1.0)]) is not None
