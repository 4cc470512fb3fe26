"""What a caller's rows have cost R: who is refused for it, for how long, and who is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.losses import APART_S, MAX_CALLERS, MOST, Losses
from shared.errors import TooManyRequestsError

ALLOWED_S = 6.0


def test_who_has_lost_nothing_is_asked_nothing() -> None:
    losses = Losses(ALLOWED_S)
    assert not losses
    assert losses.check("a", "m", 0) is None
    assert not losses.is_apart("a", "m", 0)


def test_beyond_what_is_allowed_a_caller_is_told_when_to_come_again_and_may_then() -> None:
    losses = Losses(ALLOWED_S)
    losses.count("a", "m", ALLOWED_S + 0.5, now=100)
    with pytest.raises(TooManyRequestsError) as told:
        losses.check("a", "m", 100)
    assert told.value.reason == "harmful_rows"
    assert told.value.retry_after_ms == 5001
    assert "5001 ms" in told.value.detail
    assert losses.check("a", "m", 100 + 5.001) is not None


def test_nobody_else_and_no_other_model_of_his_pays_for_it() -> None:
    losses = Losses(ALLOWED_S)
    losses.count("a", "m", 100, now=0)
    assert losses.check("b", "m", 0) is None
    assert losses.check("a", "n", 0) is None
    assert not losses.is_apart("b", "m", 0)


def test_however_much_it_was_he_may_come_again_within_a_minute() -> None:
    losses = Losses(ALLOWED_S)
    for _ in range(1000):
        losses.count("a", "m", 30, now=0)
    with pytest.raises(TooManyRequestsError) as told:
        losses.check("a", "m", 0)
    assert told.value.retry_after_ms == 60_001
    assert losses.check("a", "m", 60.1) is not None
    assert MOST == 2, "twice what a minute allows leaks to what is allowed in one"


def test_from_half_of_it_on_his_requests_go_one_at_a_time() -> None:
    losses = Losses(ALLOWED_S)
    losses.count("a", "m", 0.4 * ALLOWED_S, now=0)
    lost = losses.check("a", "m", 0, another=True)
    assert lost is not None
    lost.in_flight += 1
    assert losses.check("a", "m", 0, another=True) is lost
    losses.count("a", "m", 0.2 * ALLOWED_S, now=0)
    with pytest.raises(TooManyRequestsError, match="one request of yours at a time"):
        losses.check("a", "m", 0, another=True)
    assert losses.check("a", "m", 0) is lost, "what is under way goes on"
    lost.in_flight -= 1
    assert losses.check("a", "m", 0, another=True) is lost


def test_his_rows_are_kept_apart_for_a_while_after_the_last_loss() -> None:
    losses = Losses(ALLOWED_S)
    losses.suspect("a", "m", 9, now=0)
    assert losses.is_apart("a", "m", APART_S)
    losses.suspect("a", "m", 9, now=APART_S)
    assert losses.is_apart("a", "m", 2 * APART_S)
    assert not losses.is_apart("a", "m", 2 * APART_S + 0.1)
    assert not losses


def test_a_suspect_whose_own_rows_do_no_harm_is_apart_no_more_but_a_second_suspicion_counts() -> None:
    losses = Losses(ALLOWED_S)
    for _ in range(20):
        losses.suspect("a", "m", 0.3, now=0)  # all its rows of one run
    losses.clear("a", "m")
    assert not losses.is_apart("a", "m", 0)
    losses.suspect("a", "m", 0.3, now=APART_S)
    losses.clear("a", "m")
    assert losses.is_apart("a", "m", APART_S), "what was lost was lost"
    lost = losses.check("a", "m", APART_S)
    assert lost is not None
    assert lost.seconds == 0.3


def test_a_suspicion_is_forgotten_after_a_minute() -> None:
    losses = Losses(ALLOWED_S)
    losses.suspect("a", "m", 0.3, now=0)
    losses.clear("a", "m")
    losses.suspect("a", "m", 0.3, now=APART_S + 1)
    losses.clear("a", "m")
    assert not losses.is_apart("a", "m", APART_S + 1)
    assert not losses.is_apart("a", "m", 3 * APART_S)
    assert not losses


def test_a_crash_counts_where_somebodys_rows_were_scored_lately() -> None:
    losses = Losses(ALLOWED_S)
    losses.crashed("a", "m", now=0)
    losses.scored("n", now=0)
    losses.crashed("a", "m", now=0)
    assert not losses
    losses.scored("m", now=0)
    losses.crashed("a", "m", now=APART_S)
    assert losses.is_apart("a", "m", APART_S)
    losses.crashed("b", "m", now=APART_S + 1)
    assert not losses.is_apart("b", "m", APART_S + 1)


def test_an_innocent_is_kept_apart_for_a_minute_and_not_for_as_long_as_the_one_it_was_seen_beside() -> None:
    losses = Losses(ALLOWED_S)
    losses.count("harmful", "m", MOST * ALLOWED_S, now=0)
    losses.suspect("innocent", "m", 9, now=0)
    later = APART_S + 1
    assert losses.is_apart("harmful", "m", later)
    assert not losses.is_apart("innocent", "m", later)


def test_of_many_callers_the_ones_longest_ago_are_forgotten() -> None:
    losses = Losses(ALLOWED_S)
    for number in range(MAX_CALLERS + 5):
        losses.count(number, "m", 100, now=0)
    assert len(losses) == MAX_CALLERS
    assert losses.check(0, "m", 0) is None


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 20)), max_size=50))
def test_in_the_long_run_no_more_is_lost_than_allowed(events: list[tuple[float, float]]) -> None:
    """Each loss is one request of his that was let in; the last of them may go beyond."""
    losses, now, lost_s, last_s = Losses(ALLOWED_S), 0.0, 0.0, 0.0
    for pause, cost_s in events:
        now += pause
        try:
            losses.check("a", "m", now)
        except TooManyRequestsError:
            continue
        seconds = min(cost_s, ALLOWED_S)
        losses.count("a", "m", seconds, now)
        lost_s, last_s = lost_s + seconds, seconds
    assert lost_s <= ALLOWED_S + now * ALLOWED_S / 60 + last_s + 1e-6
