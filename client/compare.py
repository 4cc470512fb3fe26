"""Two answers to the same rows, compared bit by bit. Pure."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not the same. `row` counts from 1, without the header."""

    row: int
    column: str
    here: Any
    there: Any

    def __str__(self) -> str:
        return (
            f"row {self.row} {self.column}: R here {_shown(self.here)}, the gateway {_shown(self.there)}{self._gap()}"
        )

    def _gap(self) -> str:
        if not (_finite(self.here) and _finite(self.there)):
            return ""
        return f" ({abs(_ordinal(self.here) - _ordinal(self.there))} steps apart)"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`values` compared, of which `values_differing` in `rows_differing` rows; `bits` is the sum of their differing
    bits.
    """

    rows: int
    values: int
    rows_differing: int
    values_differing: int
    bits: int
    first: tuple[Difference, ...]


def compare(
    here: Mapping[str, Sequence[Any]],
    there: Mapping[str, Sequence[Any]],
    *,
    through_json: bool = False,
    shown: int = 10,
) -> Comparison:
    """Columns of the same names and lengths. NA and NaN are the same; `through_json` takes null for infinity too.

    Doubles differ if a bit does (so -0 is not 0); everything else differs if it is not equal.
    """
    rows = len(next(iter(here.values()), ()))
    differing: set[int] = set()
    found: list[Difference] = []
    values = bits = 0
    for name, mine in here.items():
        theirs = there[name]
        for index, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            values += 1
            if same(a, b, through_json=through_json):
                continue
            differing.add(index)
            found.append(Difference(index + 1, name, a, b))
            bits += _bits_between(a, b)
    found.sort(key=lambda d: d.row)
    return Comparison(rows, values, len(differing), len(found), bits, tuple(found[:shown]))


def same(a: Any, b: Any, *, through_json: bool = False) -> bool:
    """Whether two values are one to the last bit."""
    a_missing, b_missing = _missing(a), _missing(b)
    if a_missing or b_missing:
        if a_missing and b_missing:
            return True
        other = b if a_missing else a
        return through_json and isinstance(other, float) and math.isinf(other)
    if isinstance(a, float) or isinstance(b, float):
        if isinstance(a, (bool, str)) or isinstance(b, (bool, str)):
            return False
        return struct.pack("<d", a) == struct.pack("<d", b)
    return type(a) is type(b) and bool(a == b)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _bits_between(a: Any, b: Any) -> int:
    if isinstance(a, float) and isinstance(b, float):
        (x,), (y,) = struct.unpack("<Q", struct.pack("<d", a)), struct.unpack("<Q", struct.pack("<d", b))
        return int.bit_count(x ^ y)
    return 64


def _ordinal(value: float) -> int:
    """Doubles as integers in their own order: neighbours are one apart."""
    bits: int = struct.unpack("<q", struct.pack("<d", value))[0]
    return bits if bits >= 0 else -(bits & 0x7FFF_FFFF_FFFF_FFFF)


def _shown(value: Any) -> str:
    return "NA" if _missing(value) else f"{value:.17g}" if isinstance(value, float) else repr(value)
