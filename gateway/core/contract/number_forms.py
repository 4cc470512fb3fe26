"""The forms of numbers: doubles, integers of any width, logicals, and a factor's codes.

`/v1` takes `NumberForm`, `IntegerForm` and `LogicalForm`; the others are datatypes of OIP's (`oip_forms`).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import inf
from typing import Annotated, Any

import msgspec

from gateway.core.contract.forms import (
    BOOLEAN,
    MAX_INTEGER,
    NUMBER,
    Buffers,
    Form,
    RefusedError,
    UnfitError,
    Value,
    double_of,
    number_text,
)
from shared.signature import Field
from shared.wire import NA_INTEGER, NA_REAL


class NumberForm(Form):
    """Any JSON number as the nearest double: `double` columns, and dates and datetimes given as numbers."""

    takes = "a number"
    numeric = True

    def _json_type(self) -> Any:
        return float

    def pack(self, values: Sequence[Any]) -> Buffers:
        """NA for null."""
        if self.nullable and None in values:
            values = [NA_REAL if value is None else value for value in values]
        return (array("d", values).tobytes(),)

    def _check(self, kind: str, value: Any) -> Value:
        if kind != NUMBER:
            raise self._wrong_type(kind, value)
        return double_of(value)


class SingleForm(NumberForm):
    """A number sent as FP32: rounded to single precision, as the sender's datatype says."""

    def pack(self, values: Sequence[Any]) -> Buffers:
        """Through an array of singles."""
        missing: set[int] = set()
        if self.nullable and None in values:
            missing = {index for index, value in enumerate(values) if value is None}
            values = [0.0 if value is None else value for value in values]
        singles = array("f", values)
        if max(singles, default=0.0) == inf or min(singles, default=0.0) == -inf:
            raise UnfitError
        doubles = array("d", singles)
        for index in missing:
            doubles[index] = NA_REAL
        return (doubles.tobytes(),)

    def _check(self, kind: str, value: Any) -> Value:
        if kind != NUMBER:
            raise self._wrong_type(kind, value)
        single = array("f", [double_of(value)])[0]
        if single in (inf, -inf):
            raise RefusedError("out_of_range", f"{number_text(value)} is beyond what FP32 can hold, ±3.403e38")
        return single


class IntegerForm(Form):
    """A JSON number without a fraction (5 and 5.0 alike) between `low` and `high`; `sentinel` lets R's NA travel as −2³¹."""

    takes = "a whole number"

    def __init__(
        self, field: Field, low: int = -MAX_INTEGER, high: int = MAX_INTEGER, *, sentinel: bool = False
    ) -> None:
        super().__init__(field)
        self.low, self.high = low, high
        self.sentinel = sentinel and field.nullable

    def _json_type(self) -> Any:
        low = NA_INTEGER if self.sentinel else self.low
        return Annotated[int, msgspec.Meta(ge=low, le=self.high)] | float

    def pack(self, values: Sequence[Any]) -> Buffers:
        """A column of ints at C speed; one with floats value by value."""
        if self.nullable and None in values:
            values = [NA_INTEGER if value is None else value for value in values]
        try:
            packed = array("i", values)
        except TypeError:
            packed = array("i", [self._whole(value) for value in values])
        if self.sentinel and self.low > NA_INTEGER + 1 and any(v < self.low for v in set(packed) - {NA_INTEGER}):
            raise UnfitError
        return (packed.tobytes(),)

    def _whole(self, value: float) -> int:
        if isinstance(value, int):
            return int(value)
        if not value.is_integer() or not (self.low <= value <= self.high or (self.sentinel and value == NA_INTEGER)):
            raise UnfitError
        return int(value)

    def _check(self, kind: str, value: Any) -> Value:
        if kind != NUMBER:
            raise self._wrong_type(kind, value)
        if b"." in value or b"e" in value or b"E" in value:
            number = double_of(value)
            if not number.is_integer():
                raise RefusedError("not_integral", f"expected {self.takes}, got {number_text(value)}")
            whole = int(number)
        else:
            whole = int(value) if len(value) <= 20 else (self.low - 1 if value.startswith(b"-") else self.high + 1)
        if self.low <= whole <= self.high:
            return whole
        if whole == NA_INTEGER and self.sentinel:
            return None
        reason = "is R's missing integer; send null for it" if whole == NA_INTEGER and self.nullable else ""
        if not reason:
            reason = f"is outside {self.low} to {self.high}, the integers " + (
                "R has" if self.high == MAX_INTEGER else "of its datatype"
            )
        raise RefusedError("out_of_range", f"{number_text(value)} {reason}")


