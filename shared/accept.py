"""Takes all the connections that wait, not one per turn of the event loop as uvloop does (libuv since 1.45).

A busy loop has some twenty turns a second, so under load new connections would wait for seconds in the kernel's queue, each with
its request in it, while those that are open are served. Works beside uvloop's own listener, on a copy of its descriptor.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Final

#: In one turn of the loop, some 15 ms of work, so that what is open gets its own. With 32 a crowd of newcomers filled the kernel's
#: queue, and who found no place there came again after a second.
MOST_PER_TURN: Final = 256
#: Without a free descriptor the queue stays readable: look again after so long instead of at once.
_PAUSE_S: Final = 0.1


class Acceptor:
    """From `start` to `stop`, in one event loop. `make` gives a protocol for each connection."""

    def __init__(self, listening: socket.socket, make: Callable[[], asyncio.Protocol]) -> None:
        self._sock = listening.dup()
        self._sock.setblocking(False)
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[object]] = set()
        self._pause: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Take connections from now on."""
        self._pause = None
        self._loop.add_reader(self._sock, self._take)

    def stop(self) -> None:
        """Take no more. A second call changes nothing."""
        if self._sock.fileno() < 0:
            return
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def _take(self) -> None:
        for _ in range(MOST_PER_TURN):
            try:
                taken, _address = self._sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
                    raise
                self._loop.remove_reader(self._sock)
                self._pause = self._loop.call_later(_PAUSE_S, self.start)
                return
            self.serve(taken)

    def serve(self, taken: socket.socket) -> None:
        """Serve a connection that was accepted."""
        taken.setblocking(False)
        task: asyncio.Task[object] = self._loop.create_task(self._connect(taken))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, taken: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, taken)
        except OSError:  # gone already
            taken.close()
