"""Who is let in when all connections are open, and which caller has more than its share of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.crowd import RESTED_S, Crowd


def test_when_all_are_open_the_one_that_rested_longest_makes_room() -> None:
    crowd: Crowd[str] = Crowd(2)
    assert crowd.enter("a", 0) == (True, None)
    assert crowd.enter("b", 0) == (True, None)
    crowd.rest("b", 0)
    crowd.rest("a", 1)
    assert crowd.enter("c", 5) == (True, "b")
    assert len(crowd) == 2


def test_a_newcomer_is_refused_while_none_rests_or_has_only_just_begun_to() -> None:
    crowd: Crowd[str] = Crowd(1)
    crowd.enter("a", 0)
    assert crowd.enter("b", 9) == (False, None)
    crowd.rest("a", 9)
    assert crowd.enter("b", 9 + RESTED_S / 2) == (False, None)
    crowd.wake("a")
    assert crowd.enter("b", 99) == (False, None)
    crowd.leave("b")
    crowd.leave("a")
    assert crowd.enter("b", 99) == (True, None)


def test_a_flood_has_its_share_and_others_are_not_asked_to_go() -> None:
    crowd: Crowd[int] = Crowd(100)
    for number in range(80):
        crowd.enter(number, 0)
        crowd.belong(number, "flood")
    assert not crowd.crowds("flood")
    crowd.enter(80, 0)
    crowd.belong(80, "flood")
    assert crowd.crowds("flood")
    assert not crowd.crowds("quiet")
    crowd.belong(80, "quiet")
    assert not crowd.crowds("quiet")
    crowd.leave(0)
    crowd.leave(0)
    assert not crowd.crowds("flood")


@given(
    st.lists(
        st.tuples(st.sampled_from(["enter", "leave", "rest", "wake", "belong"]), st.integers(0, 9), st.integers(0, 3))
    )
)
def test_there_are_never_more_than_that_and_what_is_held_is_what_is_open(steps: list[tuple[str, int, int]]) -> None:
    crowd: Crowd[int] = Crowd(4)
    owner: dict[int, int | None] = {}
    for now, (step, connection, caller) in enumerate(steps):
        if step == "enter" and connection not in owner:
            is_in, gone = crowd.enter(connection, float(now))
            if gone is not None:
                del owner[gone]
            if is_in:
                owner[connection] = None
        elif step == "leave":
            crowd.leave(connection)
            owner.pop(connection, None)
        elif step == "rest":
            crowd.rest(connection, float(now))
        elif step == "wake":
            crowd.wake(connection)
        elif step == "belong":
            crowd.belong(connection, caller)
            if connection in owner:
                owner[connection] = caller
        assert len(crowd) == len(owner) <= crowd.most
        for one in range(4):
            held = sum(known == one for known in owner.values())
            assert crowd.crowds(one) == (held > 4 * (crowd.most - len(owner)))
