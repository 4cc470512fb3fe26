"""A model's own example as rows to send: the manifest keeps it in R's numbers, a request takes dates as text."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import Any

from shared.signature import Field, Type

_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def example_rows(
    inputs: Sequence[Field], columns: Mapping[str, Sequence[Any]], *, at_most: int | None = None
) -> list[dict[str, Any]]:
    """Rows of `{"inputs": …}` of a manifest's example, those left out that JSON cannot carry (an infinite number)."""
    count = min((len(columns[field.name]) for field in inputs), default=0)
    rows: list[dict[str, Any]] = []
    for index in range(count):
        row = {field.name: _value(field, columns[field.name][index]) for field in inputs}
        if not any(isinstance(value, float) and math.isinf(value) for value in row.values()):
            rows.append(row)
        if len(rows) == at_most:
            break
    return rows


def example_inputs(inputs: Sequence[Field], columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The same of a function: a list where the input is a vector, else a single value."""
    values = {field.name: [_value(field, value) for value in columns[field.name]] for field in inputs}
    return {field.name: values[field.name] if field.vector else values[field.name][0] for field in inputs}


def _value(field: Field, value: Any) -> Any:
    if value in {"Inf", "-Inf"} and field.type in {Type.DOUBLE, Type.DATE, Type.DATETIME}:
        return math.inf
    if field.type is Type.DATE and isinstance(value, (int, float)):
        return dt.date.fromordinal(_EPOCH_DAY + math.floor(value)).isoformat()
    if field.type is Type.DATETIME and isinstance(value, (int, float)):
        return (_EPOCH + dt.timedelta(seconds=value)).isoformat().replace("+00:00", "Z")
    return value
