"""What calls return, and how the server writes it."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any

import msgspec

from shared.signature import Signature

#: One prediction: a value (a number, a label, None for R's NA), or one value per output column.
Value = float | int | bool | str | None
Prediction = Value | dict[str, Value]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One model version as the server describes it. Fields that the server leaves out have their defaults."""

    model: str
    version: str
    signature: Signature
    description: str = ""
    created: str = ""
    state: str = "ready"
    default: bool | None = None
    versions: tuple[str, ...] = ()
    model_class: tuple[str, ...] = ()
    packages: dict[str, str] = {}
    r_version: str = ""
    batchable: bool = True
    batchable_reason: str | None = None
    close: bool = False
    digest: str = ""
    example: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Scores:
    """Predictions in the order of the rows, and the model version that made them."""

    model: str
    version: str
    predictions: list[Prediction] = field(repr=False)

    def __len__(self) -> int:
        return len(self.predictions)


@dataclass(frozen=True, slots=True)
class ColumnScores:
    """Predictions as one column per output, each as long as there were rows.

    A double column is an `array('d')` (numpy reads it without a copy) in which R's NA is NaN; others are lists with
    None for NA.
    """

    model: str
    version: str
    columns: dict[str, array[float] | list[Any]] = field(repr=False)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))
