"""Calls of functions: named inputs as people have them, made into the server's JSON; and what is answered."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from client.errors import DataError
from client.models import Outputs
from client.replies import Reply, read
from client.rows import plain_column, plain_value


class _Body(msgspec.Struct):
    model: str
    version: str
    outputs: dict[str, Any]


def call_body(inputs: Mapping[str, Any]) -> bytes:
    """`{"inputs":{…}}`: a list (or numpy array, or pandas series) is a vector, anything else a single value.

    Raises DataError for what has no JSON form.
    """
    plain: dict[str, Any] = {}
    for name, value in inputs.items():
        vector = isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)) and _has_length(value)
        plain[str(name)] = plain_column(str(name), value) if vector else plain_value(str(name), 0, value)
        for one in plain[str(name)] if vector else [plain[str(name)]]:
            if isinstance(one, float) and math.isinf(one):
                raise DataError(f"input {name}: JSON has no infinity; send it as a binary tensor through /v2")
    return msgspec.json.encode({"inputs": plain})


def _has_length(value: Any) -> bool:
    """A numpy array of no dimension is a single value, though it looks iterable."""
    return getattr(value, "shape", None) != ()


def outputs_of(reply: Reply) -> Outputs:
    """The answer to a call; raises the server's refusal."""
    body = read(reply, _Body)
    return Outputs(body.model, body.version, body.outputs)
