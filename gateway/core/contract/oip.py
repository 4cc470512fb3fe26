"""Open Inference Protocol v2: which datatypes a column takes and gives, and the metadata that says so.

One tensor per column, shape [n] or [n,1]; of a function one per input and output, each of its own n. A missing value is null in
JSON; in binary NaN in FP64, -2147483648 in INT32, and for BYTES a further INT32 tensor `__na.NAME` with the row numbers, from 0,
that are missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway import VERSION
from gateway.core.contract.oip_binary import BOUNDS
from shared.catalogue import VersionEntry
from shared.signature import Field, Type

#: Before the name of a BYTES column: the tensor with its missing rows.
MISSING_PREFIX = "__na."
EXTENSIONS = ("binary_tensor_data",)
PLATFORM = "scoregate_r"

#: Datatypes taken per column type, the one that metadata names first (INT32 before BOOL for a nullable logical).
ACCEPTED: dict[Type, tuple[str, ...]] = {
    Type.DOUBLE: ("FP64", "FP32", *BOUNDS),
    Type.INTEGER: ("INT32", *(datatype for datatype in BOUNDS if datatype != "INT32")),
    Type.LOGICAL: ("BOOL", "INT32"),
    Type.FACTOR: ("BYTES", "INT32"),
    Type.STRING: ("BYTES",),
    Type.DATE: ("BYTES", "FP64"),
    Type.DATETIME: ("BYTES", "FP64"),
}


def datatype_of(field: Field) -> str:
    """The datatype that metadata names and that an output has."""
    if field.type is Type.LOGICAL and field.nullable:
        return "INT32"
    return ACCEPTED[field.type][0]


def tensor_metadata(field: Field, *, single: bool = False) -> dict[str, Any]:
    """One column (or `single` value of a function) as OIP describes a tensor; what OIP has no word for is in `parameters`."""
    parameters: dict[str, Any] = {"type": field.type.value, "nullable": field.nullable}
    if field.type is Type.FACTOR:
        parameters["levels"] = field.levels
        parameters["ordered"] = field.ordered
    shape = [1] if single else [-1]
    return {"name": field.name, "datatype": datatype_of(field), "shape": shape, "parameters": parameters}


def v2_model_metadata(entry: VersionEntry, versions: Iterable[str] = ()) -> dict[str, Any]:
    """`GET /v2/models/{model}[/versions/{version}]`; `versions` are all that serve, this one alone if none are given."""
    function = entry.signature.is_function

    def described(fields: Iterable[Field]) -> list[dict[str, Any]]:
        return [tensor_metadata(field, single=function and not field.vector) for field in fields]

    return {
        "name": entry.model,
        "versions": list(versions) or [entry.version],
        "platform": PLATFORM,
        "inputs": described(entry.signature.inputs),
        "outputs": described(entry.signature.outputs),
        "parameters": {"version": entry.version, "description": entry.description},
    }


def v2_server_metadata(version: str = VERSION) -> dict[str, Any]:
    """`GET /v2`."""
    return {"name": "scoregate", "version": version, "extensions": list(EXTENSIONS)}


def v2_repository_index(entries: Iterable[VersionEntry]) -> list[dict[str, str]]:
    """`POST /v2/repository/index`: the versions the caller may see, served or not."""
    states = {"ready": "READY", "loading": "LOADING"}
    return [
        {
            "name": entry.model,
            "version": entry.version,
            "state": states.get(entry.state, "UNAVAILABLE"),
            "reason": entry.reason or "",
        }
        for entry in entries
    ]
