"""What must be shown, as a line each: what was measured, the bound, and whether it is met. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

_NEAR = 1e-9


@dataclass(frozen=True, slots=True)
class Verdict:
    """One bound. `aim` is better than the bound and only shown. A figure that is not a number meets no bound."""

    what: str
    measured: float
    relation: Literal["<=", ">="]
    bound: float
    unit: str = ""
    aim: float | None = None

    @property
    def met(self) -> bool:
        """Whether the measured figure is within the bound."""
        if math.isnan(self.measured):
            return False
        if self.relation == "<=":
            return self.measured <= self.bound + _NEAR
        return self.measured >= self.bound - _NEAR

    def line(self) -> str:
        """For a reader."""
        aim = f", aim {self.aim:g}" if self.aim is not None else ""
        state = "met" if self.met else "MISSED"
        return f"{state:<6} {self.what}: {self.measured:.3g}{self.unit}  (bound {self.relation} {self.bound:g}{self.unit}{aim})"

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        measured = None if math.isnan(self.measured) else self.measured
        return {
            "what": self.what, "measured": measured, "relation": self.relation, "bound": self.bound, "unit": self.unit,
            "aim": self.aim, "met": self.met,
        }  # fmt: skip


def at_least(what: str, measured: float, bound: float, unit: str = "", aim: float | None = None) -> Verdict:
    """No less than the bound."""
    return Verdict(what, measured, ">=", bound, unit, aim)


def at_most(what: str, measured: float, bound: float, unit: str = "", aim: float | None = None) -> Verdict:
    """No more than the bound."""
    return Verdict(what, measured, "<=", bound, unit, aim)


def none_wrong(wrong: int, of: int) -> Verdict:
    """Every reply was the one that the same rows get alone, to the last bit; and there were replies."""
    return Verdict(f"replies that differ from the unbatched ones, of {of}", wrong if of else math.nan, "<=", 0)
