"""Rows or columns as people have them (dicts, lists, numpy, pandas), made into what the server's JSON takes.

NaN, None and pandas' missing values are null. Dates become `YYYY-MM-DD`, datetimes RFC 3339 in UTC. Infinity has no
JSON and is refused here: `score_binary` carries it. Doubles are written in the shortest form that reads back as the
same double.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import msgspec

from client.errors import DataError

_encode = msgspec.json.Encoder().encode


@runtime_checkable
class DataFrameLike(Protocol):
    """What is used of a pandas (or polars) data frame."""

    @property
    def columns(self) -> Any:
        """The names."""
        ...

    def __getitem__(self, name: Any) -> Any:
        """A column."""
        ...


#: What `score` takes: rows, columns, or a data frame.
Data = Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]] | DataFrameLike


@dataclass(frozen=True, slots=True)
class Table:
    """Rows or columns, plain values only; one of the two is set."""

    rows: list[dict[str, Any]] | None = None
    columns: dict[str, list[Any]] | None = None

    def __len__(self) -> int:
        if self.rows is not None:
            return len(self.rows)
        return max(map(len, (self.columns or {}).values()), default=0)

    def part(self, start: int, stop: int) -> Table:
        """Rows `start` to `stop`."""
        if self.rows is not None:
            return Table(rows=self.rows[start:stop])
        return Table(columns={name: values[start:stop] for name, values in (self.columns or {}).items()})

    def body(self) -> bytes:
        """The JSON of a score request."""
        return _encode({"rows": self.rows} if self.rows is not None else {"columns": self.columns})

    def as_columns(self, names: Iterable[str]) -> dict[str, list[Any]]:
        """These columns, in this order. Raises DataError unless the table has them, them alone, and all of one
        length.
        """
        wanted = list(names)
        if self.columns is None:
            rows = self.rows or []
            for index, row in enumerate(rows):
                if row.keys() != set(wanted):
                    raise DataError(f"row {index}: {_difference(row.keys(), wanted)}")
            return {name: [row[name] for row in rows] for name in wanted}
        if self.columns.keys() != set(wanted):
            raise DataError(_difference(self.columns.keys(), wanted))
        if len(lengths := {len(values) for values in self.columns.values()}) > 1:
            raise DataError(f"columns differ in length: {sorted(lengths)}")
        return {name: self.columns[name] for name in wanted}


def _difference(have: Iterable[str], wanted: Sequence[str]) -> str:
    missing = [name for name in wanted if name not in set(have)]
    unknown = [name for name in have if name not in wanted]
    parts = [f"missing {', '.join(missing)}"] * bool(missing) + [f"unknown {', '.join(map(str, unknown))}"] * bool(
        unknown
    )
    return "; ".join(parts) or "the columns do not fit the model"


def table_of(data: Data) -> Table:
    """Plain values of rows, columns or a data frame. Raises DataError for what has no JSON form."""
    if isinstance(data, Mapping):
        return Table(columns={str(name): plain_column(str(name), values) for name, values in data.items()})
    if isinstance(data, DataFrameLike) and not isinstance(data, (str, bytes)):
        return Table(columns={str(name): plain_column(str(name), data[name]) for name in data.columns})
    if isinstance(data, (str, bytes)) or not isinstance(data, Iterable):
        raise DataError("give rows (a list of dicts), columns (a dict of lists) or a data frame")
    rows = []
    for index, row in enumerate(data):
        if not isinstance(row, Mapping):
            raise DataError(f"row {index} is a {type(row).__name__}, not a dict of column to value")
        rows.append({str(name): plain_value(str(name), index, value) for name, value in row.items()})
    return Table(rows=rows)


def plain_column(name: str, values: Any) -> list[Any]:
    """A column's values as JSON has them. Raises DataError."""
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise DataError(f"column {name} is one value of type {type(values).__name__}: give a list, also for one row")
    if hasattr(values, "tolist"):
        values = values.tolist()
    return [plain_value(name, index, value) for index, value in enumerate(values)]


def plain_value(name: str, index: int, value: Any) -> Any:
    """One value as JSON has it. Raises DataError."""
    if value is None or type(value) in (int, str, bool):
        return value
    if hasattr(value, "item") and not isinstance(value, (float, int, str)):  # a numpy scalar
        value = value.item()
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    if type(value).__name__ in {"NAType", "NaTType"}:
        return None
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            raise DataError(
                f"column {name}, row {index}: a datetime needs a time zone, as .replace(tzinfo=UTC); for a date use .date()"
            )
        return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, (bool, int, str)):  # subclasses, as enums
        return value
    raise DataError(f"column {name}, row {index}: {type(value).__name__} is not a number, text, logical, date or None")


def require_json(table: Table) -> Table:
    """The same table; raises DataError where a number is infinite."""
    if table.rows is not None:
        cells = ((name, i, v) for i, row in enumerate(table.rows) for name, v in row.items())
    else:
        cells = ((name, i, v) for name, values in (table.columns or {}).items() for i, v in enumerate(values))
    for name, index, value in cells:
        if isinstance(value, float) and math.isinf(value):
            raise DataError(f"column {name}, row {index}: JSON has no infinity; use score_binary (or --binary)")
    return table
