"""Processes: one that serves, or several that share the public port (SO_REUSEPORT) under one that watches them.

Facts that force the shape: the kernel spreads connections over listening sockets by hash, so each process owns one; a
socket bound but not listening holds the port without taking connections, so port 0 is settled once for all. Only processes
of the same user may join the port. A child dies with its parent (PR_SET_PDEATHSIG), whatever killed it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping

import structlog
import uvloop

from gateway import app
from gateway.protocol import ProtectProtocol
from gateway.settings import GatewaySettings
from shared import serving
from shared.errors import ScoregateError

log = structlog.get_logger(__name__)
_PR_SET_PDEATHSIG = 1
_RESTART_S = 1.0
#: Descriptors besides the public connections: to scorers, Redis and Entra, and connections that are being refused.
_OTHER_FILES = 1_000


def run(settings: GatewaySettings, parts: app.Parts | None = None) -> None:
    """Serve until told to stop. Raises OSError where an address cannot be had."""
    uvloop.run(_serve(settings, parts))


async def _serve(settings: GatewaySettings, parts: app.Parts | None) -> None:
    _make_room(settings.max_connections)
    public = serving.listen(settings.host, settings.port, reuse_port=settings.reuse_port)
    internal = serving.listen(settings.internal_host, settings.internal_port)
    gateway = app.build(settings, parts)
    if not await serving.unless_stopped(gateway.start()):
        await gateway.close()
        return
    try:
        await serving.serve(
            "gateway",
            (gateway.public, public),
            (gateway.internal, internal),
            on_drain=gateway.drain,
            drain_delay_s=settings.drain_delay_s,
            drain_s=settings.drain_s,
            http=protocol(gateway),
        )
    finally:
        await gateway.close()


def protocol(gateway: app.Gateway) -> type[ProtectProtocol]:
    """What the public port speaks, with the gateway's bounds, door and counters."""

    class Protocol(ProtectProtocol):
        crowd = gateway.crowd
        door = gateway.door
        heads = gateway.entry.heads

        @staticmethod
        def on_refused(error: ScoregateError) -> None:
            gateway.metrics.heads_refused.labels(error.reason).inc()

        @staticmethod
        def leaving() -> bool:
            return gateway.draining

    return Protocol


def _make_room(connections: int) -> None:
    """As many descriptors as the connections need and this process may have; says so where that is fewer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    least = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (least, hard))
    if least < wanted:
        log.warning("gateway.descriptors.few", limit=least, wanted=wanted, connections=connections)


def run_several(settings: GatewaySettings, environ: Mapping[str, str]) -> int:
    """Start `settings.workers` processes on one port, start again those that die, stop all on SIGTERM; the exit status.

    Raises OSError and ValueError as `app.build` does, before any is started.
    """
    app.build(settings)  # otherwise each process would end with the same mistake, and be started again for ever
    holder = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind((settings.host, settings.port))
    port = holder.getsockname()[1]
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        for child in children.values():
            if child.poll() is None:
                child.terminate()

    children: dict[int, subprocess.Popen[bytes]] = {}

    def start(index: int) -> None:
        children[index] = _child(environ, port, settings.internal_port if index == 0 else 0)
        if stopping:  # `stop` may have come before this one was among the children
            children[index].terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for index in range(settings.workers):
        start(index)
    while not stopping:
        _wait_for_a_child()
        for index, child in children.items():
            if child.poll() is not None and not stopping:
                log.error("gateway.process.died", process=child.pid, status=child.returncode)
                time.sleep(_RESTART_S)
                start(index)
    # One that was stopped before it could catch signals has done nothing that would have to end in order.
    return max(0 if status == -signal.SIGTERM else abs(status) for status in [c.wait() for c in children.values()])


def _child(environ: Mapping[str, str], port: int, internal_port: int) -> subprocess.Popen[bytes]:
    own = {"GATEWAY_WORKERS": "1", "GATEWAY_PORT": str(port), "GATEWAY_INTERNAL_PORT": str(internal_port)}
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl

    def die_with_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return subprocess.Popen(
        [sys.executable, "-m", "gateway"],
        env={**environ, **own, "GATEWAY_REUSE_PORT": "true"},
        preexec_fn=die_with_parent,  # noqa: PLW1509  (no threads are running here)
        start_new_session=True,  # Ctrl-C reaches the parent only, which stops all in order
    )


def _wait_for_a_child() -> None:
    """Until one has ended or a signal came; without reaping it."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    except InterruptedError:
        return
    except ChildProcessError:
        return
