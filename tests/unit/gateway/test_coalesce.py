"""Group commit: a free slot never waits, and nobody's flood is another's wait."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.core.coalesce import Batch, Coalescer, Item, Place
from shared.errors import OverloadedError
from shared.wire import Frame


def item(
    name: str,
    *,
    lane: str = "m",
    group: str = "g",
    rows: int = 1,
    deadline_s: float = 10.0,
    caller: str = "c",
    alone: bool = False,
) -> Item[str]:
    return Item(Place(lane, group, caller, alone), Frame(rows, ()), deadline_s, name)


def names(batches: list[Batch[str]]) -> list[list[str]]:
    return [[i.reply for i in batch.items] for batch in batches]


def waiting_items(coalescer: Coalescer[Any]) -> int:
    return sum(lane.items for group in coalescer._waiting.values() for lane in group.lanes.values())


class Running:
    """A coalescer and its batches that are away, oldest first."""

    def __init__(self, slots: int = 1, max_batch_rows: int = 4, max_waiting_rows: int = 1000) -> None:
        self.coalescer: Coalescer[str] = Coalescer(slots, max_batch_rows, max_waiting_rows)
        self.away: list[Batch[str]] = []

    def offer(self, one: Item[str], now: float = 0, slots: int | None = None) -> list[list[str]]:
        self.coalescer.offer(one, now, slots)
        return self._left(self.coalescer.depart(now))

    def back(self, now: float = 0, *, group: str | None = None, answered: bool = True) -> list[list[str]]:
        batch = next(b for b in self.away if group in (None, b.group))
        self.away.remove(batch)
        return self._left(self.coalescer.finish(batch, now, answered=answered))

    def _left(self, batches: list[Batch[str]]) -> list[list[str]]:
        self.away += batches
        return names(batches)


def test_those_that_come_in_one_moment_leave_together() -> None:
    c: Coalescer[str] = Coalescer(slots=2, max_batch_rows=4, max_waiting_rows=100)
    for name in "abcde":
        c.offer(item(name), 0)
    assert names(c.depart(0)) == [list("abcd"), ["e"]]
    assert c.depart(0) == []


def test_a_request_leaves_at_once_while_a_slot_is_free() -> None:
    c = Running(slots=2)
    assert c.offer(item("a")) == [["a"]]
    assert c.offer(item("b")) == [["b"]]
    assert c.offer(item("c")) == []


def test_what_gathered_leaves_together_up_to_the_row_limit_in_the_order_it_came() -> None:
    c = Running()
    for name in "abcdefg":
        c.offer(item(name))
    assert c.back() == [["b", "c", "d", "e"]]
    assert c.back() == [["f", "g"]]
    assert c.back() == []
    assert (c.coalescer.away, waiting_items(c.coalescer), c.coalescer.waiting_rows) == (0, 0, 0)


def test_a_batch_never_mixes_lanes_and_lanes_take_turns() -> None:
    c = Running()
    c.offer(item("x"))
    for name in ("a1", "a2", "a3", "a4", "a5"):
        c.offer(item(name, lane="a"))
    c.offer(item("b1", lane="b"))
    assert c.back() == [["a1", "a2", "a3", "a4"]]
    assert c.back() == [["b1"]]
    assert c.back() == [["a5"]]


def test_an_item_past_its_deadline_is_not_sent() -> None:
    c = Running()
    for one in (item("a"), item("late", deadline_s=1), item("b")):
        c.offer(one)
    assert c.back(2) == [["b"]]


def test_an_item_larger_than_a_batch_leaves_alone() -> None:
    c = Running()
    for one in (item("a"), item("big", rows=50), item("b")):
        c.offer(one)
    assert c.back() == [["big"]]


# --- fairness


def test_callers_take_turns_by_rows_so_a_flood_is_a_queue_of_its_own() -> None:
    c = Running()
    c.offer(item("x"))
    for number in range(10):
        c.offer(item(f"flood{number}", caller="flood"))
    c.offer(item("quiet", caller="quiet"))
    assert c.back() == [["flood0", "quiet", "flood1", "flood2"]]


def test_turns_are_by_rows_not_by_requests() -> None:
    c = Running(max_batch_rows=6)
    c.offer(item("x"))
    for number in range(3):
        c.offer(item(f"big{number}", caller="a", rows=4))
    for number in range(5):
        c.offer(item(f"small{number}", caller="b"))
    assert c.back() == [["big0", "small0", "small1"]]
    assert c.back() == [["small2", "small3", "big1"]]


def test_who_comes_back_from_having_nothing_has_no_credit_for_the_time_away() -> None:
    c = Running(max_batch_rows=2)
    c.offer(item("x"))
    for number in range(6):
        c.offer(item(f"a{number}", caller="a"))
    assert c.back() == [["a0", "a1"]]
    for number in range(4):
        c.offer(item(f"b{number}", caller="b"))
    assert c.back() == [["b0", "a2"]]
    assert c.back() == [["b1", "a3"]]


def test_a_callers_wait_is_by_where_it_stands_so_the_flood_is_refused_and_the_quiet_one_is_not() -> None:
    c = Running()
    c.offer(item("x", deadline_s=99))
    c.offer(item("y", deadline_s=99))
    c.back(1)  # batches take a second
    for number in range(40):
        c.offer(item(f"flood{number}", caller="flood", deadline_s=99), 1)
    with pytest.raises(OverloadedError) as refused:
        c.offer(item("more", caller="flood", deadline_s=8), 1)
    assert refused.value.retry_after_ms == 11_000  # ten batches, and the one that is away
    assert c.offer(item("quiet", caller="quiet", deadline_s=8), 1) == []
    assert "quiet" in c.back(2)[0]


def test_a_request_is_checked_before_its_rows_are_known() -> None:
    c = Running()
    c.offer(item("x", deadline_s=99))
    c.coalescer.check(Place("m", "g", "c"), 0.1, 0)
    c.back(5)
    c.offer(item("y", deadline_s=99), 5)
    with pytest.raises(OverloadedError):
        c.coalescer.check(Place("m", "g", "c"), 12, 5)
    c.coalescer.check(Place("m", "g", "c"), 16, 5)


def test_rows_that_wait_are_shared_and_nothing_is_kept_of_those_refused() -> None:
    c = Running(max_waiting_rows=10)
    c.offer(item("a", caller="flood"))
    for number in range(8):
        c.offer(item(f"flood{number}", caller="flood"))
    with pytest.raises(OverloadedError):
        c.offer(item("more", caller="flood"))
    assert waiting_items(c.coalescer) == 8
    assert c.offer(item("quiet", caller="quiet")) == []


# --- deadlines


def test_an_item_that_cannot_be_back_by_its_deadline_is_refused_at_once_with_when_to_come_again() -> None:
    c = Running()
    c.offer(item("a"))
    c.back(now=2)  # batches take two seconds
    c.offer(item("b", deadline_s=99), 10)
    c.offer(item("c", deadline_s=14.5), 10)  # two to wait, two to run
    with pytest.raises(OverloadedError) as refused:
        c.offer(item("d", lane="other", deadline_s=15), 10)  # behind c's lane
    assert refused.value.retry_after_ms == 4000
    assert waiting_items(c.coalescer) == 1
    assert c.offer(item("e", lane="other", deadline_s=99), 10) == []


def test_an_idle_system_refuses_nobody_for_what_it_was_slow_at_before() -> None:
    c = Running()
    c.offer(item("a"))
    c.back(now=50)
    assert c.offer(item("b", deadline_s=51), 50) == [["b"]]


def test_a_lost_batch_says_nothing_of_how_long_one_takes() -> None:
    c = Running()
    c.offer(item("a"))
    c.back(now=50, answered=False)
    c.offer(item("b", deadline_s=51), 50)
    assert c.offer(item("c", deadline_s=51), 50) == []


# --- slots


def test_a_model_that_is_long_away_starves_no_other() -> None:
    c = Running(slots=3)
    for number in range(9):
        c.offer(item(f"slow{number}", group="slow", lane="slow"))
    assert c.offer(item("fast1", group="fast", lane="fast")) == [["fast1"]]
    assert c.offer(item("fast2", group="fast", lane="fast")) == []
    assert c.back(group="fast") == [["fast2"]]
    assert c.coalescer.away == 4


def test_a_slot_that_frees_is_the_next_of_whoever_has_fewest_away() -> None:
    c = Running(slots=3, max_batch_rows=1)
    for number in range(9):
        c.offer(item(f"slow{number}", group="slow", lane="slow"))
    for number in range(3):
        c.offer(item(f"fast{number}", group="fast", lane="fast"))
    assert c.back(group="slow") == []  # there were more away than slots
    assert c.back(group="slow") == [["slow3"]]  # as many as the other, and its turn
    assert c.back(group="slow") == [["fast1"]]
    assert c.back(group="slow") == [["slow4"]]


def test_a_version_that_few_pods_have_gets_their_slots_only() -> None:
    c = Running(slots=6)
    assert [len(c.offer(item(f"a{n}"), slots=2)) for n in range(4)] == [1, 1, 0, 0]


# --- what was lost, who left, what waits


class TestRunsThatShareWithNobody:
    def offered(self, took_s: float, *, runs: int = 20, rows: int = 1) -> tuple[Running, list[list[str]]]:
        """Two slots, and eight items that leave alone where so many runs took so long; what has left."""
        c = Running(slots=2)
        left = c.offer(item("0", alone=True))
        for _ in range(runs):
            c.coalescer.learn("g", rows, took_s)
        for name in "1234567":
            left += c.offer(item(name, alone=True))
        return c, left

    def test_half_as_many_slots_again_are_away_while_they_are_short(self) -> None:
        c, left = self.offered(0.002)
        assert left == [["0"], ["1"], ["2"]]
        assert c.back() == [["3"]]

    @pytest.mark.parametrize(
        ("took_s", "runs"), [(0.1, 20), (0.002, 0), (0.002, 2)], ids=["long", "not known", "hardly known"]
    )
    def test_no_more_than_the_slots_otherwise(self, took_s: float, runs: int) -> None:
        c, left = self.offered(took_s, runs=runs)
        assert left == [["0"], ["1"]]
        assert c.back() == [["2"]]

    def test_what_is_short_is_by_the_runs_and_not_by_a_row(self) -> None:
        _, left = self.offered(0.1, rows=1000)
        assert left == [["0"], ["1"]]

    def test_they_give_way_to_another_version(self) -> None:
        c, _ = self.offered(0.002)
        assert c.offer(item("x", group="h")) == [["x"]]
        assert c.offer(item("y", group="h")) == []
        assert [c.back(group="g") for _ in range(2)] == [[], []]
        assert c.back(group="g") == [["3"]]
        assert c.back(group="h") == [["y"]]


def test_items_of_a_lost_batch_leave_first_and_alone() -> None:
    c = Running()
    c.offer(item("a"))
    c.offer(item("c"))
    (lost,) = c.away
    lost.items.append(item("b"))
    for one in lost.items:
        one.alone = True
    assert c.coalescer.again(lost.items, 0) == []
    assert c.back() == [["a"]]
    assert c.back() == [["b"]]
    assert c.back() == [["c"]]


def test_who_leaves_is_dropped_and_the_lane_with_its_last() -> None:
    c = Running()
    c.offer(item("a"))
    (b, d) = item("b"), item("d")
    c.offer(b)
    c.offer(d)
    assert c.coalescer.withdraw(b)
    assert not c.coalescer.withdraw(b)
    assert c.coalescer.waiting_rows == 1
    assert c.coalescer.withdraw(d)
    assert c.back() == []
    assert c.offer(item("e")) == [["e"]]


class TestOneWhoLeft:
    """Nine of a caller's requests wait beside a flood, and leave."""

    def left(self, *then: Item[str]) -> list[list[list[str]]]:
        c = Running(max_batch_rows=1)
        c.offer(item("x"))
        for number in range(3):
            c.offer(item(f"flood{number}", caller="flood"))
        gone = [item(f"gone{number}") for number in range(9)]
        for one in (*gone, *then[:-1]):
            c.offer(one)
        for one in gone:
            assert c.coalescer.withdraw(one)
        c.offer(then[-1])
        return [c.back() for _ in range(3 + len(then))]

    def test_does_not_wait_for_what_it_never_had(self) -> None:
        assert self.left(item("next")) == [[["flood0"]], [["next"]], [["flood1"]], [["flood2"]]]

    def test_is_not_refused_for_what_it_never_had(self) -> None:
        c = Running(max_batch_rows=1)
        c.offer(item("x"))
        c.back(1)
        c.offer(item("x", deadline_s=99), 1)
        for number in range(30):
            c.offer(item(f"flood{number}", caller="flood", deadline_s=99), 1)
        gone = [item(f"gone{number}", deadline_s=99) for number in range(30)]
        for one in gone:
            c.offer(one, 1)
        for one in gone:
            c.coalescer.withdraw(one)
        c.offer(item("next", deadline_s=9), 1)

    def test_has_its_answers_in_order_all_the_same(self) -> None:
        order = [name for ((name,),) in self.left(item("kept"), item("next"))]
        assert order.index("kept") < order.index("next")


