"""What `/v1/models` says of a model version: its columns in the API's own terms, and an example that can be sent as it stands.

Manifests hold dates as numbers and infinities as text; here everything is as `/v1` takes and gives it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.core.catalogue import Model
from gateway.core.contract.civil import format_date, format_datetime
from shared.catalogue import VersionEntry
from shared.signature import Field, Type

#: Rows of an example; a manifest may hold more.
MAX_EXAMPLE_ROWS = 3
#: JSON has no infinities: manifests write them as text, and `/v1` cannot take them.
_INFINITE = frozenset({"Inf", "-Inf"})
_JSON = {
    Type.DOUBLE: "number",
    Type.INTEGER: "whole number from -2147483647 to 2147483647",
    Type.LOGICAL: "true or false",
    Type.STRING: "text",
    Type.FACTOR: "text, one of the levels",
    Type.DATE: "text YYYY-MM-DD",
    Type.DATETIME: "text, RFC 3339 with an offset or Z",
}


def api_value(field: Field, value: Any) -> Any:
    """A manifest's value as `/v1` has it; infinities, which it has not, as None."""
    if value is None or (isinstance(value, str) and field.type in (Type.DOUBLE, Type.DATE, Type.DATETIME)):
        return None
    if field.type is Type.DATE:
        return format_date(value)
    if field.type is Type.INTEGER and isinstance(value, float):
        return int(value)
    return format_datetime(value) if field.type is Type.DATETIME else value


def column_form(field: Field) -> dict[str, Any]:
    """One column: name, type, what its JSON is, and what is known of its values."""
    form: dict[str, Any] = {
        "name": field.name,
        "type": field.type.value,
        "nullable": field.nullable,
        "json": _JSON[field.type] + (", or null" if field.nullable else ""),
    }
    if field.vector:
        form["vector"] = True
        form["json"] = f"an array of: {form['json']}"
    if field.type is Type.FACTOR:
        form["levels"] = field.levels
        form["ordered"] = field.ordered
    if field.range is not None:
        form["seen"] = [bound if isinstance(bound, str) else api_value(field, bound) for bound in field.range]
    return form


def example_rows(entry: VersionEntry) -> list[int]:
    """Which rows of the manifest's example can be sent as JSON: those without infinities, whole ones first."""
    inputs: Mapping[str, Sequence[Any]] = entry.example.get("inputs") or {}
    fields = entry.signature.inputs
    if not fields or any(field.name not in inputs for field in fields):
        return []
    count = min(len(inputs[field.name]) for field in fields)
    usable = [row for row in range(count) if not any(_unsendable(field, inputs[field.name][row]) for field in fields)]
    usable.sort(key=lambda row: sum(inputs[field.name][row] is None for field in fields))
    return usable[:MAX_EXAMPLE_ROWS]


def _unsendable(field: Field, value: Any) -> bool:
    if value is None:
        return not field.nullable
    return value in _INFINITE if isinstance(value, str) and field.type is not Type.STRING else False


def example_request(entry: VersionEntry) -> dict[str, Any] | None:
    """`{"rows":[…]}`, or `{"inputs":{…}}` of a function, as `/v1` takes it.

    None where the manifest has no example that JSON can carry.
    """
    if entry.signature.is_function:
        return _example_call(entry)
    inputs = entry.example.get("inputs") or {}
    rows = [
        {field.name: api_value(field, inputs[field.name][row]) for field in entry.signature.inputs}
        for row in example_rows(entry)
    ]
    return {"rows": rows} if rows else None


def _example_call(entry: VersionEntry) -> dict[str, Any] | None:
    inputs = entry.example.get("inputs") or {}
    fields = entry.signature.inputs
    if any(field.name not in inputs or any(_unsendable(field, v) for v in inputs[field.name]) for field in fields):
        return None
    return {"inputs": _call_values(fields, inputs)}


def _call_values(fields: Sequence[Field], values: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    shown = {field.name: [api_value(field, value) for value in values[field.name]] for field in fields}
    return {field.name: shown[field.name] if field.vector else shown[field.name][0] for field in fields}


def example_response(entry: VersionEntry) -> dict[str, Any] | None:
    """What `/v1` answers to `example_request`, from the manifest; None without an example."""
    outputs = entry.example.get("outputs") or {}
    fields = entry.signature.outputs
    if entry.signature.is_function:
        if _example_call(entry) is None or any(field.name not in outputs for field in fields):
            return None
        return {"model": entry.model, "version": entry.version, "outputs": _call_values(fields, outputs)}
    rows = example_rows(entry)
    if not rows or any(len(outputs.get(field.name, ())) <= max(rows) for field in fields):
        return None
    shown = [{field.name: api_value(field, outputs[field.name][row]) for field in fields} for row in rows]
    predictions = [next(iter(row.values())) for row in shown] if entry.signature.kind == "vector" else shown
    return {"model": entry.model, "version": entry.version, "predictions": predictions}


def model_form(model: Model, version: str | None = None) -> dict[str, Any]:
    """One model as `/v1/models` lists it: the version given, or the one that serves by default, or else the newest.

    `versions` are those that can be scored with, newest first; `unavailable` says of the others why.
    """
    shown = version or model.default or next(iter(model.versions))
    served = model.versions[shown]
    entry = served.entry
    form: dict[str, Any] = {
        "model": entry.model,
        "version": entry.version,
        "default": entry.version == model.default,
        "state": "ready" if served.ready else ("unavailable" if entry.state == "ready" else entry.state),
        "versions": [number for number, other in model.versions.items() if other.ready],
        "description": entry.description,
        "created": entry.created,
        "digest": entry.digest,
        "r_version": entry.r_version,
        "model_class": entry.model_class,
        "packages": entry.packages,
        "batchable": entry.batchable,
        "close": entry.close,
        "signature": {
            "kind": entry.signature.kind,
            "inputs": [column_form(field) for field in entry.signature.inputs],
            "outputs": [column_form(field) for field in entry.signature.outputs],
        },
    }
    unavailable = {n: other.entry.reason or other.entry.state for n, other in model.versions.items() if not other.ready}
    if unavailable:
        form["unavailable"] = unavailable
    if entry.batchable_reason and not entry.batchable:
        form["batchable_reason"] = entry.batchable_reason
    if (request := example_request(entry)) is not None:
        form["example"] = {"request": request}
        if (response := example_response(entry)) is not None:
            form["example"]["response"] = response
    return form
