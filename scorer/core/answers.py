"""What becomes of a run: its rows go to those who asked, or what failed is tried again in smaller parts. Pure.

R error: halves, down to items      (a failing item fails alone, with R's message)
crash:   eighths, down to items     (an item that kills again alone is refused; so with a worker stopped from outside)
hang:    none of it                 (the gateway, which knows whose rows they are, sends them apart)
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from scorer.core.calls import Call, Failure, Key, Portion, Run
from scorer.core.effects import Answer
from scorer.core.line import Line
from shared.errors import (
    DeadlineExceededError,
    OverdueError,
    PredictionFailedError,
    ScoregateError,
    SetAsideError,
    WorkerCrashedError,
)
from shared.messages import ItemError
from shared.wire import Frame, WireError, merge, split

_OUTSIDE_KILLS = 3  # so often an item alone is tried again when its worker was killed from outside
_CRASH_PARTS = 8  # into so many runs goes what a crashed worker had


class Answers:
    """The calls that wait for one. `late`: answers of R for calls that had gone."""

    def __init__(self, lines: Mapping[Key, Line]) -> None:
        self.open_calls: set[Call] = set()
        self.late = 0
        self._lines = lines

    def opened(self, call: Call, now: float) -> None:
        """A call has been taken: all of it waits."""
        call.arrived_s = now
        self.count_waiting(call, call.frame.rows)
        self.open_calls.add(call)

    def count_waiting(self, call: Call, rows: int) -> None:
        """So many more of its rows wait; fewer, if negative."""
        line = self._lines[call.key]
        before = call.waiting_rows
        call.waiting_rows += rows
        line.waiting_rows += rows
        line.waiting_calls += (call.waiting_rows > 0) - (before > 0)

    def close(self, call: Call) -> None:
        """Nobody waits for it any more. Repeats change nothing."""
        if call.open:
            call.open = False
            self.open_calls.discard(call)
            if call.key in self._lines:
                self.count_waiting(call, -call.waiting_rows)

    def give_up(self, call: Call, blamed: Mapping[int, ScoregateError]) -> Answer:
        """Its deadline has come: what there is, or a refusal of the whole. `blamed`: items that R did not get done for a reason."""
        if not call.frames and not call.errors:
            overdue = sum(isinstance(error, OverdueError) for error in blamed.values())
            if not blamed or overdue == len(call.items):
                self.close(call)
                return Answer(call, refused=next(iter(blamed.values())) if blamed else DeadlineExceededError())
        answered = {i for first, (count, _) in call.frames.items() for i in range(first, first + count)}
        for index in range(len(call.items)):
            if index not in answered and index not in call.errors:
                error = blamed.get(index) or DeadlineExceededError()
                call.errors[index] = ItemError(index, error.code, error.detail)
        return self._finish(call)

    def _finish(self, call: Call) -> Answer:
        self.close(call)
        line = self._lines[call.key]
        frames = [frame for _, (_, frame) in sorted(call.frames.items())]
        empty = Frame(0, tuple(b"" for _ in line.outputs))
        sizes = tuple(call.items)
        if call.errors:
            sizes = tuple(0 if index in call.errors else size for index, size in enumerate(sizes))
        errors = tuple(error for _, error in sorted(call.errors.items()))
        return Answer(call, merge(frames) if frames else empty, sizes, errors)

    def deliver(self, line: Line, run: Run, frame: Frame) -> list[Answer]:
        """A run's rows."""
        try:
            parts = split(line.outputs, frame, [portion.frame.rows for portion in run.portions])
        except WireError as error:
            return self.retry_halves(line, run, Failure("bad_output", str(error)))
        effects: list[Answer] = []
        for portion, part in zip(run.portions, parts, strict=True):
            call = portion.call
            if not call.open:
                self.late += 1
                continue
            if portion.first in call.errors or portion.first in call.frames:  # another piece failed, or it ran twice
                continue
            call.add(portion, part)
            if not call.missing:
                effects.append(self._finish(call))
        return effects

    def _fail(self, portion: Portion, error: ScoregateError) -> list[Answer]:
        call = portion.call
        if not call.open:
            self.late += 1
            return []
        if portion.first in call.frames:  # it ran twice (`ahead`), and the other one was answered
            return []
        if portion.start is not None:
            self._drop_pieces(portion)
        for index in range(portion.first, portion.first + portion.count):
            call.errors[index] = ItemError(index, error.code, error.detail)
        return [] if call.missing else [self._finish(call)]

    def _drop_pieces(self, failed: Portion) -> None:
        """One piece of an item has failed: its others need not start."""
        call = failed.call
        call.parts.pop(failed.first, None)
        line = self._lines[call.key]

        def of_item(portion: Portion) -> bool:
            return portion.call is call and portion.first == failed.first

        for portion in [*line.large, *itertools.chain.from_iterable(line.apart)]:
            if of_item(portion):
                self.count_waiting(call, -portion.frame.rows)
        line.large = deque(portion for portion in line.large if not of_item(portion))
        line.apart = deque(group for group in line.apart if not any(map(of_item, group)))

    def _singles(self, line: Line, run: Run) -> list[Portion]:
        """The run's items, one by one, of calls that still wait."""
        singles: list[Portion] = []
        for portion in run.portions:
            if not portion.call.open:
                continue
            sizes = portion.call.items[portion.first : portion.first + portion.count]
            frames = split(line.inputs, portion.frame, sizes)
            singles += [Portion(portion.call, portion.first + i, 1, f, portion.kills) for i, f in enumerate(frames)]
        return singles

    def _again(self, line: Line, groups: Iterable[Sequence[Portion]]) -> None:
        """Wait once more, in these groups, before all others of the version."""
        for group in reversed([tuple(group) for group in groups if group]):
            line.apart.appendleft(group)
            for portion in group:
                self.count_waiting(portion.call, portion.frame.rows)

    def retry_halves(self, line: Line, run: Run, failure: Failure) -> list[Answer]:
        """R failed: the items fail apart."""
        if run.items == 1:
            return self._fail(run.portions[0], PredictionFailedError(failure.message))
        singles = self._singles(line, run)
        half = (len(singles) + 1) // 2
        self._again(line, [singles[:half], singles[half:]])
        return []

    def retry_apart(self, line: Line, run: Run, *, hung: bool, outside: bool) -> list[Answer]:
        """The worker is gone with the run: `hung`, it was killed for taking too long; `outside`: most likely by another hand."""
        if hung:
            error = OverdueError() if len({portion.call for portion in run.portions}) == 1 else SetAsideError()
            return [answer for portion in run.portions for answer in self._fail(portion, error)]
        if run.items == 1:
            portion = run.portions[0]
            portion.kills += 1
            portion.killed_alone = not outside
            if not line.retry:
                return self._fail(portion, WorkerCrashedError("R crashed while it scored these rows"))
            if portion.kills > (_OUTSIDE_KILLS if outside else 1):
                return self._fail(portion, WorkerCrashedError())
            if portion.call.open:
                self._again(line, [[portion]])
            return []
        singles = self._singles(line, run)
        for portion in singles:
            portion.kills += 1
        # A run costs far more than its rows: what a hundred items did in one run they must not do again in a hundred, when
        # it was the worker that somebody killed. Two steps down to the item.
        size = math.ceil(len(singles) / _CRASH_PARTS)
        self._again(line, [singles[i : i + size] for i in range(0, len(singles), max(1, size))])
        return []
