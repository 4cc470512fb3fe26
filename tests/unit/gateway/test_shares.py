"""Room that callers share: whoever holds little always finds some."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.shares import Shares
from gateway.core.uploads import Bodies
from shared.errors import OverloadedError


def flood(shares: Shares, caller: str) -> int:
    """As much as the caller can get, one at a time."""
    while shares.fits(caller, 1):
        shares.take(caller, 1)
    return shares.held(caller)


def test_one_greedy_caller_leaves_a_fifth() -> None:
    assert flood(Shares(1000), "a") == 800


def test_greedy_callers_get_less_the_more_they_are_and_a_quiet_one_still_finds_room() -> None:
    shares = Shares(1000)
    for round_ in range(1000):
        for name in "abc":
            if shares.fits(name, 1):
                shares.take(name, 1)
        if not round_:
            assert shares.held("a") == 1
    held = [shares.held(name) for name in "abc"]
    assert max(held) - min(held) <= 1
    assert 900 < sum(held) < 940
    assert shares.fits("quiet", 50)


def test_whatever_is_asked_fits_into_an_empty_room_and_more_than_is_free_never_fits() -> None:
    shares = Shares(10)
    assert shares.fits("a", 11)
    shares.take("a", 1)
    assert not shares.fits("b", 10)
    assert shares.fits("b", 9)


def test_what_is_given_back_is_free_and_nobody_is_remembered() -> None:
    shares = Shares(10)
    flood(shares, "a")
    shares.give("a", shares.held("a"))
    assert (shares.used, len(shares)) == (0, 0)


def test_an_empty_body_is_not_remembered() -> None:
    bodies = Bodies(100)
    with bodies.of("a") as room:
        room.hold(0)
        assert len(bodies._shares) == 0
    shares = Shares(10)
    shares.take("a", 0)
    shares.give("a", 0)
    assert len(shares) == 0


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 30)), max_size=60))
def test_never_more_than_there_is_but_for_the_first(asks: list[tuple[str, int]]) -> None:
    shares = Shares(50)
    for caller, units in asks:
        if shares.fits(caller, units):
            shares.take(caller, units)
        assert shares.used <= 50
        assert shares.used == sum(map(shares.held, "abcd"))


def test_bodies_have_room_in_all_and_give_it_back() -> None:
    bodies = Bodies(100)
    with bodies.of("a") as one:
        one.hold(60)
        with bodies.of("b") as other:
            other.hold(20)
            with pytest.raises(OverloadedError) as refused:
                other.hold(30)
            assert refused.value.retry_after_ms == 1000
            assert bodies._shares.used == 80
    assert bodies._shares.used == 0
