"""Coalescing as group commit: which waiting requests leave together, and when.

While a slot is free a request leaves at once, with those that came in the same moment. While all slots are busy requests gather
in lanes, one lane per model version (and caller, where the policy says `own`), and the slot that frees next takes what a lane
has gathered, up to a row limit.
A batch never mixes lanes, so never models, versions or options.

Who goes first: each model version has slots of its own, and where they are more than there are in all, the one with the fewest
batches away is next, so one that is long away starves no other; lanes of a version take turns; and inside a lane callers do, by
rows: start-time fair queueing (Goyal, Vin and Cheng, 1996). So a flood of one caller is a queue of its own, and a wait is
estimated, and refused, by where the caller stands in it.

Pure: `offer` and `withdraw` change the state, `depart` and `finish` also return the batches that must leave now; assigning is
marking busy.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from gateway.core.shares import Shares
from shared.cost import Cost
from shared.errors import OverloadedError
from shared.wire import Frame

Reply = TypeVar("Reply")
#: Weight of the newest batch in `batch_s`.
_SMOOTHING = 0.2
_DEMAND_OVER_S = 15.0
_FORGET_AFTER_S = 600.0
#: A function's call is one row however long its vectors are, and texts are long: in the waiting room a row is at most so large.
_ROW_BYTES = 1024
#: A group whose runs share with nobody has half as many slots again while no other wants any and its runs are known to be so short:
#: from an answer over both hops to the next request R would wait for a fifth of the time. Where runs are shared, more away would
#: only make them smaller.
_SHORT_S = 0.020
#: A batch that is away for so long, and for so many times what others are, holds no slot any more: R hangs over it, or is slow.
OVERDUE_S, _OVERDUE_TIMES = 0.5, 8
#: The place in its lane of an item that must leave before others.
_FIRST = -1.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request of one caller waits: may be made once and used for all of them.

    `lane` says with which others it may share a run, `group` whose runs take as long (a model version). `alone`: with none.
    `share`: the same for a scorer, which merges what it gets (`shared.messages.SHARE_HEADER`).
    """

    lane: Hashable
    group: Hashable
    caller: Hashable = None
    alone: bool = False
    share: str = ""


