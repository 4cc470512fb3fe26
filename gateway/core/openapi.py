"""OpenAPI 3.1 made from the signatures: one path per model version that the caller may score, with the manifest's own example.

Pure: models in, a document out. The route decides which models a caller may see, and serves it with the caller's token only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway import VERSION
from gateway.core.catalogue import Model
from gateway.core.contract.catalogue_form import column_form, example_request, example_response
from gateway.core.findings import CODES
from shared.catalogue import VersionEntry
from shared.deadline import MAX_TIMEOUT_MS, MIN_TIMEOUT_MS
from shared.signature import Field, Type

_INT = {"minimum": -(2**31) + 1, "maximum": 2**31 - 1}
_TYPES: dict[Type, dict[str, Any]] = {
    Type.DOUBLE: {"type": "number", "format": "double"},
    Type.INTEGER: {"type": "integer", **_INT},
    Type.LOGICAL: {"type": "boolean"},
    Type.STRING: {"type": "string"},
    Type.FACTOR: {"type": "string"},
    Type.DATE: {"type": "string", "format": "date"},
    Type.DATETIME: {"type": "string", "format": "date-time"},
}
_ERRORS = {
    "400": "Malformed: not JSON, not UTF-8, a bad header.",
    "401": "No valid token; `WWW-Authenticate` and `code` say why.",
    "403": "The token lacks the role or scope that `detail` names.",
    "404": "No such model or version, or you may not see it.",
    "408": "The body did not come within its time.",
    "413": "Too many bytes or rows, or a cost above the whole limit.",
    "415": "The content type is not application/json.",
    "422": "The data does not fit the signature (`problems` lists what and where), or R could not score it.",
    "429": "A limit is reached; `Retry-After` says for how long.",
    "500": "R crashed on these rows, or the gateway has a fault.",
    "502": "The scorer gave no usable answer.",
    "503": "Overloaded or not ready; `Retry-After` says for how long.",
    "504": "Not ready before the deadline.",
}


def field_schema(field: Field) -> dict[str, Any]:
    """One column's JSON schema."""
    schema = dict(_TYPES[field.type])
    if field.type is Type.FACTOR:
        schema["enum"] = [*field.levels, None] if field.nullable else list(field.levels)
    if field.nullable:
        schema["type"] = [schema["type"], "null"]
    notes = [f"R: {field.type.value}" + (", ordered" if field.ordered else "")]
    if field.range is not None:
        notes.append("seen {} to {}".format(*column_form(field)["seen"]))
    schema["description"] = "; ".join(notes)
    return schema


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def value_schema(field: Field) -> dict[str, Any]:
    """The JSON schema of a function's input or output: a single value, or an array of them."""
    return {"type": "array", "items": field_schema(field)} if field.vector else field_schema(field)


def _request_schema(entry: VersionEntry) -> dict[str, Any]:
    if entry.signature.is_function:
        return _object({"inputs": _object({field.name: value_schema(field) for field in entry.signature.inputs})})
    fields = {field.name: field_schema(field) for field in entry.signature.inputs}
    arrays = {name: {"type": "array", "items": schema, "minItems": 1} for name, schema in fields.items()}
    return {
        "oneOf": [
            {**_object({"rows": {"type": "array", "minItems": 1, "items": _object(fields)}}), "title": "rows"},
            {**_object({"columns": _object(arrays)}), "title": "columns"},
        ]
    }


def _response_schema(entry: VersionEntry) -> dict[str, Any]:
    head = {"model": {"type": "string", "const": entry.model}, "version": {"type": "string", "const": entry.version}}
    if entry.signature.is_function:
        return _object(head | {"outputs": _object({f.name: value_schema(f) for f in entry.signature.outputs})})
    outputs = {field.name: field_schema(field) for field in entry.signature.outputs}
    one = next(iter(outputs.values())) if entry.signature.kind == "vector" else _object(outputs)
    described = {"type": "array", "items": one, "description": "One per row, in the order of the rows."}
    return _object(head | {"predictions": described})


