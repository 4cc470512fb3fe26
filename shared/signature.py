"""A model version's typed inputs and outputs, as its manifest states them and as the gateway compiles them.

Types are R's. Each has one form on the wire between the services (`shared.wire`) and one in JSON (the gateway's contract).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Type(StrEnum):
    """The column types a signature may name."""

    #: Whether its values are FP64 on the wire: numbers, or counts of days or seconds.
    is_float: bool

    DOUBLE = "double"
    INTEGER = "integer"
    LOGICAL = "logical"
    STRING = "string"
    FACTOR = "factor"
    DATE = "date"
    DATETIME = "datetime"

    def __init__(self, name: str) -> None:
        self.is_float = name in {"double", "date", "datetime"}  # once for each: it is asked for every column


class Missing(StrEnum):
    """What the model does with a missing value in a column, probed when it was packaged."""

    VALUE = "value"  # answers as if it were a value
    NA = "na"  # answers NA for that row
    FAIL = "fail"  # fails: the column is not nullable
    DROP = "drop"  # leaves the row out; the worker scores around such rows and answers NA


class Field(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column, or one input or output of a function. `levels` only for factors (codes are 1-based in their order).

    `range` is information, never a rule. `vector` only in functions: any number of values, where others have one.
    """

    name: str
    type: Type
    nullable: bool = False
    levels: tuple[str, ...] = ()
    ordered: bool = False
    range: tuple[float | str, float | str] | None = None
    missing: Missing | None = None
    vector: bool = False


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """Inputs and outputs in order.

    `vector`: one output column, answered as bare values; `table`: one object per row; `function`: no rows, but named inputs to
    named outputs, each a single value or a vector of its own length.
    """

    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    kind: str = "vector"  # "vector", "table" or "function"

    @property
    def is_function(self) -> bool:
        """Whether it is called with inputs, not scored with rows."""
        return self.kind == "function"

    def takes_all_that(self, older: Signature) -> bool:
        """Whether every row (or call) that `older` takes is taken here too, with the same outputs.

        The rule for a silent default.
        """
        mine = {field.name: field for field in self.inputs}
        theirs = {field.name: field for field in older.inputs}
        if mine.keys() != theirs.keys():
            return False
        for name, old in theirs.items():
            new = mine[name]
            if new.type is not old.type and (old.type, new.type) != (Type.INTEGER, Type.DOUBLE):
                return False
            if (old.nullable and not new.nullable) or old.vector is not new.vector:
                return False
            if not set(old.levels) <= set(new.levels):
                return False
        old_outputs = [(field.name, field.type, field.vector) for field in older.outputs]
        return self.kind == older.kind and old_outputs == [(f.name, f.type, f.vector) for f in self.outputs]
