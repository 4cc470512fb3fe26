"""When what is read now had come: a busy process reads a head long after it was there, and the request began then.

The kernel knows (tcp(7), TCP_INFO), of a head as of a connection that waited to be accepted.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final

#: With fewer requests in hand a head is read as soon as it is there, but for some 10 ms: not worth a system call for each.
MANY: Final = 128
_TCP_INFO: Final[int | None] = getattr(socket, "TCP_INFO", None)
#: Milliseconds since data last came, in struct tcp_info (linux/tcp.h), and as much of it as is needed.
_LAST_DATA_RECV: Final = struct.Struct("=52xI")


class Arrival:
    """Of one connection, whose end must be told with `over`."""

    __slots__ = ("_socket", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._socket: socket.socket | None = None  # the transport's: it is the transport that closes it

    def waited_s(self) -> float:
        """For how long the head has been here unread. Where the system does not tell, 0."""
        if _TCP_INFO is None:
            return 0.0
        try:
            if self._socket is None:  # uvloop's own would make a new one for each question
                theirs = self._transport.get_extra_info("socket")
                self._socket = socket.socket(theirs.family, theirs.type, theirs.proto, fileno=theirs.fileno())
            told = self._socket.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _LAST_DATA_RECV.size)
            milliseconds: int = _LAST_DATA_RECV.unpack(told)[0]
        except (OSError, AttributeError, struct.error):  # a unix socket, or none
            return 0.0
        return milliseconds / 1000

    def over(self) -> None:
        """The transport closes its socket, and this asks nothing more."""
        if self._socket is not None:
            self._socket.detach()
            self._socket = None
