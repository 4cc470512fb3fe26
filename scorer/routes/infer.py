"""Scoring for gateways: one request is read, submitted to the pool, waited for and answered, in OIP v2 with binary tensors."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog
from starlette.types import Message, Receive, Scope, Send

from scorer.core.calls import Call, Key
from scorer.core.effects import Answer
from scorer.middleware import send_error
from scorer.shell.metrics import ScorerMetrics
from scorer.shell.workers import Workers
from shared import asgi
from shared.deadline import DEADLINE_HEADER, MAX_TIMEOUT_MS, parse_timeout_ms
from shared.errors import (
    MalformedRequestError,
    PayloadTooLargeError,
    RequestTimeoutError,
    ScoregateError,
    UnavailableError,
)
from shared.messages import CONTENT_TYPE, HEADER_LENGTH, SHARE_HEADER, decode_request, encode_response
from shared.stages import TIMES_HEADER, Times
from shared.wire import WireError

if TYPE_CHECKING:
    from scorer.shell.tracing import CallTracing

log = structlog.get_logger()
#: For a request that names no deadline; gateways always do.
_DEFAULT_TIMEOUT_S = 30.0
_DEADLINE = DEADLINE_HEADER.encode()
_HEADER_LENGTH = HEADER_LENGTH.encode()
_TIMES = TIMES_HEADER.encode()
_CONTENT_TYPE = CONTENT_TYPE.encode()
_SHARE = SHARE_HEADER.encode()
_SHARED_WITH = re.compile(r"[A-Za-z0-9]{1,64}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: A call that has waited for so long is told when its caller leaves; before that, watching costs more than it can save.
_WATCH_AFTER_S = 0.05


class ClientGoneError(Exception):
    """The gateway closed the connection."""


class Infer:
    """`POST /v2/models/{model}/versions/{version}/infer`: an ASGI app of its own, for it is all that must be fast."""

    def __init__(
        self, workers: Workers, metrics: ScorerMetrics, max_body_bytes: int, tracing: CallTracing | None = None
    ) -> None:
        self._tracing = tracing
        self._workers = workers
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        started = time.monotonic()
        key = (scope["path_params"]["model"], scope["path_params"]["version"])
        code, held, begun = "internal_error", 0, False
        headers = dict(scope["headers"])
        trace = None if self._tracing is None else self._tracing.begins(scope["headers"], started)
        try:
            size = announced(headers, self._max_body_bytes)
            self._workers.pool.hold(size, started)
            held = size
            call = await self._read(key, headers, scope, receive, started)
            if trace is not None:
                trace.scores(call)
            answer = await self._score(call, receive)
            if answer.refused is not None:  # not raised: its traceback would hold this frame, and this frame it
                code, begun = answer.refused.code, True
                await send_error(send, answer.refused)
            else:
                reply = self._reply(call, answer, time.monotonic())
                begun = True
                await asgi.answer(scope, send, 200, *reply)
                code = answer.errors[0].code if answer.errors else "ok"
        except ClientGoneError:
            code = "client_gone"
        except ScoregateError as error:
            code = error.code
            await send_error(send, error)
        except asyncio.CancelledError:
            code = "cancelled"
            raise
        except Exception:
            log.exception("scorer.request.broken", request_id=_request_id(headers))
            if begun:
                raise
            await send_error(send, ScoregateError())
        finally:
            self._workers.pool.release(held)
            if key not in self._workers.pool.lines:
                key = ("", "")  # a name that a caller made up is no label
            self._metrics.answered(key, code)
            took_s = time.monotonic() - started
            if trace is not None:
                trace.answered(key, code, started + took_s)
            self._metrics.request.observe(key, took_s)
            if code != "ok":
                log.info(
                    "scorer.request.failed",
                    code=code,
                    model=key[0],
                    version=key[1],
                    request_id=_request_id(headers),
                    took_s=took_s,
                    **({} if trace is None else {"trace_id": trace.trace_id}),
                )

    async def _read(
        self, key: Key, headers: dict[bytes, bytes], scope: Scope, receive: Receive, started: float
    ) -> Call:
        deadline_s = started + _DEFAULT_TIMEOUT_S
        if (text := headers.get(_DEADLINE)) is not None:
            try:
                deadline_s = started + parse_timeout_ms(text.decode("latin-1"), least=1, most=MAX_TIMEOUT_MS) / 1000
            except ValueError as error:
                raise MalformedRequestError(f"{DEADLINE_HEADER} {error}") from error
        line = self._workers.pool.line_of(key)
        header_length = headers.get(_HEADER_LENGTH, b"")
        if not header_length.isdigit() or len(header_length) > 9:
            raise MalformedRequestError(f"{HEADER_LENGTH} is missing or not a number")
        share = headers.get(_SHARE, b"").decode("latin-1")
        if share and not _SHARED_WITH.fullmatch(share):
            raise MalformedRequestError(f"{SHARE_HEADER} is at most 64 letters and digits")
        body: bytes | None = scope.get("state", {}).pop("body", None)
        if body is not None and len(body) > self._max_body_bytes:  # its length was not announced
            raise _too_large(self._max_body_bytes)
        if body is None:
            try:
                async with asyncio.timeout(max(0.0, deadline_s - time.monotonic())):
                    body = await read_body(receive, self._max_body_bytes)
            except TimeoutError as error:
                raise RequestTimeoutError from error
        try:
            frame, items = decode_request(line.inputs, body, int(header_length))
        except WireError as error:
            raise MalformedRequestError(str(error)) from error
        return Call(key, frame, items, deadline_s, share=share)

    async def _score(self, call: Call, receive: Receive) -> Answer:
        """Submit, then wait for the answer, the deadline or the caller's departure, whichever is first."""
        future: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        call.tag = future
        try:
            return await self._answered(call, future, receive)
        finally:
            call.tag = None  # the future holds the answer, and that the call: a ring outlives its request

    async def _answered(self, call: Call, future: asyncio.Future[Answer | None], receive: Receive) -> Answer:
        self._workers.submit(call)
        if (answer := future.result() if future.done() else None) is not None:
            return answer
        loop, workers = asyncio.get_running_loop(), self._workers
        deadline = loop.call_later(
            call.deadline_s - time.monotonic(), lambda: workers.perform(workers.pool.expire(call, time.monotonic()))
        )
        watching: list[asyncio.Task[None]] = []

        def watch() -> None:
            watching.append(loop.create_task(_departed(receive)))
            watching[0].add_done_callback(lambda task: _leave(future, task))

        departure = loop.call_later(_WATCH_AFTER_S, watch)
        try:
            answer = await future
        except asyncio.CancelledError:
            workers.perform(workers.pool.leave(call, time.monotonic()))
            raise
        else:
            if answer is not None:
                return answer
            workers.perform(workers.pool.leave(call, time.monotonic()))
            raise ClientGoneError
        finally:
            deadline.cancel()
            departure.cancel()
            for task in watching:
                task.cancel()
            if call.started_s is not None:
                self._metrics.queued.observe(call.key, max(0.0, call.started_s - call.arrived_s))
                self._metrics.runs.observe(call.key, time.monotonic() - call.started_s)

    def _reply(self, call: Call, answer: Answer, now: float) -> tuple[asgi.Headers, bytes]:
        line = self._workers.pool.lines.get(call.key)
        if line is None or answer.frame is None:
            raise UnavailableError
        head, body = encode_response(*call.key, line.outputs, answer.frame, answer.sizes, answer.errors)
        headers = [
            (b"content-type", _CONTENT_TYPE),
            (b"content-length", b"%d" % len(body)),
            (_HEADER_LENGTH, b"%d" % head),
            (_TIMES, _times(call, now).header()),
        ]
        return headers, body


