"""How a call of very many rows is cut, so that its rows go over several workers and other calls in between. Pure."""

from __future__ import annotations

import itertools
import math

from scorer.core.calls import Call, Portion
from scorer.core.limits import PoolLimits
from scorer.core.line import Line
from shared.wire import split

_LEAST_PIECE_ROWS = 64
_LEAST_PIECE_FIXED = 5  # times the fixed cost: a small call beside such pieces takes less than three times its own time


def pieces(line: Line, call: Call, limits: PoolLimits) -> list[Portion]:
    """The call's items in portions of about `large_piece_s` each; an item that is larger is cut.

    Where a call's fixed cost is much of that the pieces are longer: they would cost more than their rows, and a small call
    of the version, which has that fixed cost too, hardly notices.
    """
    cost = line.cost
    workers = min(limits.large_workers, limits.slots)
    piece_s = max(limits.large_piece_s, _LEAST_PIECE_FIXED * cost.fixed_s)
    most = int((piece_s - cost.fixed_s) / cost.row_s) if cost.row_s > 0 else call.frame.rows
    fair = math.ceil(call.frame.rows / workers)
    most = max(_LEAST_PIECE_ROWS, min(most, fair))
    places: list[tuple[int, int, int | None]] = []  # first item, items, first row
    sizes: list[int] = []
    for index, size in enumerate(call.items):
        if size > most:
            ends = _staggered(size, most, workers)
            places += [(index, 1, start) for start in ends[:-1]]
            sizes += [end - start for start, end in itertools.pairwise(ends)]
        elif places and places[-1][2] is None and sizes[-1] + size <= most:
            first, count, _ = places[-1]
            places[-1] = (first, count + 1, None)
            sizes[-1] += size
        else:
            places.append((index, 1, None))
            sizes.append(size)
    frames = split(line.inputs, call.frame, sizes)
    return [
        Portion(call, first, count, frame, start=start)
        for (first, count, start), frame in zip(places, frames, strict=True)
    ]


def _staggered(rows: int, most: int, workers: int) -> list[int]:
    """Where pieces of at most `most` rows begin, and where the last one ends.

    The first and the last ones rise and fall in steps, so that workers never end theirs at the same time, but the last: another
    call then waits for a part of a piece.
    """
    full = max(workers, math.ceil(rows / most)) - workers + 1
    steps = list(range(1, workers))
    weights = steps + [workers] * full + steps[::-1]
    ends = itertools.accumulate(weights, initial=0)
    total = sum(weights)
    return sorted({rows * end // total for end in ends})
