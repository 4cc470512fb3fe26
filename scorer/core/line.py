"""One version's queue and figures: what waits, in what order it goes, what it will cost. Pure."""

from __future__ import annotations

import math
import sys
from collections import deque
from dataclasses import dataclass, field

from scorer.core.calls import Key, Portion
from scorer.core.pieces import shorter
from scorer.core.upkeep import Upkeep
from shared.cost import Cost
from shared.messages import ALONE
from shared.wire import TensorSpecs

#: What a piece lasts where small calls come in between, in fixed costs of a call; and the rows that it may have in any case.
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
    after_apart: bool = False  # the last run was a part to repeat: the others' turn
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

    def runs_alone(self, portion: Portion) -> bool:
        """Whether it may share a run with no other."""
        return not self.batchable or portion.call.share == ALONE

    def can_start(self, *, large: bool) -> bool:
        """Whether something waits that may start now; `large`: whether another piece may."""
        return self.has_work() and bool(self.apart or self.waiting or (large and self.large))

    def waits_s(self, now: float) -> float:
        """How long ago the oldest call arrived that has not all of its runs."""
        waiting = [queue[0].call.arrived_s for queue in (self.waiting, self.large) if self.has_work() and queue]
        return max(0.0, now - min(waiting)) if waiting else 0.0

    @staticmethod
    def _is_clear(part: tuple[Portion, ...]) -> bool:
        return not any(portion.kills for portion in part)

    @property
    def short_rows(self) -> int:
        """Rows of a piece that lasts twice a call's fixed cost."""
        cost = self.cost
        return max(_SHORT_ROWS, int((_SHORT_FIXED - 1) * cost.fixed_s / cost.row_s)) if cost.row_s else sys.maxsize

    def large_s(self, rows: int, *, short: bool) -> float:
        """Worker-seconds of a call that is cut; `short`: into short pieces, which pay the fixed cost more often."""
        return self.cost.predict_s(rows, math.ceil(rows / self.short_rows) if short else 1)

    def backlog_s(self, max_run_rows: int, *, short: bool) -> float:
        """Worker-seconds that wait; `short`: as of `large_s`."""
        if not self.waiting_calls:
            return 0.0
        shares = self.batchable and not (self.waiting and self.waiting[0].call.share == ALONE)
        runs = math.ceil(self.waiting_rows / max_run_rows) if shares else self.waiting_calls
        pieces = len(self.large)
        if short and pieces:
            pieces = max(pieces, math.ceil(sum(piece.frame.rows for piece in self.large) / self.short_rows))
        return self.cost.predict_s(self.waiting_rows, max(1, runs, pieces))

    def take(
        self, max_run_rows: int, *, large: bool, short: bool = False, suspect: bool = True
    ) -> tuple[tuple[Portion, ...], bool]:
        """The next run, and whether it is a piece: a part to repeat, what waits, as much as may go together, or a piece.

        `can_start` was true. A part to repeat only in turn with what waits beside it, and, where it has ended a worker, only if a
        `suspect` may run now: rows that end workers must not keep others from them. A piece only in turn, too; `short`: one of at
        most `short_rows`, so that a small call, which pays the fixed cost too, takes about three times its own time.
        """
        if self.apart and not (self.waiting and (self.after_apart or not (suspect or self._is_clear(self.apart[0])))):
            self.after_apart = True
            return tuple(p for p in self.apart.popleft() if p.call.open), False
        self.after_apart = False
        if self.large and large and not (self.waiting and self.after_piece):
            self.after_piece = True
            if short:
                self.large.extendleft(reversed(shorter(self.inputs, self.large.popleft(), self.short_rows)))
            return (self.large.popleft(),), True
        self.after_piece = False
        first = self.waiting.popleft()
        taken, rows = [first], first.frame.rows
        share = first.call.share
        while self.batchable and share != ALONE and self.has_work() and self.waiting:
            portion = self.waiting[0]
            if portion.call.share != share or rows + portion.frame.rows > max_run_rows:
                break
            rows += portion.frame.rows
            taken.append(self.waiting.popleft())
        return tuple(taken), False