def _responses(ok: dict[str, Any], errors: Iterable[str]) -> dict[str, Any]:
    return {"200": ok} | {status: {"$ref": f"#/components/responses/{status}"} for status in errors}


def _ok(description: str, schema: dict[str, Any], example: Any = None) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": schema}
    if example is not None:
        content["example"] = example
    headers = {
        name: {"$ref": f"#/components/headers/{name}"} for name in ("RateLimit", "RateLimit-Policy", "X-Request-Id")
    }
    return {"description": description, "headers": headers, "content": {"application/json": content}}


def _score(entry: VersionEntry, *, by_default: bool) -> dict[str, Any]:
    request: dict[str, Any] = {"schema": _request_schema(entry)}
    function = entry.signature.is_function
    example = example_request(entry)
    if example is not None and function:
        request["examples"] = {"inputs": {"value": example}}
    elif example is not None:
        columns = {name: [row[name] for row in example["rows"]] for name in example["rows"][0]}
        request["examples"] = {"rows": {"value": example}, "columns": {"value": {"columns": columns}}}
    which = f"version {entry.version}" + (", which serves by default" if by_default else "")
    return {
        "post": {
            "tags": [entry.model],
            "summary": f"{'Call' if function else 'Score with'} {entry.model}, {which}",
            "description": entry.description,
            "operationId": f"score_{entry.model}" + ("" if by_default else f"_{entry.version}"),
            "parameters": [{"$ref": "#/components/parameters/Timeout"}, {"$ref": "#/components/parameters/RequestId"}],
            "requestBody": {"required": True, "content": {"application/json": request}},
            "responses": _responses(
                _ok(
                    "The function's outputs." if function else "One prediction per row.",
                    _response_schema(entry),
                    example_response(entry),
                ),
                _ERRORS,
            ),
        }
    }


def _get(tag: str, summary: str, parameters: Iterable[str] = (), errors: Iterable[str] = ("401",)) -> dict[str, Any]:
    return {
        "get": {
            "tags": [tag],
            "summary": summary,
            "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in parameters],
            "responses": _responses(_ok("OK", {"type": "object"}), errors),
        }
    }


def openapi_document(
    models: Iterable[Model], *, version: str = VERSION, token_url: str | None = None, scope: str | None = None
) -> dict[str, Any]:
    """The document for a caller who may score `models`.

    `token_url` and `scope` (`api://…/.default`) describe Entra's client credentials; without them only the bearer token is named.
    """
    models = list(models)
    paths: dict[str, Any] = {}
    for model in models:
        for number, served in model.versions.items():
            if not served.ready:
                continue
            if number == model.default:
                paths[f"/v1/models/{model.name}/score"] = _score(served.entry, by_default=True)
            paths[f"/v1/models/{model.name}/versions/{number}/score"] = _score(served.entry, by_default=False)
    paths["/v1/models"] = _get("catalogue", "The models you may score")
    paths["/v1/models/{model}"] = _get(
        "catalogue", "A model and the signature it serves by default", ["Model"], ["401", "404"]
    )
    paths["/v1/models/{model}/versions/{version}"] = _get(
        "catalogue", "One version's signature", ["Model", "Version"], ["401", "404"]
    )
    paths["/v2"] = _get("Open Inference Protocol", "Server metadata")
    paths["/v2/models/{model}"] = _get("Open Inference Protocol", "Model metadata", ["Model"], ["401", "404"])
    paths["/v2/models/{model}/infer"] = _infer()
    schemes: dict[str, Any] = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    security: list[dict[str, list[str]]] = [{"bearer": []}]
    if token_url and scope:
        flow = {"tokenUrl": token_url, "scopes": {scope: "Every application permission granted to the app."}}
        schemes["entra"] = {"type": "oauth2", "flows": {"clientCredentials": flow}}
        security.append({"entra": [scope]})
    tags = [{"name": model.name, "description": _about(model)} for model in models]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "scoregate",
            "version": version,
            "description": "R models, scored. Every call needs an Entra ID access token. Errors are RFC 9457 problems.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": security,
        "tags": [*tags, {"name": "catalogue"}, {"name": "Open Inference Protocol"}],
        "paths": paths,
        "components": _components(schemes),
    }


