"""Heads of messages that are known: they say what they said when they were new, and vouch for no other body."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from shared.messages import (
    MAX_HEADS,
    MAX_HEADS_BYTES,
    ItemError,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from shared.signature import Field, Type
from shared.wire import Frame, WireError, pack_frame, tensor_specs
from tests.unit.shared.test_wire import FIELDS, SPECS, frame_of

NUMBERS = tuple(field for field in FIELDS if field.type is not Type.STRING)


def numbers(rows: int) -> Frame:
    return pack_frame(NUMBERS, [[1.5] * rows, [2] * rows, [True] * rows, ["low"] * rows, [3.0] * rows])


def test_a_head_that_is_known_says_what_it_said_when_it_was_new() -> None:
    known = tensor_specs(NUMBERS)
    for sizes in ([1], [2], [1, 1], [2], [1], [1, 1]):
        frame = numbers(sum(sizes))
        length, body = encode_request(known, frame, sizes)
        assert (length, body) == encode_request(tensor_specs(NUMBERS), frame, sizes)
        assert decode_request(known, body, length) == decode_request(tensor_specs(NUMBERS), body, length)
        for model, version in (("a", "1"), ("a", "2"), ("b", "1")):
            length, body = encode_response(model, version, known, frame, sizes)
            assert (length, body) == encode_response(model, version, tensor_specs(NUMBERS), frame, sizes)
            answer = decode_response(known, body, length)
            assert answer == decode_response(tensor_specs(NUMBERS), body, length)
            assert (answer.model, answer.version, answer.items) == (model, version, sizes)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b[:-4] + struct.pack("<i", 5)])
def test_a_known_head_vouches_for_no_other_body(damage: Callable[[bytes], bytes]) -> None:
    specs = tensor_specs(NUMBERS)
    asked_length, asked = encode_request(specs, numbers(2), [1, 1])
    length, answered = encode_response("m", "1", specs, numbers(2), [1, 1])
    decode_request(specs, asked, asked_length)
    decode_response(specs, answered, length)
    with pytest.raises(WireError):
        decode_request(specs, damage(asked), asked_length)
    with pytest.raises(WireError):
        decode_response(specs, damage(answered), length)


def test_a_failed_item_is_told_with_and_without_known_heads() -> None:
    specs, failed = tensor_specs(NUMBERS), [ItemError(1, "prediction_failed", "no")]
    length, body = encode_response("m", "1", specs, numbers(2), [1, 1])
    decode_response(specs, body, length)
    length, body = encode_response("m", "1", specs, numbers(2), [2, 0], failed)
    assert decode_response(specs, body, length).errors == tuple(failed)
    length, body = encode_response("m", "1", specs, numbers(2), [2, 0])  # with the head of an answer without failures
    with pytest.raises(WireError, match="disagree"):
        decode_response(specs, body, length)


def test_only_so_many_heads_are_known_and_none_of_texts() -> None:
    specs = tensor_specs(NUMBERS)
    for rows in range(1, MAX_HEADS + 10):
        length, body = encode_request(specs, numbers(rows), [rows])
        decode_request(specs, body, length)
    assert 0 < len(specs.written) <= MAX_HEADS
    assert 0 < len(specs.read) <= MAX_HEADS
    wide = tuple(Field(name=f"column {n}", type=Type.DOUBLE) for n in range(1000))
    for rows in range(1, 15):
        specs = tensor_specs(wide) if rows == 1 else specs
        length, body = encode_request(specs, pack_frame(wide, [[1.5] * rows] * 1000), [rows])
        decode_request(specs, body, length)
        assert 0 < sum(map(len, specs.read)) <= MAX_HEADS_BYTES
    length, body = encode_request(SPECS, frame_of([(1.0, 1, True, "a", "low", 1.0)]), [1])
    decode_request(SPECS, body, length)
    assert not SPECS.written
    assert not SPECS.read