class WideIntegerForm(NumberForm):
    """A `double` column sent as an integer datatype: whole, within the datatype, and exact as a double."""

    takes = "a whole number"

    def __init__(self, field: Field, low: int, high: int) -> None:
        super().__init__(field)
        self.low, self.high = low, high

    def _json_type(self) -> Any:
        return int | float

    def pack(self, values: Sequence[Any]) -> Buffers:
        """Value by value."""
        return (array("d", [NA_REAL if v is None else self._exact(v) for v in values]).tobytes(),)

    def _exact(self, value: float) -> float:
        number = float(value) if self.low <= value <= self.high else inf
        if number == inf or number != value or not number.is_integer():
            raise UnfitError
        return number

    def _check(self, kind: str, value: Any) -> Value:
        number = super()._check(kind, value)
        if not number.is_integer():  # type: ignore[union-attr]
            raise RefusedError("not_integral", f"expected {self.takes}, got {number_text(value)}")
        whole = int(value) if len(value) <= 20 and value.lstrip(b"-").isdigit() else int(number)  # type: ignore[arg-type]
        if not self.low <= whole <= self.high:
            raise RefusedError(
                "out_of_range",
                f"{number_text(value)} is outside {self.low} to {self.high}, the integers of its datatype",
            )
        if whole != number:
            raise RefusedError(
                "out_of_range", f"{number_text(value)} has no exact double; send FP64 and accept its rounding"
            )
        return number


class LogicalForm(Form):
    """true or false."""

    takes = "true or false"

    def _json_type(self) -> Any:
        return bool

    def pack(self, values: Sequence[Any]) -> Buffers:
        """1, 0 and NA."""
        if self.nullable and None in values:
            values = [NA_INTEGER if value is None else value for value in values]
        return (array("i", values).tobytes(),)

    def _check(self, kind: str, value: Any) -> Value:
        if kind != BOOLEAN:
            raise self._wrong_type(kind, value)
        return bool(value)


class BitForm(IntegerForm):
    """A `logical` column sent as INT32: 0, 1, and −2³¹ for NA; in JSON also true and false, which mean the same."""

    takes = "true, false, or a whole number, 0 or 1"

    def __init__(self, field: Field) -> None:
        super().__init__(field, 0, 1, sentinel=True)

    def _json_type(self) -> Any:
        return bool | super()._json_type()

    def _check(self, kind: str, value: Any) -> Value:
        return int(value) if kind == BOOLEAN else super()._check(kind, value)


class CodeForm(IntegerForm):
    """A `factor` column sent as INT32: the 1-based code of the level, and −2³¹ for NA."""

    def __init__(self, field: Field) -> None:
        super().__init__(field, 1, len(field.levels), sentinel=True)
        self._label: dict[Value, Value] = {code: label for code, label in enumerate(field.levels, start=1)}  # noqa: C416
        self._label[None] = None

    @property
    def takes(self) -> str:  # type: ignore[override]
        """The codes there are."""
        return f"a whole number, the code of a level from 1 to {self.high}"

    def _check(self, kind: str, value: Any) -> Value:
        try:
            return self._label[super()._check(kind, value)]
        except RefusedError as error:
            if error.code != "out_of_range":
                raise
            raise RefusedError("unknown_level", f"{number_text(value)} is not a code from 1 to {self.high}") from None