def _request_id(headers: Mapping[bytes, bytes]) -> str:
    """The gateway's; empty if it is none."""
    text = headers.get(b"x-request-id", b"").decode("latin-1")
    return text if _REQUEST_ID.fullmatch(text) else ""


def _times(call: Call, now: float) -> Times:
    if call.started_s is None:
        return Times(now - call.arrived_s)
    return Times(call.started_s - call.arrived_s, now - call.started_s)


async def _departed(receive: Receive) -> None:
    """Returns when the caller has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _leave(future: asyncio.Future[Answer | None], task: asyncio.Task[None]) -> None:
    """None, not an exception: its traceback would hold the frame that waits, and so the future."""
    if not task.cancelled() and not future.done():
        future.set_result(None)


def deliver(answer: Answer) -> None:
    """Give a call's answer to the request that waits for it."""
    future = answer.call.tag
    if isinstance(future, asyncio.Future) and not future.done():
        future.set_result(answer)


def _too_large(most: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(f"a request has at most {most} bytes")


def announced(headers: Mapping[bytes, bytes], most: int) -> int:
    """How long the body says it is; `most` where it does not say. Raises PayloadTooLargeError beyond that."""
    length = headers.get(b"content-length", b"")
    if not length.isdigit():
        return most
    if int(length[:18]) > most:
        raise _too_large(most)
    return int(length[:18])


async def read_body(receive: Receive, most: int) -> bytes:
    """The body, at most `most` bytes: raises PayloadTooLargeError."""
    parts: list[bytes] = []
    size = 0
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > most:
            raise _too_large(most)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)
