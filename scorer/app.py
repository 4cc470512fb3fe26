"""The composition root: builds the pod from its settings, runs it in one event loop, and ends it in order.

Two uvicorn servers share the loop: the data port (with the internal token) and the internal port (probes, metrics, status).
SIGTERM or SIGINT: unready at once, requests in flight are answered within `drain_s`, then every R process ends, exit 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from scorer.core.pool import Answer, Pool, PoolLimits
from scorer.middleware import InternalToken
from scorer.routes import Infer, data_routes, deliver, internal_routes
from scorer.settings import ScorerSettings
from scorer.shell import processes
from scorer.shell.environment import allowed_cores
from scorer.shell.keys import TokenCheck
from scorer.shell.metrics import ScorerMetrics
from scorer.shell.store import Store
from scorer.shell.versions import Versions
from scorer.shell.workers import WorkerLimits, Workers

log = structlog.get_logger()
_TICK_S = 0.2
_SWEEP_S = 2.0


class Pod:
    """Everything one scorer process holds. Build it inside the running loop."""

    def __init__(self, settings: ScorerSettings) -> None:
        """Raises OSError or ValueError where a setting names a file or folder that cannot be used."""
        self.settings = settings
        self.tokens = TokenCheck(Path(settings.gateway_keys_file))
        slots = settings.workers or allowed_cores()
        run_dir = _run_dir(settings.run_dir)
        cache = Path(settings.cache_dir) if settings.cache_dir else run_dir / "cache"
        self.metrics = ScorerMetrics()
        self.pool = Pool(PoolLimits(slots, settings.queue_rows, settings.max_run_rows, settings.worker_idle_s))
        self.metrics.watch(self.pool, time.monotonic)
        limits = WorkerLimits(
            start_s=settings.worker_start_s,
            predict_s=settings.max_predict_s,
            grace_s=settings.predict_grace_s,
            ping_s=settings.ping_s,
            headroom_bytes=settings.worker_headroom_mib * 1024 * 1024,
            file_bytes=settings.worker_file_mib * 1024 * 1024,
            answer_bytes=4 * settings.max_body_bytes,
        )
        self.workers = Workers(self.pool, limits, self.metrics, _deliver)
        pod = settings.pod_name or socket.gethostname()
        store = Store(settings.store_url, cache)
        self.versions = Versions(settings, store, self.workers, self.metrics, run_dir, slots, pod)
        self.infer = Infer(self.workers, self.metrics, settings.max_body_bytes)
        self.data_app: ASGIApp = InternalToken(_starlette(data_routes(self.versions, self.infer)), self.tokens)
        self.look = asyncio.Event()
        self.internal_app: ASGIApp = _starlette(
            internal_routes(self.versions, self.workers, self.metrics, lambda: self.infer.draining, self._look)
        )

    def _look(self) -> None:
        """An operator asks: look into the store now, and try again what could not be served."""
        self.versions.retry()
        self.look.set()

    async def poll_store(self) -> None:
        """For ever: what the store has, every `poll_s` seconds or when asked to look. Sooner at first while it is away."""
        failed = 0
        while True:
            self.look.clear()
            await self.versions.poll()
            failed = 0 if self.versions.store_error is None else failed + 1
            pause_s = self.settings.poll_s
            if failed:  # 0.5, 1, 2, ... seconds, each up to a quarter less: many pods do not ask in step
                pause_s = min(pause_s, 0.5 * 2.0 ** min(failed - 1, 10)) * random.uniform(0.75, 1.0)  # noqa: S311
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.look.wait(), pause_s)

    async def tick(self) -> None:
        """For ever: what time brings."""
        unknown: set[int] = set()
        swept = refreshed = time.monotonic()
        while True:
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            self.workers.tick()
            self.versions.tick()
            if now - refreshed >= 1.0:
                refreshed = now
                self.tokens.refresh()
            if now - swept >= _SWEEP_S:
                swept, unknown = now, self._sweep(unknown)

    def _sweep(self, before: set[int]) -> set[int]:
        """Children nobody knows, twice in a row: what a dead worker's model code had started. They go."""
        known = self.workers.pids()
        strangers = processes.children() - known
        for pid in strangers & before:
            with contextlib.suppress(ProcessLookupError):
                if not processes.reap(pid):
                    log.warning("scorer.stranger.killed", pid=pid)
                    processes.kill(pid)
        return strangers

    async def close(self) -> None:
        """End every R process and remove the run folder."""
        self.workers.perform(self.pool.shut(time.monotonic()))
        await self.versions.close()


