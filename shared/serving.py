"""Two uvicorn servers in one event loop, public and internal, and the order in which they stop.

Both services start and end the same way: bind, announce on stdout, serve; on SIGTERM or SIGINT become unready, keep serving
for the drain delay (routing needs time to follow), stop accepting, let requests in flight end within `drain_s`, and only then
stop the internal port, so that probes and metrics can be read to the last. uvicorn's own signal handling is left out: two
servers would fight over it.

No request is lost in this, whoever sends it. From the signal on every answer says `Connection: close`, so clients leave before
the port closes instead of having their next request cut off. Closing a listening socket resets the connections that the
kernel has accepted and we have not: they are taken first, and a connection without a request so far is given a moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from typing import Any

import msgspec
import structlog
import uvicorn

from shared.accept import Acceptor
from shared.asgi import BEGINNINGS

log = structlog.get_logger(__name__)
#: Objects more than are gone until the young are gone through, and how often that is until older ones are.
_GC = (10_000, 20, 20)
#: As many as the kernel lets wait (net.core.somaxconn): who finds no place there comes again a second later.
_BACKLOG = 65_535
#: What a connection just made is given to send its request before it is closed.
_LAST_CALL_S = 0.5


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does; and all connections that wait are taken at once."""
        await super().startup(sockets)
        self._acceptors = [Acceptor(sock, self._protocol) for sock in sockets or []]
        for acceptor in self._acceptors:
            acceptor.start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes what waits to be accepted and stops listening in one step, hears it out, then as uvicorn does."""
        loop = asyncio.get_running_loop()
        for acceptor in self._acceptors:
            acceptor.stop()
        taken: list[socket.socket] = []
        for sock in sockets or []:
            with contextlib.suppress(OSError):  # BlockingIOError: nobody waits any more
                while True:
                    taken.append(sock.accept()[0])
        for server in self.servers:
            server.close()
        for connection in taken:
            connection.setblocking(False)
            await loop.connect_accepted_socket(self._protocol, connection)
        until = loop.time() + _LAST_CALL_S
        while loop.time() < until and any(  # noqa: ASYNC110 - uvicorn tells nobody of requests that begin
            getattr(connection, "cycle", None) is None for connection in self.server_state.connections
        ):
            await asyncio.sleep(0.01)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        kind: Any = self.config.http_protocol_class
        made: asyncio.Protocol = kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        return made


class _Leaving:
    """Lets an ASGI app's answers say `Connection: close` once it is told to."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.leaving = False

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        """Not a coroutine of its own: each would be resumed as often as what it awaits."""

        async def last(message: Any) -> None:
            if self.leaving and message["type"] in BEGINNINGS:
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        answering: Awaitable[None] = self._app(scope, receive, last)
        return answering


def listen(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A listening TCP socket; port 0 picks a free one. Raises OSError that names the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    sock.setblocking(False)
    return sock


def url_of(sock: socket.socket) -> str:
    """`http://host:port` of a listening socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _server(app: Any, drain_s: float, **options: Any) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_keep_alive=75,
            timeout_graceful_shutdown=max(1, round(drain_s)),
            **options,
        )
    )


async def unless_stopped(start: Coroutine[Any, Any, None]) -> bool:
    """Whether what starts has started: False if SIGTERM or SIGINT came first, which gives it up. Raises what it raises."""
    loop = asyncio.get_running_loop()
    starting = asyncio.ensure_future(start)
    signals = (signal.SIGTERM, signal.SIGINT)
    asked = False

    def stop() -> None:
        nonlocal asked
        asked = True
        starting.cancel()

    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        await starting
    except asyncio.CancelledError:
        if not asked:
            raise
    # The handlers stay until `serve` sets its own: a signal in between must not kill.
    return not asked


async def serve(
    service: str,
    public: tuple[Any, socket.socket],
    internal: tuple[Any, socket.socket],
    *,
    on_drain: Callable[[], None],
    drain_delay_s: float = 0.0,
    drain_s: float,
    background: Iterable[Coroutine[Any, Any, None]] = (),
    **options: Any,
) -> int:
    """Serve both ASGI apps on their listening sockets until a signal has been obeyed: 0, or 1 if something ended by itself.

    `on_drain` is called first when a signal comes (readiness goes off there); a second signal ends the wait for requests in
    flight. `background` runs for as long as the servers do; none of it should ever end. `options` go to the public server's
    uvicorn.Config. Announces itself with one JSON line on stdout.
    """
    # What start-up made stays: leaving it out of every later collection saves pauses of tens of milliseconds.
    gc.collect()
    gc.freeze()
    # What requests make is let go by its last reference; with the default, what is in flight alone is gone through all the time.
    gc.set_threshold(*_GC)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    app = _Leaving(public[0])
    outer, inner = _server(app, drain_s, **options), _server(internal[0], 1.0)

    def asked() -> None:
        if stop.is_set():
            outer.force_exit = True
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    serving = asyncio.create_task(outer.serve(sockets=[public[1]]))
    serving_inside = asyncio.create_task(inner.serve(sockets=[internal[1]]))
    beside = [asyncio.create_task(coroutine) for coroutine in background]
    line = {"event": "listening", "service": service, "url": url_of(public[1]), "internal_url": url_of(internal[1])}
    # One write: several processes may share the pipe, and print() writes the end of the line apart when unbuffered.
    sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    sys.stdout.flush()
    stopping = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait({stopping, serving, serving_inside, *beside}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopping}:
            log.critical(f"{service}.broken", part=task.get_name(), exc_info=task.exception())
        on_drain()
        app.leaving = True
        if drain_delay_s and not serving.done():
            await asyncio.wait({serving}, timeout=drain_delay_s)
        outer.should_exit = True
        await asyncio.wait({serving}, timeout=drain_s + 1)
        inner.should_exit = True
        await asyncio.wait({serving_inside}, timeout=2)
    finally:
        for task in (stopping, *beside):
            task.cancel()
        await asyncio.gather(stopping, *beside, return_exceptions=True)
    return 0 if stopping in done else 1
