"""An error as it is sent: problem+json (RFC 9457), or OIP's `{"error": …}` under `/v2`. The only place that writes one. Pure.

For the app, the door and the connection alike; what an error says is decided where it is raised.
"""

from __future__ import annotations

import http
from typing import Any

import msgspec

from shared.errors import ScoregateError

_encode = msgspec.json.Encoder().encode
MAX_PROBLEMS = 100


def retry_after_s(retry_after_ms: int) -> int:
    """`Retry-After` (RFC 9110, 10.2.3): whole seconds, rounded up, at least 1, so that who waits it out is never early."""
    return max(1, -(-retry_after_ms // 1000))


def render(error: ScoregateError, *, oip: bool, request: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Header fields and body of the answer; not of it are the status line and what depends on the connection."""
    headers = {name.lower(): value for name, value in error.headers.items()}
    if error.retry_after_ms is not None:
        headers["retry-after"] = str(retry_after_s(error.retry_after_ms))
    headers["x-request-id"] = request
    headers["cache-control"] = "no-store"
    if oip:
        headers["content-type"] = "application/json"
        text = error.detail
        if error.problems:
            text += " " + "; ".join(f"{p['pointer']}: {p['detail']}" for p in error.problems[:5])
            if error.problems_total > 5:
                text += f"; and {error.problems_total - 5} more"
        body = _encode({"error": text})
    else:
        headers["content-type"] = "application/problem+json"
        problem: dict[str, Any] = {
            "type": f"urn:scoregate:problem:{error.code}",
            "title": http.HTTPStatus(error.status).phrase,
            "status": error.status,
            "detail": error.detail,
            "code": error.reason,
            "request_id": request,
        }
        if error.retry_after_ms is not None:
            problem["retry_after_ms"] = error.retry_after_ms
        if error.problems:
            problem["problems"] = error.problems[:MAX_PROBLEMS]
            problem["problems_total"] = error.problems_total
        body = _encode(problem)
    headers["content-length"] = str(len(body))
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()], body
