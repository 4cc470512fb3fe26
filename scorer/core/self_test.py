"""The self-test of a version at load: does this machine reproduce the example, and are its answers the same in any batch?

Says which frames to score (`plan`) and what their answers mean (`reproduces`, `disagreement`). Bits count: −0 is not 0, but
every NaN is a NaN, because arithmetic may change its payload and NA is one of them.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from shared.signature import Field
from shared.wire import Frame, TensorSpec, WireError, merge, split, tensor_specs, unpack_frame

#: Batch sizes in which the example is scored; small ones find what large ones hide: other BLAS kernels, ties broken by chance.
SIZES = (1, 2, 3, 7, 64)
#: Relative: what differs by no more is `close`.
_CLOSE = 1e-9


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the example showed. `close`: reproduced, but not to the last bit. `reason` is set where it is not `reproduced`."""

    reproduced: bool
    close: bool = False
    reason: str | None = None


def plan(inputs: Sequence[Field], example: Frame, size: int) -> list[Frame]:
    """The example in pieces of `size` rows (the last may be shorter), tiled until it fills at least one whole piece."""
    tiled = merge([example] * math.ceil(size / example.rows))
    whole, rest = divmod(tiled.rows, size)
    return split(tensor_specs(inputs), tiled, [size] * whole + ([rest] if rest else []))


def reproduces(outputs: Sequence[Field], expected: Frame, answered: Frame) -> Verdict:
    """Whether R answered the example as when it was packaged; if not, with the first value that differs."""
    if answered.rows != expected.rows:
        return Verdict(False, reason=f"the example has {expected.rows} rows, R answered {answered.rows}")
    close = False
    try:
        wanted, got = unpack_frame(outputs, expected), unpack_frame(outputs, answered)
    except WireError as error:
        return Verdict(False, reason=f"the example's answer cannot be read: {error}")
    for field, old, new in zip(outputs, wanted, got, strict=True):
        if len(old) != len(new):  # a function's vectors
            reason = f"{field.name} of the example had {len(old)} values when packaged and has {len(new)} here"
            return Verdict(False, reason=reason)
        for row, (a, b) in enumerate(zip(old, new, strict=True), start=1):
            if _same(field, a, b):
                continue
            if not (isinstance(a, float) and isinstance(b, float) and math.isclose(a, b, rel_tol=_CLOSE)):
                where = f"{field.name} in {'value' if field.vector else 'row'} {row} of the example"
                detail = f"{where} was {_show(a)} when packaged and is {_show(b)} here"
                return Verdict(False, reason=detail)
            close = True
    return Verdict(True, close=close)


def disagreement(outputs: Sequence[Field], answered: Frame, size: int, pieces: Sequence[Frame]) -> str | None:
    """Why the pieces' answers are not the whole's, row for row and bit for bit; None where they are."""
    specs = tensor_specs(outputs)
    again = merge(pieces)
    if again.rows % answered.rows == 0:
        whole = merge([answered] * (again.rows // answered.rows))
        if canonical(specs, whole) == canonical(specs, again):
            return None
    return f"in pieces of {size} the example's answers differ from the whole's"


def canonical(specs: Sequence[TensorSpec], frame: Frame) -> list[bytes]:
    """The buffers with every NaN made the same, so that equal bytes mean equal answers."""
    out: list[bytes] = []
    for spec, buffer in zip(specs, frame.buffers, strict=True):
        data = bytes(buffer)
        if spec.datatype == "FP64":
            values = array("d", data)
            if any(value != value for value in values):  # noqa: PLR0124 - NaN is what differs from itself
                data = array("d", [math.nan if value != value else value for value in values]).tobytes()  # noqa: PLR0124
        out.append(data)
    return out


def _same(field: Field, a: object, b: object) -> bool:
    """Equal as R would print them: both missing, or equal; the example's text cannot tell −0 from 0 reliably."""
    if field.type.is_float and isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    return a == b


def _show(value: object) -> str:
    return "NA" if value is None or (isinstance(value, float) and math.isnan(value)) else f"{value!r}"
