"""What changed from one version of a model to another: its signature in words, its answers in figures. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from client.compare import same
from shared.signature import Field, Signature

_KEPT = 100


@dataclass(frozen=True, slots=True)
class Change:
    """One output over all rows. `relative` is the largest change of a number relative to the older answer, None where no
    two numbers differ; `largest` holds (row from 1, older, newer), what is no change of a number first.
    """

    output: str
    rows: int
    differing: int
    relative: float | None
    largest: tuple[tuple[int, Any, Any], ...]

    def __str__(self) -> str:
        text = f"{self.output}: {self.differing:,} of {self.rows:,} rows differ"
        return text if self.relative is None else f"{text}, by at most {self.relative:.3g} of the older answer"


def changes(old: Mapping[str, Sequence[Any]], new: Mapping[str, Sequence[Any]]) -> list[Change]:
    """Of each output that both have. Doubles differ if a bit does; R's NA and NaN are the same."""
    found = []
    for name, before in old.items():
        if name not in new:
            continue
        differing = [
            (_relative(a, b), index + 1, a, b)
            for index, (a, b) in enumerate(zip(before, new[name], strict=True))
            if not same(a, b)
        ]
        differing.sort(key=lambda item: (-item[0], item[1]))
        numbers = [distance for distance, *_ in differing if math.isfinite(distance)]
        largest = tuple((row, a, b) for _, row, a, b in differing[:_KEPT])
        found.append(Change(name, len(before), len(differing), max(numbers, default=None), largest))
    return found


def _relative(a: Any, b: Any) -> float:
    """Infinite where it is not a number that became another one."""
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in (a, b))
    if not numbers or a == 0 != b:
        return math.inf
    return abs((b - a) / a) if a else 0.0


def signature_changes(old: Signature, new: Signature) -> list[str]:
    """One line per change; ranges are information and not compared."""
    lines = [*_fields("input", old.inputs, new.inputs), *_fields("output", old.outputs, new.outputs)]
    if old.kind != new.kind:
        lines.append(f"answers: {_kind(old)}, now {_kind(new)}")
    return lines


def _kind(signature: Signature) -> str:
    if signature.is_function:
        return "the named outputs of a function"
    return "a value for each row" if signature.kind == "vector" else "an object for each row"


def _fields(side: str, old: Sequence[Field], new: Sequence[Field]) -> list[str]:
    before, after = {f.name: f for f in old}, {f.name: f for f in new}
    lines = [f"{side} {name}: gone" for name in before if name not in after]
    lines += [f"{side} {name}: new, {_described(field)}" for name, field in after.items() if name not in before]
    for name, field in after.items():
        if name in before:
            lines += [f"{side} {name}: {what}" for what in _field(before[name], field)]
    return lines


def _field(old: Field, new: Field) -> list[str]:
    found = []
    if old.type is not new.type:
        found.append(f"{old.type}, now {new.type}")
    if old.vector != new.vector:
        found.append("now a vector" if new.vector else "now a single value")
    if old.nullable != new.nullable:
        found.append("may now be missing" if new.nullable else "may no longer be missing")
    if gone := [level for level in old.levels if level not in new.levels]:
        found.append(f"levels gone: {', '.join(gone)}")
    if come := [level for level in new.levels if level not in old.levels]:
        found.append(f"new levels: {', '.join(come)}")
    if not gone and not come and old.levels != new.levels:
        found.append("levels in another order")
    if old.ordered != new.ordered:
        found.append("now ordered" if new.ordered else "no longer ordered")
    return found


def _described(field: Field) -> str:
    return f"{field.type}, may be missing" if field.nullable else str(field.type)
