"""The composition root: builds the pod from its settings, runs it in one event loop, and ends it in order.

Two uvicorn servers share the loop: the data port (with the internal token) and the internal port (probes, metrics, status).
SIGTERM or SIGINT: unready at once, still serving for `drain_delay_s` while gateways hear of it, requests in flight are answered
within `drain_s`, then every R process ends, exit 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from scorer.core.limits import PoolLimits
from scorer.core.pool import Pool
from scorer.core.upkeep import UpkeepLimits
from scorer.middleware import InternalToken
from scorer.routes.data import Dispatch, data_routes
from scorer.routes.infer import Infer, deliver
from scorer.routes.internal import internal_routes
from scorer.settings import PREFIX, ScorerSettings
from scorer.shell import processes
from scorer.shell.environment import allowed_cores
from scorer.shell.keys import TokenCheck
from scorer.shell.metrics import ScorerMetrics
from scorer.shell.process import WorkerLimits
from scorer.shell.run_folder import RunFolder
from scorer.shell.store import Store
from scorer.shell.versions import Versions
from scorer.shell.workers import Workers
from shared import serving
from shared.http_server import WholeProtocol
from shared.tracing_settings import tracer_of

if TYPE_CHECKING:
    from scorer.shell.tracing import CallTracing

log = structlog.get_logger()
_TICK_S = 0.2
_SWEEP_S = 2.0


class Pod:
    """Everything one scorer process holds. Build it inside the running loop."""

    def __init__(self, settings: ScorerSettings, folder: RunFolder) -> None:
        """Raises ValueError where a setting names a file or folder that cannot be used; it names both."""
        self.settings = settings
        with _named("GATEWAY_KEYS_FILE", settings.gateway_keys_file):
            self.tokens = TokenCheck(Path(settings.gateway_keys_file))
        slots = settings.workers or allowed_cores()
        self.folder = folder
        run_dir = folder.path
        cache = Path(settings.cache_dir).absolute() if settings.cache_dir else run_dir / "cache"
        self.metrics = ScorerMetrics()
        self.pool = Pool(_pool_limits(settings, slots))
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
        self.workers = Workers(self.pool, limits, self.metrics, deliver)
        pod = settings.pod_name or socket.gethostname()
        with _named("CACHE_DIR" if settings.cache_dir else "RUN_DIR", cache):
            store = Store(settings.store_url, cache)
        self.versions = Versions(settings, store, self.workers, self.metrics, run_dir, slots, pod)
        self.tracing = call_tracing(settings)
        if self.tracing is not None:
            self.workers.on_run = self.tracing.ran
        self.infer = Infer(self.workers, self.metrics, settings.max_body_bytes, self.tracing)
        self.data_app: ASGIApp = InternalToken(
            Dispatch(self.infer, _starlette(data_routes(self.versions, self.infer))), self.tokens
        )
        self.look = asyncio.Event()
        self.internal_app: ASGIApp = _starlette(internal_routes(self.versions, self.workers, self.metrics, self._look))

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

    def drain(self) -> None:
        """Unready: no new calls, please; those that come are served for as long as the port is open."""
        log.info("scorer.draining", open_calls=self.pool.open_calls)
        self.versions.drain()

    async def close(self) -> None:
        """End every R process and remove the run folder."""
        self.workers.perform(self.pool.shut(time.monotonic()))
        await self.versions.close()
        await asyncio.to_thread(self.folder.remove)
        if self.tracing is not None:
            await self.tracing.tracer.close()
        await asyncio.to_thread(processes.kill_children)  # what model code had started and nobody has swept yet


@contextlib.contextmanager
def _named(setting: str, path: str | Path) -> Iterator[None]:
    """What is wrong with a file or folder is said with the setting that names it: raises ValueError."""
    try:
        yield
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ValueError(f"{PREFIX}{setting}: {path}: {why}") from error


def _pool_limits(settings: ScorerSettings, slots: int) -> PoolLimits:
    return PoolLimits(
        slots,
        max_waiting_rows=settings.queue_rows,
        max_held_bytes=settings.held_bytes,
        max_run_rows=settings.max_run_rows,
        idle_s=settings.worker_idle_s,
        large_rows=settings.large_rows,
        large_piece_s=settings.large_piece_ms / 1000,
        large_workers=max(min(2, slots), int(settings.large_share * slots)),
        max_runs=settings.refork_runs,
        measure_s=settings.refork_check_s,
        upkeep=UpkeepLimits(probe_s=settings.worker_probe_s),
    )


def call_tracing(settings: ScorerSettings) -> CallTracing | None:
    """The maker of traces, where a collector is named; the extra is imported for it alone. Raises ValueError without it."""
    if (tracer := tracer_of(settings)) is None:
        return None
    from scorer.shell.tracing import CallTracing  # noqa: PLC0415

    return CallTracing(tracer)


def _starlette(routes: list[Route]) -> Starlette:
    async def refuse(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        detail = str(error.detail) if isinstance(error, HTTPException) else "Something went wrong on our side."
        code = {404: "not_found", 405: "method_not_allowed"}.get(status, "internal_error")
        return JSONResponse({"error": detail, "code": code}, status_code=status)

    return Starlette(routes=routes, exception_handlers={HTTPException: refuse, Exception: refuse})


async def serve(settings: ScorerSettings) -> int:
    """Run the pod until SIGTERM or SIGINT; the exit code."""
    processes.become_unreadable()
    processes.become_subreaper()
    data = serving.listen(settings.host, settings.port)
    internal = serving.listen(settings.internal_host, settings.internal_port)
    with _named("RUN_DIR", settings.run_dir or "/tmp"):  # noqa: S108 - what the folder itself takes
        made = RunFolder(settings.run_dir)
    with made as folder:  # removed after a failed start, too
        return await _run(Pod(settings, folder), data, internal)


async def _run(pod: Pod, data: socket.socket, internal: socket.socket) -> int:
    if pod.tracing is not None:
        pod.tracing.tracer.start()
    log.info("scorer.starting", slots=pod.pool.limits.slots)
    try:
        code = await serving.serve(
            "scorer",
            (pod.data_app, data),
            (pod.internal_app, internal),
            on_drain=pod.drain,
            drain_delay_s=pod.settings.drain_delay_s,
            drain_s=pod.settings.drain_s,
            background=(pod.poll_store(), pod.tick()),
            http=WholeProtocol,
        )
    finally:
        await pod.close()
    log.info("scorer.stopped")
    return code
