"""A JSON answer that is not a score: the same headers everywhere."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.middleware.errors import request_id
from gateway.shell.compress import compressed

_encode = msgspec.json.Encoder().encode


async def reply(request: Request, content: Any) -> Response:
    """200 with `content` as JSON, not to be stored: what a caller may see depends on the token."""
    encoding, body = await compressed(_encode(content), request.headers.get("accept-encoding", "").encode("latin-1"))
    headers = {"X-Request-Id": request_id(request.scope), "Cache-Control": "no-store"}
    headers |= {name.decode(): value.decode() for name, value in encoding}
    return Response(body, media_type="application/json", headers=headers)
