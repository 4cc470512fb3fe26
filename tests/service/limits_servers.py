"""Real Redis servers for the limiter's tests: one on a unix socket, one that is a whole cluster of one node."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import eventually

needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")


class RedisServer:
    """A redis-server in `folder`, which must have a short path. Keeps nothing on disk but a cluster's own config."""

    def __init__(self, folder: Path, *, cluster: bool = False) -> None:
        self.folder = folder
        self.cluster = cluster
        self.socket = folder / "redis.sock"
        self.port = _free_port() if cluster else 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What a gateway would be given; for the cluster without saying that it is one."""
        return f"redis://127.0.0.1:{self.port}/0" if self.cluster else f"unix://{self.socket}"

    def start(self) -> None:
        """Returns when it answers; another port if its port was taken meanwhile."""
        for _ in range(5):
            self._spawn()
            try:
                eventually(self._answers, within_s=10, what="redis-server answers")
            except AssertionError:
                if not self.cluster or self.process is None or self.process.poll() is None:
                    raise
                self.port = _free_port()
                continue
            break
        if self.cluster and b"cluster_state:ok" not in self.cli("CLUSTER", "INFO"):
            self.cli("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            eventually(lambda: b"cluster_state:ok" in self.cli("CLUSTER", "INFO"), what="the cluster is whole")

    def cli(self, *command: str) -> bytes:
        """What redis-cli prints."""
        where = ["-h", "127.0.0.1", "-p", str(self.port)] if self.cluster else ["-s", str(self.socket)]
        return subprocess.run(["redis-cli", *where, *command], capture_output=True, check=False, timeout=10).stdout

    def kill(self) -> None:
        """SIGKILL, as a lost machine would be; nothing was saved."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
            self.socket.unlink(missing_ok=True)

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _spawn(self) -> None:
        options = ["--save", "", "--appendonly", "no", "--dir", str(self.folder), "--daemonize", "no"]
        if self.cluster:
            options += ["--port", str(self.port), "--bind", "127.0.0.1", "--cluster-enabled", "yes"]
            options += ["--cluster-port", str(_free_port()), "--cluster-config-file", "nodes.conf"]
        else:
            options += ["--port", "0", "--unixsocket", str(self.socket)]
        log = (self.folder / "redis.log").open("ab")
        with log:
            self.process = subprocess.Popen(["redis-server", *options], stdout=log, stderr=log)

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise OSError((self.folder / "redis.log").read_text("utf-8", "replace")[-2000:])
        return self.cli("PING").strip() == b"PONG"


@contextmanager
def running(folder: Path, *, cluster: bool = False) -> Iterator[RedisServer]:
    """A started server, killed at the end."""
    server = RedisServer(folder, cluster=cluster)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