def test_a_batch_lives_as_long_as_its_latest_caller() -> None:
    assert Batch("m", [item("a", deadline_s=1), item("b", deadline_s=9)], 0).deadline_s == 9


def test_a_batch_that_is_away_for_far_longer_than_others_holds_no_slot_but_not_more_than_there_are() -> None:
    c = Running()
    for number in range(3):
        c.offer(item(f"{number}", deadline_s=999))
    assert c.coalescer.tick(0.4) == [], "as long as it is none of those"
    [second] = c.coalescer.tick(0.5)
    assert ([one.reply for one in second.items], c.coalescer.away) == (["1", "2"], 1)
    c.offer(item("3", deadline_s=999))
    assert c.coalescer.tick(5.0) == [], "one of one slot"
    [first, *_] = c.away
    assert c.coalescer.finish(first, 6.0, answered=False) == []
    [third] = c.coalescer.tick(6.1)
    assert [one.reply for one in third.items] == ["3"]
    assert [c.coalescer.finish(batch, 7.0) for batch in (second, third)] == [[], []]
    assert c.coalescer.away == 0


def test_a_group_is_not_forgotten_while_an_overdue_batch_of_it_is_away() -> None:
    c = Running()
    c.offer(item("a", deadline_s=9999))
    c.coalescer.tick(0.5)
    for now in (1.0, 700.0, 1400.0):
        assert c.coalescer.tick(now) == []
    assert c.coalescer.finish(c.away.pop(), 1401.0, answered=False) == []
    assert c.coalescer.away == 0


