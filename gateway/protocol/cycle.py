"""One request and its answer, as uvicorn sees them; an answer may come in one message (`shared.asgi`)."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from shared.asgi import WHOLE_ANSWER


class Cycle(RequestResponseCycle):
    """uvicorn's, but for whole answers.

    uvicorn takes an answer's start and its body apart and looks at each header's every byte: a fifth of what a scoring request
    cost this process.
    """

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
