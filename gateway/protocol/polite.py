"""A connection's transport as uvicorn uses it, and how it is closed: so that the client sees its answer, and not for ever.

Closing a socket with unread input resets it. So where the client may have more to say the connection is shut for writing, what
still comes is thrown away for a moment, and only then it is closed; a client that takes nothing of its answer is cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, Protocol


class Ends(Protocol):
    """The connection that ends."""

    #: Seconds for which input is thrown away.
    linger_timeout_s: ClassVar[float]
    #: Seconds in which a client must take some of its answer.
    stall_timeout_s: ClassVar[float]

    def end_input(self) -> bool:
        """From now on what comes is thrown away. Whether the client has nothing more to say."""

    def start(self, name: str, after_s: float, then: Callable[[], None]) -> None:
        """A timer, unless it runs already."""


class Polite(asyncio.Transport):
    """Passes on all but closing."""

    def __init__(self, raw: asyncio.Transport, connection: Ends) -> None:
        super().__init__()
        self._raw = raw
        self._connection = connection
        self._closing = False
        self._unsent = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._raw.write(data)

    def close(self) -> None:
        """At once if all input was read, else after lingering."""
        if self.is_closing():
            return
        self._closing = True
        if self._connection.end_input():
            self._raw.close()
            self.watch_output()
            return
        if self._raw.can_write_eof():
            self._raw.write_eof()
        self._connection.start("linger", self._connection.linger_timeout_s, self._lingered)

    def is_closing(self) -> bool:
        """Whether nothing more may be written."""
        return self._closing or self._raw.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._raw.get_extra_info(name, default)

    def watch_output(self) -> None:
        """There is output that the client has not taken yet: it must take some of it in time."""
        self._unsent = self._raw.get_write_buffer_size()
        if self._unsent:
            self._connection.start("stall", self._connection.stall_timeout_s, self._stalled)

    def _lingered(self) -> None:
        if self._raw.get_write_buffer_size():
            self.watch_output()
            self._connection.start("linger", self._connection.linger_timeout_s, self._lingered)
        else:
            self._raw.close()

    def _stalled(self) -> None:
        if self._raw.get_write_buffer_size() >= self._unsent:
            self._raw.abort()
        else:
            self.watch_output()
