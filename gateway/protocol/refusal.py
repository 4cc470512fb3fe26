"""What is answered before there is a request for an app: whole problem+json answers, and ids for what brought none."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from gateway.core.problem_json import render
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
    """A whole response, the last of its connection."""
    fields, body = render(error, oip=False, request=request_id)
    head = b"".join([b"%b: %b\r\n" % field for field in fields])
    return b"%b%bconnection: close\r\n\r\n%b" % (STATUS_LINE[error.status], head, body)
