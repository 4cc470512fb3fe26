"""The data port's one gate: nothing passes without the gateway's internal token."""

from __future__ import annotations

import time

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from scorer.shell.keys import TokenCheck
from shared.errors import ScoregateError, UnauthenticatedError
from shared.internal_token import InternalTokenError


class InternalToken:
    """Pure ASGI. Answers 401 before anything of the body is read."""

    def __init__(self, app: ASGIApp, tokens: TokenCheck) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        try:
            self._tokens.check(given[0].decode("latin-1") if len(given) == 1 else "", time.time())
        except InternalTokenError as error:
            await send_error(send, UnauthenticatedError(str(error)))
            return
        await self._app(scope, receive, send)


async def send_error(send: Send, error: ScoregateError) -> None:
    """`{"error", "code"}` with the status of the error's class."""
    body = msgspec.json.encode({"error": error.detail, "code": error.code})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if error.retry_after_ms is not None:
        headers.append((b"retry-after-ms", str(error.retry_after_ms).encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
