"""Two uvicorn servers in one event loop, public and internal, and the order in which they stop.

Both services start and end the same way: bind, announce on stdout, serve; on SIGTERM or SIGINT become unready, keep serving
for the drain delay (routing needs time to follow), stop accepting, let requests in flight end within `drain_s`, and only then
stop the internal port, so that probes and metrics can be read to the last. uvicorn's own signal handling is left out: two
servers would fight over it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

import msgspec
import structlog
import uvicorn

log = structlog.get_logger(__name__)
_BACKLOG = 2048


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


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
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    outer, inner = _server(public[0], drain_s, **options), _server(internal[0], 1.0)

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
