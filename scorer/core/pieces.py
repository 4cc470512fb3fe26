"""How a call of very many rows is cut, so that its rows go over several workers and other calls in between. Pure."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from scorer.core.calls import Call, Portion
from scorer.core.limits import PoolLimits
from shared.wire import TensorSpecs, split

if TYPE_CHECKING:
    from scorer.core.line import Line

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


def shorter(inputs: TensorSpecs, piece: Portion, most: int) -> list[Portion]:
    """The piece in parts of about `most` rows: cut between its items; one item between its rows, into equal parts.

    All at once, because to cut a column of texts takes time for all that it holds.
    """
    rows = piece.frame.rows
    if rows <= most:
        return [piece]
    if piece.count == 1:
        parts = math.ceil(rows / most)
        ends = [rows * part // parts for part in range(parts + 1)]
        frames = split(inputs, piece.frame, [end - start for start, end in itertools.pairwise(ends)])
        return [replace(piece, frame=f, start=(piece.start or 0) + at) for f, at in zip(frames, ends, strict=False)]
    groups: list[list[int]] = []  # first item, items, rows
    for index, size in enumerate(piece.call.items[piece.first : piece.first + piece.count], piece.first):
        if groups and groups[-1][2] + size <= most:
            groups[-1][1] += 1
            groups[-1][2] += size
        else:
            groups.append([index, 1, size])
    frames = split(inputs, piece.frame, [size for _, _, size in groups])
    return [replace(piece, first=g[0], count=g[1], frame=f) for g, f in zip(groups, frames, strict=True)]


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
