"""Coalescing as group commit: which waiting requests leave together, and when.

While a slot is free a request leaves at once. While all slots are busy requests gather in lanes, one lane per model version
(and caller, where the policy says `own`), and the slot that frees next takes what its lane has gathered, up to a row limit.
Lanes take turns, so no model starves another. A batch never mixes lanes, so never models, versions or options.

Pure: `offer`, `finish` and `withdraw` change the state and return the batches that must leave now; assigning is marking busy.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from shared.errors import OverloadedError
from shared.wire import Frame

Reply = TypeVar("Reply")
#: Weight of the newest batch in `batch_s`.
_SMOOTHING = 0.2


@dataclass(slots=True, eq=False)
class Item(Generic[Reply]):
    """One request's rows. `lane` says with which others it may share a run, `group` whose runs take as long (a model version).

    `reply` is the shell's and is not looked at.
    """

    lane: Hashable
    group: Hashable
    frame: Frame
    deadline_s: float
    reply: Reply
    alone: bool = False
    lost_pods: frozenset[str] = frozenset()
    waiting: bool = False


@dataclass(slots=True, eq=False)
class Batch(Generic[Reply]):
    """What leaves together, in the order it came."""

    lane: Hashable
    items: list[Item[Reply]]
    left_at_s: float

    @property
    def rows(self) -> int:
        """Rows of all items."""
        return sum(item.frame.rows for item in self.items)

    @property
    def deadline_s(self) -> float:
        """The latest item's: the batch runs on when an earlier caller has been answered 504."""
        return max(item.deadline_s for item in self.items)


@dataclass(slots=True)
class _Group:
    """One model version: what waits and is away, and how long a batch is away, smoothed (0 until the first came back)."""

    batch_s: float = 0.0
    lanes: int = 0
    alone: int = 0
    rows: int = 0
    away: int = 0

    def came_back(self, took_s: float) -> None:
        """A batch was away for so long."""
        self.away -= 1
        self.batch_s = took_s if self.batch_s == 0.0 else self.batch_s + _SMOOTHING * (took_s - self.batch_s)


@dataclass(slots=True)
class Coalescer(Generic[Reply]):
    """The lanes and slots of one gateway process.

    `slots` is how many batches may be away at once; it may change at any time (a smaller number takes effect as batches
    finish). At most `max_waiting_rows` wait; `offer` raises OverloadedError beyond. One item larger than `max_batch_rows`
    leaves alone.
    """

    slots: int
    max_batch_rows: int
    max_waiting_rows: int
    away: int = 0
    waiting_rows: int = 0
    _groups: dict[Hashable, _Group] = field(default_factory=dict)
    _lanes: OrderedDict[Hashable, deque[Item[Reply]]] = field(default_factory=OrderedDict)

    @property
    def waiting(self) -> int:
        """Items that wait."""
        return sum(map(len, self._lanes.values()))

    def wait_s(self, item: Item[Reply]) -> float:
        """About how long an item would wait for a slot: the batches before it, by how long those of their models take."""
        if self.away < self.slots:
            return 0.0
        groups = self._groups.values()
        first_slot = sum(g.away * g.batch_s for g in groups) / max(1, self.away)
        ahead = sum((g.lanes + g.alone + g.rows // self.max_batch_rows) * g.batch_s for g in groups)
        if item.lane in self._lanes and not item.alone:
            ahead -= self._group(item).batch_s  # the batch that it will share
        return (first_slot + ahead) / max(1, self.slots)

    def _group(self, item: Item[Reply]) -> _Group:
        return self._groups.setdefault(item.group, _Group())

    def offer(self, item: Item[Reply], now: float) -> list[Batch[Reply]]:
        """Add one item; the batches that leave now.

        Raises OverloadedError, with when to come again, where too much waits or the item could not be back by its deadline.
        """
        wait_s = self.wait_s(item)
        retry_after_ms = max(50, int(wait_s * 1000))
        if self.waiting_rows and self.waiting_rows + item.frame.rows > self.max_waiting_rows:
            raise OverloadedError(retry_after_ms=retry_after_ms)
        if wait_s and now + wait_s + self._group(item).batch_s > item.deadline_s:
            raise OverloadedError(
                "there is more work waiting than can be done before this request's deadline; try again later",
                retry_after_ms=retry_after_ms,
            )
        self._join(item)
        return self._assign(now)

    def again(self, items: list[Item[Reply]], now: float) -> list[Batch[Reply]]:
        """Items whose batch was lost, each to leave alone and before others of its lane."""
        for item in reversed(items):
            item.alone = True
            self._join(item, first=True)
        return self._assign(now)

    def finish(self, batch: Batch[Reply], now: float) -> list[Batch[Reply]]:
        """A batch came back (or was lost): its slot is free; the batches that leave now."""
        self.away -= 1
        self._group(batch.items[0]).came_back(now - batch.left_at_s)
        return self._assign(now)

    def withdraw(self, item: Item[Reply]) -> bool:
        """Drop a waiting item whose caller has gone; False if it is away already."""
        if not item.waiting:
            return False
        lane = self._lanes[item.lane]
        lane.remove(item)
        self._count(item, -1)
        if not lane:
            del self._lanes[item.lane]
            self._group(item).lanes -= 1
        return True

    def _join(self, item: Item[Reply], *, first: bool = False) -> None:
        lane = self._lanes.get(item.lane)
        if lane is None:
            lane = self._lanes[item.lane] = deque()
            self._group(item).lanes += 1
        if first:
            lane.appendleft(item)
        else:
            lane.append(item)
        self._count(item, 1)

    def _count(self, item: Item[Reply], change: int) -> None:
        item.waiting = change > 0
        self.waiting_rows += change * item.frame.rows
        group = self._group(item)
        group.rows += change * item.frame.rows
        group.alone += change * item.alone

    def _assign(self, now: float) -> list[Batch[Reply]]:
        batches = []
        while self._lanes and self.away < self.slots:
            key, lane = self._lanes.popitem(last=False)
            group = self._group(lane[0])
            items = self._take(lane, now)
            if lane:
                self._lanes[key] = lane  # at the end: lanes take turns
            else:
                group.lanes -= 1
            if items:
                self.away += 1
                group.away += 1
                batches.append(Batch(key, items, now))
        return batches

    def _take(self, lane: deque[Item[Reply]], now: float) -> list[Item[Reply]]:
        items: list[Item[Reply]] = []
        rows = 0
        while lane:
            item = lane[0]
            if items and (item.alone or items[0].alone or rows + item.frame.rows > self.max_batch_rows):
                break
            lane.popleft()
            self._count(item, -1)
            if item.deadline_s <= now:
                continue  # its caller has been answered 504
            items.append(item)
            rows += item.frame.rows
        return items
