"""A model package's `manifest.json`: what it must say before anything of it is fetched or run.

Takes bytes, gives a `Manifest` or raises ManifestError with a sentence for the operator. Fetches nothing and knows no R.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shared.catalogue import version_key
from shared.signature import Field, Signature, Type
from shared.store_layout import FORMAT, MODEL_NAME
from shared.wire import Frame, WireError, pack_call, pack_frame

MAX_COLUMN_NAME = 128
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_INFINITIES = {"Inf": math.inf, "-Inf": -math.inf}

Values = Sequence[float | int | bool | str | None]


class ManifestError(ValueError):
    """The manifest cannot be used; the message says what in it is wrong."""


class FileEntry(msgspec.Struct, frozen=True):
    """One file of the package, stored by its digest."""

    sha256: str
    size: int


class Predict(msgspec.Struct, frozen=True):
    """How R is asked: read by R only."""

    method: str
    options: dict[str, Any] = {}


class Measured(msgspec.Struct, frozen=True):
    """What packaging measured; each is None where it was not."""

    load_bytes: float | None = None
    fixed_ms: float | None = None
    row_ms: float | None = None
    peak_64_rows_bytes: float | None = None
    left_64_rows_bytes: float | None = None


class Example(msgspec.Struct, frozen=True):
    """Inputs and R's outputs: null is NA, infinities are the texts Inf and -Inf, numbers have 17 digits."""

    inputs: dict[str, list[float | bool | str | None]] = {}
    outputs: dict[str, list[float | bool | str | None]] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The contract of one model version, readable without R."""

    format: str
    name: str
    version: str
    created: str = ""
    description: str = ""
    r_version: str = ""
    model_class: tuple[str, ...] = ()
    packages: dict[str, str] = {}
    files: dict[str, FileEntry]
    predict: Predict
    signature: Signature
    batchable: bool = True
    batchable_reason: str | None = None
    retry: bool = True
    measured: Measured = Measured()
    example: Example


_decode = msgspec.json.Decoder(Manifest).decode


def digest_of(data: bytes) -> str:
    """The identity of a version: sha256 of its manifest's bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def check_names(model: str, version: str) -> None:
    """Raises ManifestError unless these may be a model's name and version."""
    if not MODEL_NAME.fullmatch(model):
        raise ManifestError(f"{model!r} is not a model name: a-z, 0-9 and dashes, at most 63")
    try:
        version_key(version)
    except ValueError as error:
        raise ManifestError(f"version {error}") from error


def parse_manifest(data: bytes, model: str, version: str) -> Manifest:
    """The manifest found in the store under `model` and `version`. Raises ManifestError."""
    check_names(model, version)
    try:
        manifest = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ManifestError(f"manifest.json cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise ManifestError(f"manifest.json has format {manifest.format!r}; this scorer reads {FORMAT}")
    if (manifest.name, manifest.version) != (model, version):
        raise ManifestError(f"manifest.json names {manifest.name} {manifest.version}, its place {model} {version}")
    _check_files(manifest.files)
    _check_fields("input", manifest.signature.inputs)
    _check_fields("output", manifest.signature.outputs)
    if not manifest.signature.outputs:
        raise ManifestError("the signature has no output")
    if manifest.signature.kind not in {"vector", "table", "function"}:
        raise ManifestError(f"the signature's kind is {manifest.signature.kind!r}, not vector, table or function")
    if manifest.signature.is_function:
        if manifest.batchable:
            raise ManifestError("a function's calls are not batchable, but the manifest says so")
    elif any(field.vector for field in (*manifest.signature.inputs, *manifest.signature.outputs)):
        raise ManifestError("only a function's inputs and outputs may be vectors")
    return manifest


def _check_files(files: Mapping[str, FileEntry]) -> None:
    if "model.rds" not in files:
        raise ManifestError("the package has no model.rds")
    for name, entry in files.items():
        if not _FILE.fullmatch(name) or name == "manifest.json":
            raise ManifestError(f"{name!r} cannot be a file of a package")
        if not _SHA256.fullmatch(entry.sha256) or entry.size < 0:
            raise ManifestError(f"{name} has no usable sha256 and size")


def _check_fields(side: str, fields: Sequence[Field]) -> None:
    names = [field.name for field in fields]
    for field in fields:
        if (
            not field.name
            or len(field.name) > MAX_COLUMN_NAME
            or field.name.startswith("__")
            or _CONTROL.search(field.name)
        ):
            raise ManifestError(f"{field.name!r} cannot be the name of an {side}")
        if (field.type is Type.FACTOR) != bool(field.levels):
            raise ManifestError(f"{side} {field.name}: levels belong to factors, and a factor has some")
        if len(set(field.levels)) != len(field.levels):
            raise ManifestError(f"{side} {field.name} has a level twice")
    if len(set(names)) != len(names):
        raise ManifestError(f"two {side}s have the same name")


def example_frames(manifest: Manifest) -> tuple[Frame, Frame]:
    """The example's inputs and outputs as frames of the same rows, at least one. Raises ManifestError.

    Of a function it is one call.
    """
    inputs = _example_frame("inputs", manifest.signature, manifest.signature.inputs, manifest.example.inputs)
    outputs = _example_frame("outputs", manifest.signature, manifest.signature.outputs, manifest.example.outputs)
    if manifest.signature.inputs and inputs.rows != outputs.rows:
        raise ManifestError(f"the example has {inputs.rows} rows of inputs and {outputs.rows} of outputs")
    if not outputs.rows:
        raise ManifestError("the example has no rows")
    return Frame(outputs.rows, inputs.buffers), outputs


def _example_frame(side: str, signature: Signature, fields: Sequence[Field], columns: Mapping[str, Values]) -> Frame:
    if set(columns) != {field.name for field in fields}:
        raise ManifestError(f"the example's {side} are not the signature's")
    try:
        packed = [[_example_value(field, value) for value in columns[field.name]] for field in fields]
        if signature.is_function:
            return pack_call(fields, packed)
        if len({len(column) for column in packed}) > 1:
            raise ManifestError(f"the example's {side} differ in length")
        return pack_frame(fields, packed)
    except WireError as error:
        raise ManifestError(f"the example's {side}: {error}") from error


def _example_value(field: Field, value: float | bool | str | None) -> float | int | bool | str | None:
    """JSON's value as `shared.wire.pack` takes it."""
    if value is None:
        return None
    if field.type.is_float:
        if isinstance(value, str) and value in _INFINITIES:
            return _INFINITIES[value]
        if isinstance(value, float):
            return value
    elif field.type is Type.INTEGER:
        if isinstance(value, float) and value.is_integer():
            return int(value)
    elif field.type is Type.LOGICAL:
        if isinstance(value, bool):
            return value
    elif isinstance(value, str):
        return value
    raise ManifestError(f"the example has {value!r} in {field.name}, which is {field.type}")
