"""The stage clock: parts without gaps, never negative, whatever others tell."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.stages import STAGES, Clock, Trip, server_timing
from shared.stages import Times, read_times

SECONDS = st.floats(0, 100)


def test_the_stages_of_a_whole_request() -> None:
    clock = Clock(10.0)
    for at, stage in enumerate(["admit", "read", "validate", "admit", "wait"], start=11):
        clock.enter(stage, at)
    clock.scored(Trip(left_s=16.5, back_s=19.5, times=Times(0.5, 2.0)), 20)
    clock.enter("write", 20)
    clock.end(20.25)
    assert clock.spent_s == {
        "authenticate": 1, "admit": 2, "read": 1, "validate": 1, "wait": 1.5, "hop": 0.5, "queue": 0.5, "predict": 2,
        "split": 0.5, "write": 0.25,
    }  # fmt: skip
    assert clock.total_s == 10.25


def test_rows_that_wait_for_the_limits_wait_in_admit() -> None:
    clock = Clock(0)
    clock.enter("admit", 1)
    clock.enter("wait", 2)
    clock.scored(Trip(3, 5, Times(0, 1), 5.5), 7)
    assert (clock.spent_s["split"], clock.spent_s["admit"], clock.total_s) == (0.5, 1 + 1.5, 7)


def test_a_request_that_never_left_waited() -> None:
    clock = Clock(0)
    clock.enter("wait", 1)
    clock.scored(Trip(), 3)
    assert clock.spent_s == {"authenticate": 1, "wait": 2}


def test_a_request_whose_batch_is_still_away_is_in_the_hop() -> None:
    clock = Clock(0)
    clock.enter("wait", 1)
    clock.scored(Trip(left_s=1.5), 3)
    assert (clock.spent_s["wait"], clock.spent_s["hop"], clock.spent_s["split"]) == (0.5, 1.5, 0)


@given(
    st.lists(st.tuples(st.sampled_from(STAGES[:4]), SECONDS), max_size=8),
    SECONDS, SECONDS, SECONDS, SECONDS, SECONDS, SECONDS,
)  # fmt: skip
def test_the_parts_are_never_negative_and_add_up_whatever_the_clocks_say(
    laps: list[tuple[str, float]], left: float, back: float, queue: float, predict: float, split: float, now: float
) -> None:
    clock = Clock(0.0)
    at = 0.0
    for stage, later in laps:
        at += later
        clock.enter(stage, at)
    clock.enter("wait", at)
    clock.scored(Trip(left, back, Times(queue, predict), split), at + now)
    clock.end(at)  # a clock that went back
    assert min(clock.spent_s.values()) >= 0
    assert math.isclose(sum(clock.spent_s.values()), clock.total_s, abs_tol=1e-9)


def test_callers_see_the_wait_in_steps_of_5_ms() -> None:
    spent_s = {"wait": 0.0124, "write": 0.00012, "predict": 0.002, "authenticate": 0}
    assert server_timing(spent_s) == b"authenticate;dur=0.00, wait;dur=10, predict;dur=2.00, write;dur=0.12"


@given(SECONDS, SECONDS)
def test_a_scorers_times_travel(queue: float, predict: float) -> None:
    times = read_times(Times(queue, predict).header().decode())
    assert math.isclose(times.queue_s, queue, abs_tol=1e-6)
    assert math.isclose(times.predict_s, predict, abs_tol=1e-6)


def test_times_that_cannot_be_read_are_none_at_all() -> None:
    for text in ("", "1", "1 2 3", "-1 2", "x y", "1e3 2", "9" * 11 + " 1"):
        assert read_times(text) == (0, 0)
