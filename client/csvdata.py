"""Reads a CSV or JSON file of rows, each CSV cell typed by the signature: the same text is always the same value.

Missing is the text `NA` (another by `na`), and an empty cell where a column is not text: R's read.csv reads them so.
A label that is spelled `NA` is a label if the factor has it. Doubles are read exactly; nothing is rounded, guessed or
trimmed.
"""

from __future__ import annotations

import csv
import datetime as dt
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from client.errors import DataError
from shared.signature import Field, Type

_LOGICALS = {
    "TRUE": True,
    "T": True,
    "True": True,
    "true": True,
    "FALSE": False,
    "F": False,
    "False": False,
    "false": False,
}
_MOST_PROBLEMS = 5
csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True, slots=True)
class Parsed:
    """Columns in the signature's order, and the file's columns that the model has no use for."""

    columns: dict[str, list[Any]]
    ignored: tuple[str, ...]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))


def read_csv(lines: Iterable[str], inputs: Sequence[Field], *, na: str = "NA") -> Parsed:
    """Columns of a CSV with a header. Raises DataError with the first five cells that do not fit, and their lines."""
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, None)
        if header is None:
            raise DataError("the file is empty; it needs a header line and rows")
        header[0] = header[0].removeprefix("\ufeff")
        _check_header(header, inputs)
        places = [header.index(field.name) for field in inputs]
        parsers = [_parser(field, na) for field in inputs]
        columns: list[list[Any]] = [[] for _ in inputs]
        problems: list[str] = []
        for row in reader:
            if not row:
                continue  # a blank line
            if len(row) != len(header):
                problems.append(f"line {reader.line_num}: {len(row)} cells where the header has {len(header)}")
            else:
                for field, place, parse, column in zip(inputs, places, parsers, columns, strict=True):
                    try:
                        column.append(parse(row[place]))
                    except ValueError as error:
                        problems.append(f"line {reader.line_num}, {field.name}: {_shown(row[place])} {error}")
            if len(problems) >= _MOST_PROBLEMS:
                break
    except csv.Error as error:
        raise DataError(f"line {reader.line_num}: {error}") from error
    if problems:
        raise DataError("the file does not fit the model:\n  " + "\n  ".join(problems[:_MOST_PROBLEMS]))
    names = [field.name for field in inputs]
    ignored = tuple(name for name in header if name not in names and name)
    return Parsed(dict(zip(names, columns, strict=True)), ignored)


def read_inputs(text: str | bytes) -> dict[str, Any] | None:
    """The inputs of a function's call, where the text is `{"inputs": {…}}`; else None."""
    try:
        data = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
    if isinstance(data, dict) and len(data) == 1 and isinstance(data.get("inputs"), dict):
        return dict(data["inputs"])
    return None


def read_json(text: str | bytes) -> Any:
    """Rows (a list of objects), columns (an object of lists), or a whole request body; the server judges what is in it.

    Raises DataError unless it is one of the three.
    """
    try:
        data = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise DataError(f"not JSON: {error}") from error
    if isinstance(data, dict) and len(data) == 1 and isinstance(data.get("rows"), list):
        return data["rows"]
    if isinstance(data, dict) and len(data) == 1 and isinstance(data.get("columns"), dict):
        return data["columns"]
    if isinstance(data, list) or (isinstance(data, dict) and data and all(isinstance(v, list) for v in data.values())):
        return data
    raise DataError(
        'give a list of rows, an object of columns, or {"rows": …} or {"columns": …}; for a function {"inputs": …}'
    )


def _check_header(header: Sequence[str], inputs: Sequence[Field]) -> None:
    names = [field.name for field in inputs]
    missing = [name for name in names if name not in header]
    twice = sorted({name for name in header if name in names and header.count(name) > 1})
    if missing:
        raise DataError(f"the file has no column {', '.join(missing)}; it has {', '.join(filter(None, header))}")
    if twice:
        raise DataError(f"the file has more than one column {', '.join(twice)}")


def _parser(field: Field, na: str) -> Callable[[str], Any]:
    if field.type in {Type.STRING, Type.FACTOR}:
        return _text_parser(field, na)
    parse = _PARSERS[field.type]

    def typed(cell: str) -> Any:
        return None if cell in {"", na} else parse(cell)

    return typed


def _text_parser(field: Field, na: str) -> Callable[[str], str | None]:
    if field.type is Type.STRING:
        return lambda cell: None if cell == na else cell
    levels = frozenset(field.levels)

    def label(cell: str) -> str | None:
        if cell in levels:
            return cell
        if cell in {"", na}:
            return None
        raise ValueError(f"is not a level ({', '.join(field.levels[:8])}{', …' if len(field.levels) > 8 else ''})")

    return label


def _double(cell: str) -> float:
    text = cell.strip()
    if "_" in text or not text.isascii():
        raise ValueError("is not a number")
    try:
        value = float(text)
    except ValueError:
        raise ValueError("is not a number") from None
    return math.nan if math.isnan(value) else value


def _integer(cell: str) -> int:
    value = _double(cell)
    if not value.is_integer():
        raise ValueError("is not a whole number")
    return int(value)


def _logical(cell: str) -> bool:
    try:
        return _LOGICALS[cell.strip()]
    except KeyError:
        raise ValueError("is not TRUE or FALSE") from None


def _date(cell: str) -> dt.date:
    try:
        return dt.date.fromisoformat(cell.strip())
    except ValueError:
        raise ValueError("is not a date as 2026-01-31") from None


def _datetime(cell: str) -> dt.datetime:
    try:
        value = dt.datetime.fromisoformat(cell.strip())
    except ValueError:
        raise ValueError("is not a date and time as 2026-01-31T12:00:00Z") from None
    return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value  # R's are UTC


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= 40 else cell[:40] + "…")


_PARSERS: dict[Type, Callable[[str], Any]] = {
    Type.DOUBLE: _double,
    Type.INTEGER: _integer,
    Type.LOGICAL: _logical,
    Type.DATE: _date,
    Type.DATETIME: _datetime,
}
