"""uvicorn's protocol for both services: an answer may come in one message (`shared.asgi`), and so does a body that is here.

uvicorn takes an answer's start and its body apart, looks at each header's every byte and writes twice, which wakes the other side
twice; a body that came with its head it gathers again. That was a fifth of what a scoring request cost a process.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from shared.asgi import WHOLE_ANSWER

EXTENSIONS: Final[dict[str, dict[object, object]]] = {WHOLE_ANSWER: {}}


class _Nobody:
    """Whom an event without anybody who waits for it wakes."""

    def set(self) -> None:
        """Nobody."""


class Answered:
    """Stands for a request that was answered while its connection waits for the next: nothing of the request is kept.

    One for all connections, so what uvicorn still does to a cycle then must mean nothing here.
    """

    response_started = response_complete = keep_alive = True
    disconnected = more_body = False
    message_event: Final = _Nobody()


ANSWERED: Final = Answered()


class WholeProtocol(HttpToolsProtocol):
    """A request's scope names `WHOLE_ANSWER` among its extensions; its state has the `body` if all of it came with its head."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._with_head = False  # what comes now came together with its request's head

    def data_received(self, data: bytes) -> None:
        """Some of a request, or all."""
        self._with_head = False
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """The request begins."""
        self._begin()
        self._with_head = True

    def on_message_complete(self) -> None:
        """The request is whole."""
        super().on_message_complete()
        if self._with_head and not self.cycle.response_complete:
            self.cycle.scope["state"]["body"] = bytes(self.cycle.body)
            self.cycle.body = bytearray()

    def _begin(self) -> None:
        """As uvicorn's `on_headers_complete` does, but that the answer may come whole (`Cycle`)."""
        scope, url = self.scope, self.url
        scope["method"] = self.parser.get_method().decode("ascii")
        version = self.parser.get_http_version()
        if version != "1.1":
            scope["http_version"] = version
        if url[:1] == b"/" and b"#" not in url:
            raw_path, _, query = url.partition(b"?")
        else:
            parsed = httptools.parse_url(url)
            raw_path, query = parsed.path, parsed.query or b""
        path = raw_path.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = raw_path
        scope["query_string"] = query
        scope["extensions"] = EXTENSIONS
        former = self.cycle
        self.cycle = cycle = self._cycle(scope, keep_alive=version != "1.0" and self.parser.should_keep_alive())
        if former is None or former.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def _cycle(self, scope: Any, *, keep_alive: bool) -> Cycle:
        return Cycle(
            scope,
            self.transport,
            self.flow,
            self.logger,
            self.access_logger,
            self.access_log,
            self.server_state.default_headers,
            asyncio.Event(),
            self.expect_100_continue,
            keep_alive,
            self.on_response_complete,
        )


class Cycle(RequestResponseCycle):
    """One request and its answer: uvicorn's, but for whole answers."""

    async def receive(self) -> Any:
        """As uvicorn's; a body that came with its head is handed out from where the protocol left it, and kept nowhere else."""
        body = self.scope["state"].pop("body", None)
        if body is None:
            return await super().receive()
        self.message_event.clear()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Any) -> None:
        """As uvicorn's; a whole answer is one write."""
        if message["type"] != WHOLE_ANSWER:
            await super().send(message)
            if self.response_complete:
                self.scope["state"].pop("body", None)  # of one that was refused before it was read
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_started:
            raise RuntimeError("a whole answer was sent after another one began")
        headers = [*self.default_headers, *message["headers"]]
        if (b"connection", b"close") in headers:
            self.keep_alive = False
        elif not self.keep_alive:
            headers.append((b"connection", b"close"))
        head = b"".join([b"%b: %b\r\n" % field for field in headers])
        if head.count(b"\n") != len(headers):
            raise RuntimeError("a line break in a header field")
        self.response_started = self.response_complete = True
        self.scope["state"].pop("body", None)
        self.waiting_for_100_continue = False
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[message["status"]], head, message["body"]))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
