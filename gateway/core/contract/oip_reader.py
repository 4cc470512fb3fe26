"""Reads any Open Inference Protocol v2 request, JSON or with binary tensors, exactly and in steps, and lists its problems.

First what it says (`oip_structure`), then what its data is (`oip_tensors`). `oip_fast` decides small requests of the usual shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.contract.json_reader import CHUNK_BYTES, JsonReader
from gateway.core.contract.oip_request import OipRequest
from gateway.core.contract.oip_structure import OipStructure
from gateway.core.contract.oip_tensors import CheckShapes, OipTensors, one_value_per_row
from gateway.core.contract.tokens import Steps
from gateway.core.findings import StopLookingError
from shared.errors import MalformedRequestError

if TYPE_CHECKING:
    from gateway.core.contract.compiled import Clock, Contract


def read_oip(
    contract: Contract,
    body: bytes,
    header_length: int | None,
    clock: Clock | None,
    chunk_bytes: int = CHUNK_BYTES,
    *,
    check_shapes: CheckShapes = one_value_per_row,
) -> Steps[OipRequest]:
    """The request; raises MalformedRequestError, InvalidDataError or PayloadTooLargeError.

    `chunk_bytes` 0 reads all of its JSON the exact way.
    """
    text, binary = body, None
    if header_length is not None:
        if not 0 <= header_length <= len(body):
            raise MalformedRequestError(
                f"Inference-Header-Content-Length is {header_length}, but the body has {len(body)} bytes."
            )
        text, binary = body[:header_length], memoryview(body)[header_length:]
    json = JsonReader(text, clock, contract.limit, chunk_bytes)
    findings = json.findings
    structure = OipStructure(contract, json)
    try:
        tensors = yield from structure.read()
        if findings and not tensors:
            findings.refuse(contract.subject)
        outputs = yield from structure.outputs()
        columns = yield from OipTensors(contract, json, binary, check_shapes).columns(tensors)
    except StopLookingError:
        findings.refuse(contract.subject, whole=False)
    if findings:
        findings.refuse(contract.subject)
    return OipRequest(contract.frame_of(columns), structure.id, outputs)
