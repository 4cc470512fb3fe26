"""What `scoregate diff` says of two versions."""

from __future__ import annotations

import math

from client.changes import changes, signature_changes
from shared.signature import Field, Signature, Type


def signature(*inputs: Field, kind: str = "vector") -> Signature:
    return Signature(inputs=inputs, outputs=(Field(name="p", type=Type.DOUBLE),), kind=kind)


def test_answers_are_counted_and_the_largest_changes_come_first() -> None:
    [change] = changes({"p": [1.0, 2.0, -4.0, math.nan]}, {"p": [1.0, 2.5, -5.0, None]})
    assert (change.rows, change.differing, change.relative) == (4, 2, 0.25)
    assert [row for row, *_ in change.largest] == [2, 3]
    assert str(change) == "p: 2 of 4 rows differ, by at most 0.25 of the older answer"


def test_what_is_no_change_of_a_number_comes_before_all_that_are() -> None:
    [change] = changes({"p": [1.0, 0.0, 3.0, math.inf]}, {"p": [1.5, 1.0, None, 1.0]})
    assert change.relative == 0.5
    assert [row for row, *_ in change.largest] == [2, 3, 4, 1]


def test_labels_differ_without_a_figure_and_outputs_of_one_version_are_left_out() -> None:
    [change] = changes({"class": ["a", "b"], "old": [1.0, 1.0]}, {"class": ["a", "c"], "new": [1.0, 1.0]})
    assert str(change) == "class: 1 of 2 rows differ"


def test_minus_zero_is_not_zero() -> None:
    [change] = changes({"p": [0.0]}, {"p": [-0.0]})
    assert (change.differing, change.relative) == (1, 0.0)


def test_every_change_of_a_signature_is_a_line() -> None:
    old = signature(
        Field(name="a", type=Type.INTEGER), Field(name="f", type=Type.FACTOR, levels=("x", "y")),
        Field(name="gone", type=Type.DATE), Field(name="n", type=Type.DOUBLE, nullable=True),
    )  # fmt: skip
    new = signature(
        Field(name="a", type=Type.DOUBLE), Field(name="f", type=Type.FACTOR, levels=("y", "z"), ordered=True),
        Field(name="n", type=Type.DOUBLE), Field(name="new", type=Type.STRING, nullable=True), kind="table",
    )  # fmt: skip
    assert signature_changes(old, new) == [
        "input gone: gone",
        "input new: new, string, may be missing",
        "input a: integer, now double",
        "input f: levels gone: x",
        "input f: new levels: z",
        "input f: now ordered",
        "input n: may no longer be missing",
        "answers: a value for each row, now an object for each row",
    ]
    assert signature_changes(old, old) == []
