"""Turns every exception of the app into an answer (`gateway.core.problem_json`). The only place that does.

A ScoregateError is its own answer. Anything else is ours: logged with the request's id, answered 500 without its text.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.core.problem_json import render
from gateway.core.stages import server_timing
from gateway.shell.body import ClientDisconnectedError
from shared.asgi import BEGINNINGS
from shared.errors import MethodNotAllowedError, NotFoundError, ScoregateError

log = structlog.get_logger(__name__)
MOST_LOGGED_PER_S = 100
#: Told of a refusal: the error, the request's id and path, the caller's key, and its trace.
Note = Callable[[ScoregateError, str, str, str | None, Mapping[str, str]], None]


def request_id(scope: Scope) -> str:
    """The id that the protocol gave this request, or a new one where another server runs the app."""
    state = scope.setdefault("state", {})
    found: str | None = state.get("request_id")
    if found is None:
        found = state["request_id"] = secrets.token_hex(8)
    return found


class Brake:
    """Lets so many a second pass and counts the others: a flood of refusals is not to be a flood of lines."""

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._second = 0
        self._passed = self._held_back = 0

    def passes(self, now: float) -> bool:
        """Whether this one passes."""
        if int(now) != self._second:
            self._second, self._passed = int(now), 0
        self._passed += 1
        self._held_back += self._passed > self._per_s
        return self._passed <= self._per_s

    def taken(self) -> int | None:
        """How many were held back since this was last asked; None for none, which a line need not say."""
        held_back, self._held_back = self._held_back, 0
        return held_back or None


class Errors:
    """The outermost middleware of the public app."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._brake = Brake(MOST_LOGGED_PER_S)

    def note(
        self, refused: ScoregateError, request: str, path: str, caller: str | None, trace: Mapping[str, str]
    ) -> None:
        """A line for a refusal, or a count of those without."""
        if self._brake.passes(time.monotonic()):
            event = log.info if refused.status < 500 else log.warning
            event(
                "gateway.request.refused",
                request_id=request,
                status=refused.status,
                code=refused.reason,
                path=path[:200],
                caller=caller,
                unlogged_before=self._brake.taken(),
                **trace,
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, or answer with what went wrong; an answer already begun is cut off, so that it cannot be mistaken for whole."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["app"] = (
            self  # makes Starlette's Router raise for an unknown address or method instead of answering in plain text
        )
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] in BEGINNINGS
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except ClientDisconnectedError as left:
            _let_go(left)
            return
        except ScoregateError as error:
            refused = error
        except HTTPException as error:
            refused = _of_starlette(error, scope)
        except Exception:
            log.exception(
                "gateway.request.failed", request_id=request_id(scope), path=scope["path"], **_trace(scope["state"])
            )
            refused = ScoregateError()
        else:
            return
        if started:
            raise ConnectionAbortedError("failed in the middle of an answer") from refused
        _let_go(refused)
        state = scope["state"]
        self.note(refused, request_id(scope), scope["path"], state.get("caller"), _trace(state))
        headers, body = render(refused, oip=scope["path"].startswith("/v2"), request=request_id(scope))
        if (clock := state.get("clock")) is not None:
            headers.append((b"server-timing", server_timing(clock.spent_s)))
        await send({"type": "http.response.start", "status": refused.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _let_go(error: Exception) -> None:
    """Of the frames that it came through. Some keep it, or a future that has it: in that ring all of the request would stay."""
    error.__traceback__ = None


def _trace(state: dict[str, Any]) -> dict[str, str]:
    """What a line says of the request's trace: its id, where traces are made."""
    return {"trace_id": state["trace_id"]} if "trace_id" in state else {}


def _of_starlette(error: HTTPException, scope: Scope) -> ScoregateError:
    if error.status_code == 404:
        return NotFoundError(f"there is nothing at {scope['path'][:200]!r}; GET /docs lists what there is")
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        return MethodNotAllowedError(f"this address takes {allowed or 'another method'}", headers=error.headers)
    log.error("gateway.request.unexpected_status", status=error.status_code)
    return ScoregateError()
