"""What is answered before there is a request for an app: whole problem+json answers, and ids for what brought none."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Iterator
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from shared.errors import ScoregateError


def _request_ids() -> Iterator[str]:
    while True:
        drawn = secrets.token_bytes(16 * 256)  # one system call for many
        for at in range(0, len(drawn), 16):
            yield drawn[at : at + 16].hex()


_ids = _request_ids()


def new_request_id() -> str:
    """For a request that brings none, or one that is not fit for logs."""
    return next(_ids)


def problem(error: ScoregateError, request_id: str) -> bytes:
    """A whole response, in RFC 9457's form."""
    said = {
        "type": f"urn:scoregate:problem:{error.code}",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.detail,
        "code": error.reason,
        "request_id": request_id,
    }
    head = "content-type: application/problem+json\r\n"
    if error.retry_after_ms is not None:
        said["retry_after_ms"] = error.retry_after_ms
        head += f"retry-after: {max(1, math.ceil(error.retry_after_ms / 1000))}\r\n"
    body = json.dumps(said).encode()
    head += f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\nconnection: close\r\n\r\n"
    return STATUS_LINE[error.status] + head.encode() + body
