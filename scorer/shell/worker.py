"""One worker's socket: frames out, frames in, one at a time over one kept connection."""

from __future__ import annotations

from shared.http_client import Connection, OnReply, Reply

_PING = b"GET /ping HTTP/1.1\r\nHost: worker\r\n\r\n"


class WorkerConnection(Connection):
    """To the Plumber of one R worker."""

    def predict(self, body: bytes, rows: int, on_reply: OnReply) -> None:
        """Send one frame. Only when no other reply is due."""
        self.send(prediction(body, rows), on_reply)

    def ping(self, on_reply: OnReply) -> None:
        """Ask whether it answers."""
        self.send(_PING, on_reply)


def prediction(body: bytes, rows: int) -> bytes:
    """The request that a frame of so many rows is sent as."""
    head = b"POST /predict HTTP/1.1\r\nHost: worker\r\nX-Rows: %d\r\nContent-Length: %d\r\n\r\n"
    return head % (rows, len(body)) + body


def rows_of(reply: Reply) -> int:
    """`X-Rows`; -1 if it is missing or no number."""
    text = reply.headers.get(b"x-rows", b"")
    return int(text) if text.isdigit() and len(text) < 12 else -1