def _about(model: Model) -> str:
    served = model.versions.get(model.default or "")
    return served.entry.description if served else ""


def _infer() -> dict[str, Any]:
    tensor = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "datatype": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "data": {"type": "array"},
            "parameters": {"type": "object"},
        },
        "required": ["name", "datatype", "shape"],
    }
    request = {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "inputs": {"type": "array", "items": tensor},
            "outputs": {"type": "array", "items": {"type": "object"}},
            "parameters": {"type": "object"},
        },
        "required": ["inputs"],
    }
    return {
        "post": {
            "tags": ["Open Inference Protocol"],
            "summary": "Infer, one tensor per column; also with binary tensors (binary_tensor_data)",
            "parameters": [{"$ref": "#/components/parameters/Model"}, {"$ref": "#/components/parameters/Timeout"}],
            "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
            "responses": {
                "200": _ok("One tensor per output.", {"type": "object"}),
                "default": {
                    "description": "Refused.",
                    "content": {"application/json": {"schema": _object({"error": {"type": "string"}})}},
                },
            },
        }
    }


def _components(schemes: dict[str, Any]) -> dict[str, Any]:
    text, whole = {"type": "string"}, {"type": "integer"}
    problem = {
        "type": "object",
        "properties": {
            "pointer": {**text, "description": "JSON pointer into the request."},
            "code": {**text, "enum": list(CODES)},
            "detail": {**text, "description": "What is wrong and what to do."},
            "column": text,
            "row": {**whole, "description": "Counted from 0, as in the pointer."},
        },
        "required": ["pointer", "code", "detail"],
    }
    problems = {
        "type": "object",
        "properties": {
            "type": {**text, "format": "uri-reference"},
            "title": text,
            "status": whole,
            "detail": text,
            "code": {**text, "description": "What to branch on; it does not change."},
            "request_id": text,
            "retry_after_ms": whole,
            "problems": {"type": "array", "maxItems": 100, "items": {"$ref": "#/components/schemas/DataProblem"}},
            "problems_total": whole,
        },
        "required": ["type", "title", "status", "detail", "code", "request_id"],
    }
    answer = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    responses: dict[str, Any] = {}
    for status, description in _ERRORS.items():
        responses[status] = {"description": description, "content": answer}
        if status in ("429", "503"):
            responses[status]["headers"] = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
    return {
        "securitySchemes": schemes,
        "schemas": {"DataProblem": problem, "Problem": problems},
        "responses": responses,
        "headers": {
            "RateLimit": {"description": "What is left of the limit that is nearest.", "schema": text},
            "RateLimit-Policy": {"description": "The limits that apply to you.", "schema": text},
            "Retry-After": {"description": "Seconds until it is worth trying again.", "schema": whole},
            "X-Request-Id": {"description": "Yours, or a new one; quote it when you ask for help.", "schema": text},
        },
        "parameters": {
            "Model": {"name": "model", "in": "path", "required": True, "schema": text},
            "Version": {"name": "version", "in": "path", "required": True, "schema": text},
            "RequestId": {
                "name": "X-Request-Id",
                "in": "header",
                "description": "Your name for this request, for logs and traces.",
                "schema": {**text, "pattern": "^[A-Za-z0-9._-]{1,64}$"},
            },
            "Timeout": {
                "name": "X-Request-Timeout-Ms",
                "in": "header",
                "description": "How long you will wait for the answer, in milliseconds.",
                "schema": {**whole, "minimum": MIN_TIMEOUT_MS, "maximum": MAX_TIMEOUT_MS},
            },
        },
    }
