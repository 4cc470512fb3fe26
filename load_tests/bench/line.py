"""One connection, one request at a time, straight over a socket: what the fewest instructions of ours can measure.

The same code asks the gateway over TCP and a worker over its unix socket, so that the difference of two medians is the
difference of the two ways and not of two clients. Answers must have a Content-Length.
"""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer, and how long it took from the first byte sent to the last one read."""

    status: int
    body: bytes
    seconds: float


class Line:
    """A kept connection to an address of this machine, `http://127.0.0.1:PORT` or the path of a unix socket. A context."""

    def __init__(self, address: str, timeout_s: float = 60.0) -> None:
        """Raises OSError if nothing listens there, ValueError for another machine's address."""
        if address.startswith("/"):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(timeout_s)
            self._socket.connect(address)
            return
        host, _, port = address.removeprefix("http://").partition(":")
        if host != "127.0.0.1":
            raise ValueError(f"{address} is not this machine: load goes to the loopback interface only")
        self._socket = socket.create_connection((host, int(port)), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> Heard:
        """Send one request and wait for its answer. Raises OSError if the connection ends before."""
        began = time.perf_counter()
        self._socket.sendall(request)
        data = self._read()
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._read()
        found = _LENGTH.search(data, 0, end + 2)
        if found is None:
            raise ValueError(f"an answer without Content-Length: {data[:end]!r}")
        whole = end + 4 + int(found[1])
        parts, have = [data], len(data)
        while have < whole:
            parts.append(self._read())
            have += len(parts[-1])
        took = time.perf_counter() - began
        return Heard(int(data[9:12]), b"".join(parts)[end + 4 :], took)

    def _read(self) -> bytes:
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the connection was closed in the middle of an answer")
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
