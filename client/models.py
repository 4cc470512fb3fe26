"""What calls return, and how the server describes its models."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any

import msgspec

from client.replies import Reply, read
from shared.signature import Field, Signature, Type

#: One prediction: a value (a number, a label, None for R's NA), or one value per output column.
Value = float | int | bool | str | None
Prediction = Value | dict[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model version, and which others there are.

    `default`: it serves when a request names none. `state` is ready, loading or unavailable. `versions` are those that
    can be scored with, newest first; `unavailable` says of the others why. `close`: it answers within 1e-9 of what R
    gave when it was packaged, not to the last bit. `example` is a request body that can be sent as it stands,
    `example_answer` what it is answered; None where there is none.
    """

    model: str
    version: str
    signature: Signature
    default: bool = True
    state: str = "ready"
    versions: tuple[str, ...] = ()
    unavailable: dict[str, str] = field(default_factory=dict)
    description: str = ""
    created: str = ""
    digest: str = ""
    r_version: str = ""
    model_class: tuple[str, ...] = ()
    packages: dict[str, str] = field(default_factory=dict)
    batchable: bool = True
    batchable_reason: str | None = None
    close: bool = False
    example: dict[str, Any] | None = None
    example_answer: dict[str, Any] | None = None


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


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a function answered: a value, or a list of values where the output is a vector, by name. None is R's NA."""

    model: str
    version: str
    outputs: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.outputs[name]


# --- as the server writes them


class _Column(msgspec.Struct):
    name: str
    type: Type
    nullable: bool = False
    levels: tuple[str, ...] = ()
    ordered: bool = False
    seen: tuple[float | str, float | str] | None = None
    vector: bool = False

    def field(self) -> Field:
        return Field(
            name=self.name,
            type=self.type,
            nullable=self.nullable,
            levels=self.levels,
            ordered=self.ordered,
            range=self.seen,
            vector=self.vector,
        )


class _Example(msgspec.Struct):
    request: dict[str, Any]
    response: dict[str, Any] | None = None


class _Signature(msgspec.Struct):
    kind: str
    inputs: list[_Column]
    outputs: list[_Column]


class _Model(msgspec.Struct):
    model: str
    version: str
    signature: _Signature
    default: bool = True
    state: str = "ready"
    versions: tuple[str, ...] = ()
    unavailable: dict[str, str] = {}
    description: str = ""
    created: str = ""
    digest: str = ""
    r_version: str = ""
    model_class: tuple[str, ...] = ()
    packages: dict[str, str] = {}
    batchable: bool = True
    batchable_reason: str | None = None
    close: bool = False
    example: _Example | None = None


class _Models(msgspec.Struct):
    models: list[_Model]


def models_of(reply: Reply) -> list[Model]:
    """The answer to `GET /v1/models`."""
    return [_plain(model) for model in read(reply, _Models).models]


def model_of(reply: Reply) -> Model:
    """The answer to `GET /v1/models/{model}` or to that of one version."""
    return _plain(read(reply, _Model))


def _plain(found: _Model) -> Model:
    signature = Signature(
        inputs=tuple(column.field() for column in found.signature.inputs),
        outputs=tuple(column.field() for column in found.signature.outputs),
        kind=found.signature.kind,
    )
    same = {name: getattr(found, name) for name in found.__struct_fields__ if name not in {"signature", "example"}}
    request, response = (found.example.request, found.example.response) if found.example else (None, None)
    return Model(**same, signature=signature, example=request, example_answer=response)
