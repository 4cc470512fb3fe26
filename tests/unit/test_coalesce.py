"""Group commit: any interleaving gives every caller its own rows, and a free slot never waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.coalesce import Batch, Coalescer, Item
from shared.errors import OverloadedError
from shared.wire import Frame


def item(name: str, *, lane: str = "m", group: str = "g", rows: int = 1, deadline_s: float = 10.0) -> Item[str]:
    return Item(lane, group, Frame(rows, ()), deadline_s, name)


def names(batches: list[Batch[str]]) -> list[list[str]]:
    return [[i.reply for i in batch.items] for batch in batches]


def one_back(c: Coalescer[str], now: float = 0) -> list[Batch[str]]:
    """A batch that left at 0 comes back."""
    return c.finish(Batch("m", [item("")], 0), now)


def coalescer(slots: int = 1, **more: int) -> Coalescer[str]:
    return Coalescer(slots=slots, **{"max_batch_rows": 4, "max_waiting_rows": 100, **more})


def test_a_request_leaves_at_once_while_a_slot_is_free() -> None:
    c = coalescer(slots=2)
    assert names(c.offer(item("a"), 0)) == [["a"]]
    assert names(c.offer(item("b"), 0)) == [["b"]]
    assert names(c.offer(item("c"), 0)) == []


def test_what_gathered_leaves_together_up_to_the_row_limit_in_the_order_it_came() -> None:
    c = coalescer()
    c.offer(item("a"), 0)
    for name in "bcdefg":
        c.offer(item(name), 0)
    assert names(one_back(c, 0)) == [["b", "c", "d", "e"]]
    assert names(one_back(c, 0)) == [["f", "g"]]
    assert one_back(c, 0) == []
    assert (c.away, c.waiting, c.waiting_rows) == (0, 0, 0)


def test_a_batch_never_mixes_lanes_and_lanes_take_turns() -> None:
    c = coalescer()
    c.offer(item("x"), 0)
    for name in ("a1", "a2", "a3", "a4", "a5"):
        c.offer(item(name, lane="a"), 0)
    c.offer(item("b1", lane="b"), 0)
    assert names(one_back(c, 0)) == [["a1", "a2", "a3", "a4"]]
    assert names(one_back(c, 0)) == [["b1"]]
    assert names(one_back(c, 0)) == [["a5"]]


def test_an_item_past_its_deadline_is_not_sent() -> None:
    c = coalescer()
    c.offer(item("a"), 0)
    c.offer(item("late", deadline_s=1), 0)
    c.offer(item("b"), 0)
    assert names(one_back(c, 2)) == [["b"]]


def test_an_item_larger_than_a_batch_leaves_alone() -> None:
    c = coalescer()
    c.offer(item("a"), 0)
    c.offer(item("big", rows=50), 0)
    c.offer(item("b"), 0)
    assert names(one_back(c, 0)) == [["big"]]


def test_more_rows_than_may_wait_are_refused_and_nothing_is_kept_of_them() -> None:
    c = coalescer(max_waiting_rows=2)
    c.offer(item("a"), 0)
    c.offer(item("b", rows=2), 0)
    with pytest.raises(OverloadedError):
        c.offer(item("c"), 0)
    assert c.waiting == 1


def test_an_item_that_cannot_be_back_by_its_deadline_is_refused_at_once_with_when_to_come_again() -> None:
    c = coalescer()
    c.offer(item("a"), 0)
    one_back(c, now=2)  # batches take two seconds
    c.offer(item("b", deadline_s=99), 10)
    c.offer(item("c", deadline_s=14.5), 10)  # two to wait, two to run
    with pytest.raises(OverloadedError) as refused:
        c.offer(item("d", lane="other", deadline_s=15), 10)  # behind c's lane
    assert refused.value.retry_after_ms == 4000
    assert c.waiting == 1
    assert names(c.offer(item("e", lane="other", deadline_s=99), 10)) == []


def test_a_slow_model_does_not_make_a_fast_one_look_slow() -> None:
    c = coalescer(slots=2)
    (fast,) = c.offer(item("fast", group="fast"), 0)
    (slow,) = c.offer(item("slow", group="slow", lane="slow"), 0)
    c.finish(fast, 0.01)
    c.finish(slow, 5.0)
    c.offer(item("a", group="fast", deadline_s=99), 10)
    c.offer(item("b", group="fast", deadline_s=99), 10)
    assert names(c.offer(item("c", group="fast", deadline_s=10.5), 10)) == []
    with pytest.raises(OverloadedError):
        c.offer(item("d", group="slow", lane="slow", deadline_s=10.5), 10)


def test_an_idle_system_refuses_nobody_for_what_it_was_slow_at_before() -> None:
    c = coalescer()
    c.offer(item("a"), 0)
    one_back(c, now=50)
    assert names(c.offer(item("b", deadline_s=51), 50)) == [["b"]]


def test_items_of_a_lost_batch_leave_first_and_alone() -> None:
    c = coalescer()
    (lost,) = c.offer(item("a"), 0)
    c.offer(item("c"), 0)
    lost.items.append(item("b"))
    c.again(lost.items, 0)
    assert names(one_back(c, 0)) == [["a"]]
    assert names(one_back(c, 0)) == [["b"]]
    assert names(one_back(c, 0)) == [["c"]]


def test_a_batch_lives_as_long_as_its_latest_caller() -> None:
    assert Batch("m", [item("a", deadline_s=1), item("b", deadline_s=9)], 0).deadline_s == 9


@given(
    st.lists(
        st.tuples(st.sampled_from(["offer", "finish", "withdraw"]), st.integers(0, 2), st.integers(1, 6)), max_size=80
    )
)
def test_any_interleaving_sends_every_item_once_or_gives_it_back(moves: list[tuple[str, int, int]]) -> None:
    c = coalescer(slots=2)
    offered: list[Item[str]] = []
    sent: list[Item[str]] = []
    withdrawn: list[Item[str]] = []
    away = 0
    for number, (move, lane, rows) in enumerate(moves):
        batches: list[Batch[str]] = []
        if move == "offer":
            offered.append(item(str(number), lane=str(lane), rows=rows))
            batches = c.offer(offered[-1], 0)
        elif move == "finish" and away:
            away -= 1
            batches = one_back(c, 0)
        elif move == "withdraw" and offered and c.withdraw(offered[rows % len(offered)]):
            withdrawn.append(offered[rows % len(offered)])
        for batch in batches:
            assert len({i.lane for i in batch.items}) == 1
            assert batch.rows <= 4 or len(batch.items) == 1
            sent += batch.items
        away += len(batches)
        assert away == c.away <= 2
        assert not c.waiting or c.away == 2
    while away:
        away -= 1
        batches = one_back(c, 0)
        away += len(batches)
        sent += [i for batch in batches for i in batch.items]
    assert sorted(i.reply for i in sent + withdrawn) == sorted(i.reply for i in offered)
    assert c.waiting_rows == 0
