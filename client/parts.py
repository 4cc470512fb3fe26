"""A table cut into requests, and their answers put together again."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from client.errors import ReplyError, ScoregateHTTPError
from client.models import ColumnScores, Prediction, Scores
from client.replies import Reply, read

#: Rows of one request, unless the client is told otherwise; a server that takes fewer answers 413 and gets halves.
ROWS_PER_REQUEST = 10_000
#: The row in a JSON pointer into the body of a score request.
_ROW = re.compile(r"^(/rows/|/columns/[^/]+/)(\d+)(?=/|$)")


class _ScoresBody(msgspec.Struct):
    model: str
    version: str
    predictions: list[Any]


def scores_of(reply: Reply, rows: int) -> Scores:
    """The body of a score request. Raises ReplyError unless it has one prediction for each row."""
    body = read(reply, _ScoresBody)
    if len(body.predictions) != rows:
        raise ReplyError(f"{len(body.predictions)} predictions for {rows} rows")
    return Scores(body.model, body.version, body.predictions)


def ranges(rows: int, at_most: int) -> list[tuple[int, int]]:
    """(start, stop) of each request; one empty one for no rows, so that the server says what is wrong with that."""
    return [(start, min(start + at_most, rows)) for start in range(0, rows, at_most)] or [(0, 0)]


@contextmanager
def rows_from(start: int) -> Iterator[None]:
    """What a server says of rows of the part that begins there is said of the table's rows."""
    try:
        yield
    except ScoregateHTTPError as error:
        error.problems = tuple(
            problem | {"pointer": _ROW.sub(lambda row: f"{row[1]}{int(row[2]) + start}", str(problem["pointer"]))}
            if "pointer" in problem
            else problem
            for problem in error.problems
        )
        raise


def join(found: Sequence[Scores]) -> Scores:
    """The parts in order. Raises ReplyError if different versions answered."""
    _same_version(found)
    predictions: list[Prediction] = []
    for scores in found:
        predictions += scores.predictions
    return Scores(found[0].model, found[0].version, predictions)


def join_columns(found: Sequence[ColumnScores]) -> ColumnScores:
    """The same for columns."""
    _same_version(found)
    columns: dict[str, array[float] | list[Any]] = {}
    for name, first in found[0].columns.items():
        whole: Any = first[:]
        for scores in found[1:]:
            whole += scores.columns[name]
        columns[name] = whole
    return ColumnScores(found[0].model, found[0].version, columns)


def _same_version(found: Sequence[Scores] | Sequence[ColumnScores]) -> None:
    if len(versions := {scores.version for scores in found}) > 1:
        raise ReplyError(f"parts of one table were scored by different versions: {', '.join(sorted(versions))}")
