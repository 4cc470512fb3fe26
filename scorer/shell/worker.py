"""One worker's socket: frames out, frames in, one at a time over one kept connection."""

from __future__ import annotations

import structlog

from shared.http_client import Connection, OnReply, Reply

log = structlog.get_logger()
_PING = b"GET /ping HTTP/1.1\r\nHost: worker\r\n\r\n"


class WorkerConnection(Connection):
    """To the Plumber of one R worker.

    An answer that is too large is read to its end and thrown away: its rows fail, the worker is well.
    """

    def predict(self, body: bytes, rows: int, on_reply: OnReply) -> None:
        """Send one frame. Only when no other reply is due."""
        self.send(prediction(body, rows), on_reply)

    def ping(self, on_reply: OnReply) -> None:
        """Ask whether it answers."""
        self.send(_PING, on_reply)

    def on_body(self, data: bytes) -> None:
        """A part of the body, if it has a place."""
        if self._reply is None and self._size + len(data) > self._max_body_bytes:
            self._size += len(data)
            self._body.clear()
            return
        super().on_body(data)

    def on_message_complete(self) -> None:
        """The answer is whole, or was too large."""
        if self._reply is None and self._size > self._max_body_bytes:
            log.warning("scorer.answer.too_large", bytes=self._size, most=self._max_body_bytes)
            text = (
                f"the answer is larger than {self._max_body_bytes} bytes (4 x SCORER_MAX_BODY_BYTES): send fewer rows"
            )
            self._reply = Reply(507, {**self._headers, b"x-error-code": b"answer_too_large"}, text.encode())
            self._keeps = self._parser.should_keep_alive()
            return
        super().on_message_complete()


def prediction(body: bytes, rows: int) -> bytes:
    """The request that a frame of so many rows is sent as."""
    head = b"POST /predict HTTP/1.1\r\nHost: worker\r\nX-Rows: %d\r\nContent-Length: %d\r\n\r\n"
    return head % (rows, len(body)) + body


def rows_of(reply: Reply) -> int:
    """`X-Rows`; -1 if it is missing or no number."""
    text = reply.headers.get(b"x-rows", b"")
    return int(text) if text.isdigit() and len(text) < 12 else -1