class Item(msgspec.Struct, Generic[Reply], eq=False):
    """One request's rows. `reply` is the shell's and is not looked at."""

    place: Place
    frame: Frame
    deadline_s: float
    reply: Reply
    alone: bool = False
    overdue: int = 0  # R took far too long over it: once, among its caller's, then alone
    lost_pods: frozenset[str] = frozenset()
    waiting: bool = False
    room: int = 0  # what it takes of the waiting room: its rows, or as many as its bytes make
    charged: int = 0  # so much later its caller's next item begins

    def __post_init__(self) -> None:
        self.alone = self.alone or self.place.alone
        self.room = max(self.frame.rows, self.frame.size_bytes // _ROW_BYTES)


class Batch(msgspec.Struct, Generic[Reply], eq=False):
    """What leaves together."""

    group: Hashable
    items: list[Item[Reply]]
    left_at_s: float
    rows: int = 0  # of all items
    overdue: bool = False  # it holds no slot any more

    def __post_init__(self) -> None:
        self.rows = sum([item.frame.rows for item in self.items])

    def keep(self, items: list[Item[Reply]]) -> None:
        """Of its items only these leave."""
        self.items = items
        self.__post_init__()

    @property
    def of_one_caller(self) -> bool:
        """Whether all of its rows are the same caller's."""
        return len({item.place.caller for item in self.items}) == 1

    @property
    def deadline_s(self) -> float:
        """The latest item's: the batch runs on when an earlier caller has been answered 504."""
        return max(item.deadline_s for item in self.items)


@dataclass(slots=True, eq=False)
class _Lane(Generic[Reply]):
    """What waits in one lane. An item's weight is its rows; of one that leaves alone, the rows of a full batch."""

    queue: list[tuple[float, int, Item[Reply]]] = field(
        default_factory=list
    )  # a heap; those withdrawn stay until their turn
    finish: dict[Hashable, float] = field(default_factory=dict)  # of what each caller had and waits for, on `clock`
    held: dict[Hashable, int] = field(default_factory=dict)  # items that wait, by caller
    last: dict[Hashable, float] = field(default_factory=dict)  # where the newest begins: a caller's keep their order
    clock: float = 0.0
    weight: int = 0
    items: int = 0
    number: int = 0

    def start(self, caller: Hashable) -> float:
        """Where a new item of this caller's would begin."""
        return max(self.clock, self.finish.get(caller, 0.0), self.last.get(caller, 0.0))

    def ahead(self, caller: Hashable) -> float:
        """About the weight that goes before a new item of this caller's: of each other caller as much as of its own."""
        callers = len(self.held) + (caller not in self.held)
        return min(float(self.weight), callers * (self.start(caller) - self.clock))

    def push(self, item: Item[Reply], weight: int, *, first: bool) -> None:
        """It waits now."""
        caller = item.place.caller
        start = _FIRST if first else self.start(caller)
        item.charged = 0 if first else weight
        if not first:
            self.finish[caller], self.last[caller] = max(self.clock, self.finish.get(caller, 0.0)) + weight, start
        self.number += 1
        heapq.heappush(self.queue, (start, self.number, item))
        self.count(item, weight, 1)

    def count(self, item: Item[Reply], weight: int, change: int) -> None:
        """It waits (1), or no longer (-1)."""
        item.waiting = change > 0
        self.weight += change * weight
        self.items += change
        caller = item.place.caller
        held = self.held.get(caller, 0) + change
        if held:
            self.held[caller] = held
        else:
            del self.held[caller]
            self.last.pop(caller, None)

    def drop(self, item: Item[Reply], weight: int) -> None:
        """Nobody waits for it any more: what its caller sends next need not wait for what that has not had."""
        caller = item.place.caller
        if item.charged and caller in self.finish:
            self.finish[caller] -= item.charged
        self.count(item, weight, -1)

    def next(self) -> Item[Reply] | None:
        """The item whose turn it is, still in the queue."""
        while self.queue and not self.queue[0][2].waiting:
            heapq.heappop(self.queue)
        return self.queue[0][2] if self.queue else None

    def pop(self, weight: int) -> None:
        """Take the item that `next` gave."""
        start, _, item = heapq.heappop(self.queue)
        self.clock = max(self.clock, start)
        self.count(item, weight, -1)

    def tidy(self) -> None:
        """Forget what has no meaning any more, when it is more than what has: constant per item on the whole."""
        if len(self.queue) > 2 * self.items + 64:
            self.queue = [entry for entry in self.queue if entry[2].waiting]
            heapq.heapify(self.queue)
        if len(self.finish) > 2 * len(self.held) + 64:
            self.finish = {caller: at for caller, at in self.finish.items() if at > self.clock}


@dataclass(slots=True, eq=False)
class _Group(Generic[Reply]):
    """One model version: its lanes, the next one first, and its batches that are away."""

    slots: int = 1
    away: int = 0
    overdue: int = 0  # batches that are away and not counted as such
    rows: int = 0
    weight: int = 0
    batch_s: float = 0.0  # how long one is away, smoothed; 0 until the first came back
    cost: Cost = field(default_factory=Cost)  # of a prediction, as the scorer says
    alone: bool = False  # each of its items leaves alone
    demand: float = 0.0
    used_s: float = 0.0
    lanes: OrderedDict[Hashable, _Lane[Reply]] = field(default_factory=OrderedDict)

    def waits_s(self, max_batch_rows: int) -> float:
        """Predicted worker-seconds of what waits."""
        if not self.rows:
            return 0.0
        runs = max(len(self.lanes), math.ceil(self.weight / max_batch_rows))
        return self.cost.predict_s(self.rows, runs)


class Coalescer(Generic[Reply]):
    """The lanes and slots of one gateway process.

    `slots` is how many batches may be away at once; it may change at any time (a smaller number takes effect as batches
    finish). A group that has none away may always have one. Those that are away for far longer than others are not counted,
    of each group as many as it has slots. At most `max_waiting_rows` wait, shared among callers (`gateway.core.shares`);
    `offer` raises OverloadedError beyond. One item larger than `max_batch_rows` leaves alone.
    """

    def __init__(self, slots: int, max_batch_rows: int, max_waiting_rows: int) -> None:
        self.slots = slots
        self.max_batch_rows = max_batch_rows
        self.away = 0
        self._room = Shares(max_waiting_rows)
        self._groups: dict[Hashable, _Group[Reply]] = {}
        self._waiting: OrderedDict[Hashable, _Group[Reply]] = OrderedDict()  # those with lanes; the next one first
        self._ticked_s = 0.0
        self._away: dict[Batch[Reply], None] = {}  # the one that left first, first

    @property
    def waiting_rows(self) -> int:
        """Rows of the items that wait, or KiB of one that has more of those."""
        return self._room.used

    def demand(self) -> Iterator[tuple[Hashable, float]]:
        """By group: predicted worker-seconds that wait here, over about 15 s; as of the last `tick`."""
        return ((key, group.demand) for key, group in self._groups.items())

    def tick(self, now: float) -> list[Batch[Reply]]:
        """Look at what waits and at what is away; the batches that leave now. Call it a few times a second."""
        passed = min(1.0, max(0.0, now - self._ticked_s) / _DEMAND_OVER_S)
        self._ticked_s = now
        for key, group in list(self._groups.items()):
            group.demand += (group.waits_s(self.max_batch_rows) - group.demand) * passed
            if group.lanes or group.away or group.overdue:
                group.used_s = now
            elif now - group.used_s > _FORGET_AFTER_S:
                del self._groups[key]
        for batch in self._away:
            if now - batch.left_at_s < OVERDUE_S:
                break
            group = self._groups[batch.group]
            late = now - batch.left_at_s >= _OVERDUE_TIMES * group.batch_s
            if late and not batch.overdue and group.overdue < group.slots:
                batch.overdue = True
                group.overdue += 1
                group.away -= 1
                self.away -= 1
        return self._assign(now)

    def learn(self, group: Hashable, rows: int, predict_s: float) -> None:
        """What a batch of so many rows took in R."""
        if (found := self._groups.get(group)) is not None:
            found.cost.learn(rows, predict_s)

    def wait_s(self, place: Place) -> float:
        """About how long an item of this caller would wait for a slot; 0 where nobody knows better."""
        group = self._groups.get(place.group)
        if group is None or self._may_leave(group):
            return 0.0
        batch = self.max_batch_rows
        lane = group.lanes.get(place.lane)
        own = int(lane.ahead(place.caller) // batch) if lane is not None else 0
        others = len(group.lanes) - (lane is not None)
        ahead = min(own + (own + 1) * others, group.weight // batch + len(group.lanes))
        return (1 + ahead) * group.batch_s / max(1, group.away)

    def check(self, place: Place, deadline_s: float, now: float, rows: int = 1) -> None:
        """Raise what `offer` would for an item of so many rows, or of the least: before it is read."""
        wait_s = self.wait_s(place)
        if not self._room.fits(place.caller, rows):
            raise OverloadedError(retry_after_ms=max(50, int(wait_s * 1000)))
        if wait_s and now + wait_s + self._groups[place.group].batch_s > deadline_s:
            raise OverloadedError(
                "there is more work waiting than can be done before this request's deadline; try again later",
                retry_after_ms=max(50, int(wait_s * 1000)),
            )

    def offer(self, item: Item[Reply], now: float, slots: int | None = None) -> None:
        """Add one item; it leaves with a `depart` to come. `slots`: of the item's group, where they are fewer than all.

        Raises OverloadedError, with when to come again, where too much waits, of this caller or in all, or where the item could
        not be back by its deadline.
        """
        self.check(item.place, item.deadline_s, now, item.room)
        group = self._join(item)
        group.slots = self.slots if slots is None else slots

    def depart(self, now: float) -> list[Batch[Reply]]:
        """The batches that leave now."""
        return self._assign(now)

    def again(self, items: list[Item[Reply]], now: float) -> list[Batch[Reply]]:
        """Items whose batch was lost, or that came back unscored: before others of their lanes."""
        for item in items:
            self._join(item, first=True)
        return self._assign(now)

    def finish(self, batch: Batch[Reply], now: float, *, answered: bool = True) -> list[Batch[Reply]]:
        """A batch came back: its slot is free; the batches that leave now. Not `answered`: how long it was away says nothing."""
        group = self._groups[batch.group]
        del self._away[batch]
        if batch.overdue:
            group.overdue -= 1
        else:
            self.away -= 1
            group.away -= 1
        group.used_s = now
        if answered:
            took_s = now - batch.left_at_s
            group.batch_s = took_s if group.batch_s == 0.0 else group.batch_s + _SMOOTHING * (took_s - group.batch_s)
        return self._assign(now)

    def withdraw(self, item: Item[Reply]) -> bool:
        """Drop a waiting item whose caller has gone; False if it is away already."""
        if not item.waiting:
            return False
        group = self._groups[item.place.group]
        lane = group.lanes[item.place.lane]
        self._left(group, item)
        lane.drop(item, self._weight(item))
        lane.tidy()
        self._drop_if_empty(item.place.group, group, item.place.lane, lane)
        return True

    # --- inside

    def _weight(self, item: Item[Reply]) -> int:
        return max(item.frame.rows, self.max_batch_rows) if item.alone else item.frame.rows

    def _join(self, item: Item[Reply], *, first: bool = False) -> _Group[Reply]:
        key = item.place.group
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(self.slots)
        if not group.lanes:
            self._waiting[key] = group
        lane = group.lanes.get(item.place.lane)
        if lane is None:
            lane = group.lanes[item.place.lane] = _Lane()
        group.alone = item.place.alone
        weight = self._weight(item)
        lane.push(item, weight, first=first)
        lane.tidy()
        group.rows += item.frame.rows
        group.weight += weight
        self._room.take(item.place.caller, item.room)
        return group

    def _left(self, group: _Group[Reply], item: Item[Reply]) -> None:
        group.rows -= item.frame.rows
        group.weight -= self._weight(item)
        self._room.give(item.place.caller, item.room)

    def _drop_if_empty(self, key: Hashable, group: _Group[Reply], name: Hashable, lane: _Lane[Reply]) -> None:
        if not lane.items:
            group.lanes.pop(name, None)
        if not group.lanes:
            self._waiting.pop(key, None)

    def _may_leave(self, group: _Group[Reply]) -> bool:
        if not group.away or (group.away < group.slots and self.away < self.slots):
            return True
        return group.alone and group.away < group.slots + (group.slots + 1) // 2 and self._may_have_more(group)

    def _may_have_more(self, group: _Group[Reply]) -> bool:
        others = self.away > group.away or len(self._waiting) > bool(group.lanes)
        return not others and group.cost.learned and group.cost.recent_s <= _SHORT_S

    def _assign(self, now: float) -> list[Batch[Reply]]:
        batches: list[Batch[Reply]] = []
        while self._waiting:
            ready = [(group.away, key) for key, group in self._waiting.items() if self._may_leave(group)]
            if not ready:
                break
            key = min(ready, key=lambda entry: entry[0])[1]  # of those alike the one whose turn is first
            group = self._waiting[key]
            name, lane = group.lanes.popitem(last=False)
            items = self._take(group, lane, now)
            if lane.items:
                group.lanes[name] = lane  # at the end: lanes take turns
            self._waiting.move_to_end(key)
            self._drop_if_empty(key, group, name, lane)
            if items:
                self.away += 1
                group.away += 1
                batches.append(batch := Batch(key, items, now))
                self._away[batch] = None
        return batches

    def _take(self, group: _Group[Reply], lane: _Lane[Reply], now: float) -> list[Item[Reply]]:
        items: list[Item[Reply]] = []
        rows = 0
        while (item := lane.next()) is not None:
            if items and (item.alone or items[0].alone or rows + item.frame.rows > self.max_batch_rows):
                break
            self._left(group, item)
            lane.pop(self._weight(item))
            if item.deadline_s <= now:
                continue  # its caller has been answered 504
            items.append(item)
            rows += item.frame.rows
        return items
