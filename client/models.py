"""What calls return, and how the server describes its models."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any

import msgspec

from client.errors import ReplyError
from shared.signature import Field, Signature, Type

#: One prediction: a value (a number, a label, None for R's NA), or one value per output column.
Value = float | int | bool | str | None
Prediction = Value | dict[str, Value]


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """A model in the list: its versions, newest first, each with its state, and the one that serves by default."""

    name: str
    default_version: str | None
    versions: dict[str, str]
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model version. `state` is ready, loading or unavailable (then `reason` says why).

    `example` is a request body that can be sent as it stands, `example_answer` what it is answered; None where there
    is none. `close`: the version answers within 1e-9 of what R gave when it was packaged, not to the last bit.
    """

    model: str
    version: str
    signature: Signature
    state: str = "ready"
    reason: str | None = None
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


# --- as the server writes them


class _Column(msgspec.Struct):
    name: str
    type: Type
    nullable: bool = False
    levels: tuple[str, ...] = ()
    ordered: bool = False
    seen: tuple[float | str, float | str] | None = None

    def field(self) -> Field:
        return Field(
            name=self.name,
            type=self.type,
            nullable=self.nullable,
            levels=self.levels,
            ordered=self.ordered,
            range=self.seen,
        )


class _Example(msgspec.Struct):
    request: dict[str, Any]
    response: dict[str, Any] | None = None


class _Version(msgspec.Struct):
    model: str
    version: str
    inputs: list[_Column]
    outputs: list[_Column]
    answers: str
    state: str = "ready"
    reason: str | None = None
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


class _VersionState(msgspec.Struct):
    version: str
    state: str = "ready"


class _Summary(msgspec.Struct):
    name: str
    versions: list[_VersionState]
    default_version: str | None = None
    description: str = ""


class _Models(msgspec.Struct):
    models: list[_Summary]


def summaries_of(body: Any) -> list[ModelSummary]:
    """The body of `GET /v1/models`. Raises msgspec.ValidationError."""
    return [
        ModelSummary(m.name, m.default_version, {v.version: v.state for v in m.versions}, m.description)
        for m in msgspec.convert(body, _Models).models
    ]


def model_of(body: Any) -> Model:
    """The body of `GET /v1/models/{model}` (whose `serving` is the version) or of one version.

    Raises msgspec.ValidationError, or ReplyError where no version serves by default.
    """
    if isinstance(body, dict) and "inputs" not in body and "default_version" in body:
        body = body.get("serving")
        if body is None:
            raise ReplyError("no version of this model serves by default; name one")
    found = msgspec.convert(body, _Version)
    signature = Signature(
        inputs=tuple(column.field() for column in found.inputs),
        outputs=tuple(column.field() for column in found.outputs),
        kind="vector" if found.answers == "values" else "table",
    )
    plain = {
        name: getattr(found, name)
        for name in found.__struct_fields__
        if name not in {"inputs", "outputs", "answers", "example"}
    }
    example = found.example
    return Model(
        **plain,
        signature=signature,
        example=example.request if example else None,
        example_answer=example.response if example else None,
    )