def _deliver(answer: Answer) -> None:
    deliver(answer)


def _run_dir(setting: str) -> Path:
    if not setting:
        return Path(tempfile.mkdtemp(prefix="sg-", dir="/tmp"))  # short, and private by mkdtemp
    root = Path(setting)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="", dir=root))


def _starlette(routes: list[Route]) -> Starlette:
    async def refuse(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        detail = str(error.detail) if isinstance(error, HTTPException) else "Something went wrong on our side."
        code = {404: "not_found", 405: "method_not_allowed"}.get(status, "internal_error")
        return JSONResponse({"error": detail, "code": code}, status_code=status)

    return Starlette(routes=routes, exception_handlers={HTTPException: refuse, Exception: refuse})


class _Server(uvicorn.Server):
    """A uvicorn server beside another: signals are the pod's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None are captured."""
        yield


def _server(app: ASGIApp, drain_s: float) -> _Server:
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        proxy_headers=False,
        loop="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, round(drain_s)),
        backlog=1024,
    )
    return _Server(config)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(1024)
    except OSError as error:
        sock.close()
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    sock.setblocking(False)
    return sock


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.asynccontextmanager
async def _background(*coroutines: object) -> AsyncIterator[asyncio.Task[object]]:
    """Tasks for as long as the block lasts. Yields one that ends if any of them does: none ever should."""
    tasks = [asyncio.ensure_future(c) for c in coroutines]  # type: ignore[call-overload]
    try:
        yield asyncio.ensure_future(asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def serve(settings: ScorerSettings) -> int:
    """Run the pod until SIGTERM or SIGINT; the exit code."""
    processes.become_subreaper()
    data, internal = _listen(settings.host, settings.port), _listen(settings.internal_host, settings.internal_port)
    pod = Pod(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    servers = [_server(pod.data_app, settings.drain_s), _server(pod.internal_app, 1)]
    serving = [
        asyncio.ensure_future(server.serve(sockets=[sock]))
        for server, sock in zip(servers, (data, internal), strict=True)
    ]
    code = 0
    try:
        async with _background(pod.poll_store(), pod.tick()) as broken:
            await _started(servers, serving)
            listening = {"event": "listening", "service": "scorer", "url": _url(data), "internal_url": _url(internal)}
            sys.stdout.write(msgspec.json.encode(listening).decode() + "\n")
            sys.stdout.flush()
            log.info("scorer.listening", url=_url(data), internal_url=_url(internal), slots=pod.pool.limits.slots)
            waiting = asyncio.ensure_future(stop.wait())
            done, _ = await asyncio.wait({waiting, broken, *serving}, return_when=asyncio.FIRST_COMPLETED)
            if waiting not in done:
                log.critical("scorer.broken", effect="the pod ends")
                code = 1
            log.info("scorer.draining", open_calls=pod.pool.open_calls)
            pod.infer.draining = True
            servers[0].should_exit = True
            for number in (signal.SIGTERM, signal.SIGINT):  # once more: at once
                loop.add_signal_handler(number, setattr, servers[0], "force_exit", True)
            await asyncio.wait({serving[0]}, timeout=settings.drain_s + 1)
            servers[1].should_exit = True
            await asyncio.wait({serving[1]}, timeout=2)
    finally:
        await pod.close()
    log.info("scorer.stopped")
    return code


async def _started(servers: list[_Server], serving: list[asyncio.Task[None]]) -> None:
    while not all(server.started for server in servers):
        if any(task.done() for task in serving):
            raise RuntimeError("a server did not start")
        await asyncio.sleep(0.005)
