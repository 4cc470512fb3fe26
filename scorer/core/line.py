"""One version's queue and figures: what waits, in what order it goes, what it will cost. Pure."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field, replace

from scorer.core.calls import Key, Portion
from scorer.core.upkeep import Upkeep
from shared.cost import Cost
from shared.wire import TensorSpecs, split

#: What a piece lasts where others wait in between, in fixed costs of a call; and its least rows.
_SHORT_FIXED, _SHORT_ROWS = 2, 64


@dataclass(slots=True, eq=False)
class Line:
    """One version's queue and figures."""

    key: Key
    inputs: TensorSpecs
    outputs: TensorSpecs
    batchable: bool
    cost: Cost
    upkeep: Upkeep
    retry: bool = True  # whether rows may be scored again after a crash
    waiting: deque[Portion] = field(default_factory=deque)
    apart: deque[tuple[Portion, ...]] = field(default_factory=deque)  # runs to repeat in smaller parts, first
    large: deque[Portion] = field(default_factory=deque)  # pieces of calls that were cut
    after_piece: bool = False  # the last run was one: another call's turn
    loaded_bytes: float = 0.0  # what the model takes, which workers share
    growth_bytes: float = math.inf  # private memory a worker may have beyond one that is warm
    forked_bytes: float = 0.0  # what a new one has
    warm_bytes: float | None = None  # the least that one had after enough runs
    lasts_runs: float = math.inf  # runs after which one is replaced before it grows, learned
    waiting_rows: int = 0
    waiting_calls: int = 0
    used_s: float = 0.0  # virtual time: who has used least goes next
    leaving: bool = False

    def has_work(self) -> bool:
        """Whether anything open waits; drops what nobody waits for any more."""
        while self.apart and not any(p.call.open for p in self.apart[0]):
            self.apart.popleft()
        for waiting in (self.waiting, self.large):
            while waiting and not waiting[0].call.open:
                waiting.popleft()
        return bool(self.apart or self.waiting or self.large)

    def can_start(self, *, large: bool) -> bool:
        """Whether something waits that may start now; `large`: whether another piece may."""
        return self.has_work() and bool(self.apart or self.waiting or (large and self.large))

    def waits_s(self, now: float) -> float:
        """How long ago the oldest call arrived that has not all of its runs."""
        waiting = [queue[0].call.arrived_s for queue in (self.waiting, self.large) if self.has_work() and queue]
        return max(0.0, now - min(waiting)) if waiting else 0.0

    def backlog_s(self, max_run_rows: int) -> float:
        """Worker-seconds that wait."""
        if not self.waiting_calls:
            return 0.0
        runs = math.ceil(self.waiting_rows / max_run_rows) if self.batchable else self.waiting_calls
        runs = max(runs, len(self.large))
        return self.cost.predict_s(self.waiting_rows, max(1, runs))

    def take(self, max_run_rows: int, *, large: bool, short: bool = False) -> tuple[tuple[Portion, ...], bool]:
        """The next run, and whether it is a piece: a part to repeat, what waits, as much as may go together, or a piece.

        `can_start` was true. A piece only in turn with what waits beside it; `short`: of one only a part that lasts twice a
        call's fixed cost, so that a small call, which pays that too, takes about three times its own time at most.
        """
        if self.apart:
            return tuple(p for p in self.apart.popleft() if p.call.open), False
        if self.large and large and not (self.waiting and self.after_piece):
            self.after_piece = True
            return (self._part() if short else self.large.popleft(),), True
        self.after_piece = False
        first = self.waiting.popleft()
        taken, rows = [first], first.frame.rows
        while self.batchable and self.has_work() and self.waiting:
            portion = self.waiting[0]
            if rows + portion.frame.rows > max_run_rows:
                break
            rows += portion.frame.rows
            taken.append(self.waiting.popleft())
        return tuple(taken), False

    def _part(self) -> Portion:
        """Of the next piece so much as is short; the rest is the next piece."""
        piece = self.large.popleft()
        rows, cost = piece.frame.rows, self.cost
        most = max(_SHORT_ROWS, int((_SHORT_FIXED - 1) * cost.fixed_s / cost.row_s)) if cost.row_s else rows
        if piece.start is None or rows < 2 * most:  # whole items, or not worth another call
            return piece
        part, rest = split(self.inputs, piece.frame, [most, rows - most])
        self.large.appendleft(replace(piece, frame=rest, start=piece.start + most))
        return replace(piece, frame=part)