def test_one_that_takes_as_long_as_others_do_holds_its_slot() -> None:
    c = Running()
    c.offer(item("a", deadline_s=999))
    c.back(1.0)
    c.offer(item("b", deadline_s=999), now=2.0)
    c.offer(item("c", deadline_s=999), now=2.0)
    assert c.coalescer.tick(2.0 + 7.9) == []
    assert len(c.coalescer.tick(2.0 + 8.0)) == 1


def test_demand_is_the_predicted_work_that_waits_and_fades_when_it_is_done() -> None:
    c = Running(max_batch_rows=4)
    c.offer(item("x", deadline_s=999))
    for _ in range(20):
        c.coalescer.learn("g", 4, 0.5)
    c.coalescer.finish(c.away.pop(), 100.0)
    c.offer(item("y", deadline_s=999), now=100.0)
    for number in range(8):
        c.offer(item(f"{number}", deadline_s=999), now=100.0)
    for quarter in range(400, 800):
        c.coalescer.tick(quarter / 4)
    ((group, seconds),) = c.coalescer.demand()
    assert (group, round(seconds, 1)) == ("g", 1.0)  # two batches of half a second
    while c.away:
        c.back(200)
    for quarter in range(800, 1200):
        c.coalescer.tick(quarter / 4)
    ((_, seconds),) = c.coalescer.demand()
    assert seconds < 0.01
    c.coalescer.tick(1000)
    assert list(c.coalescer.demand()) == []


def test_what_was_learnt_outlives_the_pause_between_short_requests() -> None:
    c = Running()
    c.offer(item("x", deadline_s=9999), now=5000.0)
    c.coalescer.learn("g", 1, 0.5)
    c.back(5000.01)  # before any tick saw it
    c.coalescer.tick(5000.25)
    assert [group for group, _ in c.coalescer.demand()] == ["g"]
    c.coalescer.tick(5601)
    assert list(c.coalescer.demand()) == []


def test_a_row_of_many_bytes_takes_the_room_of_many_rows() -> None:
    c: Coalescer[str] = Coalescer(slots=1, max_batch_rows=4, max_waiting_rows=1000)
    large = Item(Place("m", "g", "c"), Frame(1, (b"x" * 800_000,)), 10.0, "a vector")
    c.offer(large, 0)
    with pytest.raises(OverloadedError):
        c.offer(Item(Place("m", "g", "c"), Frame(1, (b"x" * 800_000,)), 10.0, "another"), 0)
    assert c.waiting_rows == 781
    assert c.withdraw(large)
    assert c.waiting_rows == 0
