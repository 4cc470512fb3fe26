"""Starts, watches and stops the processes of a stack, so that none of them outlives it.

Facts that force the shape:
* Every process leads its own session: a Ctrl-C on the terminal reaches only us, and we stop the services in order.
* A service has children (gateway processes, R). Killing its first process does not kill them; killing its group does.
* We may be killed with SIGKILL and then run no code. So a guard, a shell in a session of its own, holds the read end
  of a pipe of ours. The kernel closes the pipe however we end; the guard then kills every group that is still listed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import msgspec

from devkit.logs import Log

T = TypeVar("T")

_TAIL_LINES = 25
_LONGEST_LINE = 4 * 1024 * 1024
_GUARD = """
trap '' INT TERM HUP
groups=' '
while read -r order group; do
    case $order in
        add) groups="$groups-$group " ;;
        drop) groups="${groups%%" -$group "*} ${groups#*" -$group "}" ;;
    esac
done
for group in $groups; do kill -s KILL -- "$group" 2>/dev/null; done
"""


class ProcessEndedError(Exception):
    """A process ended that should not have. `tail` holds its last lines; `code` is negative for a signal."""

    def __init__(self, name: str, code: int, tail: Sequence[str]) -> None:
        """What `subprocess` gave."""
        self.name, self.code, self.tail = name, code, tuple(tail)
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        super().__init__(f"{name} {how}")


class Process:
    """One started process; made by `Processes.start`."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Log) -> None:
        """Reads both of its pipes from now on, in the running event loop."""
        self.name = name
        self.pid = popen.pid
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._popen = popen
        self._log = log
        self._listening: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._pumps = [asyncio.create_task(self._pump(pipe)) for pipe in (popen.stdout, popen.stderr) if pipe]
        self._exited = asyncio.Event()
        self._pidfd = os.pidfd_open(popen.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._popen.wait()
        self._exited.set()

    async def _pump(self, pipe: IO[bytes]) -> None:
        stream = asyncio.StreamReader(limit=_LONGEST_LINE)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), pipe)
        try:
            while True:
                try:
                    raw = await stream.readline()
                except ValueError:  # longer than any line should be: the reader has dropped it
                    raw = b"(a line of more than 4 MiB)\n"
                if not raw:
                    return
                text = raw.decode(errors="replace").rstrip("\r\n")
                if (line := parse_listening(text)) is not None:
                    self._listening.put_nowait(line)
                else:
                    self.tail.append(text)
                self._log.line(self.name, text)
        finally:
            transport.close()

    async def ended(self) -> int:
        """Its exit code, once all it wrote has been read (or after a second more, if a child of it keeps its pipes)."""
        await self._exited.wait()
        await asyncio.wait(self._pumps, timeout=1)
        return self._popen.returncode

    async def listening(self, count: int = 1) -> list[dict[str, Any]]:
        """The first `count` lines in which it said that it listens; raises ProcessEndedError if it ends before."""
        return [await self.unless_ended(self._listening.get()) for _ in range(count)]

    async def unless_ended(self, wanted: Coroutine[Any, Any, T]) -> T:
        """What `wanted` gives; raises ProcessEndedError if this process ends first."""
        work = asyncio.create_task(wanted)
        end = asyncio.create_task(self.ended())
        try:
            await asyncio.wait((work, end), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ProcessEndedError(self.name, end.result(), self.tail)
            return await work
        finally:
            for task in (work, end):
                task.cancel()

    def signal(self, number: int, *, group: bool = False) -> None:
        """To the process, or to its whole group; nothing if it is gone."""
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(self.pid, number)
            elif not self._exited.is_set():
                os.kill(self.pid, number)

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, and after `grace_s` SIGKILL; then whatever is left of its group."""
        self.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._exited.wait(), grace_s)
        self.signal(signal.SIGKILL, group=True)
        await self.ended()
        for pump in self._pumps:
            pump.cancel()


class Processes:
    """All processes of one stack, in the order of their start. A context: leaving it stops them, last one first."""

    def __init__(self, log: Log, grace_s: float = 10.0) -> None:
        """`grace_s`: what each has between SIGTERM and SIGKILL."""
        self._log = log
        self._grace_s = grace_s
        self._running: list[Process] = []
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> Process:
        """Starts `argv` in a session of its own, with exactly this environment and no standard input."""
        popen = subprocess.Popen(
            argv,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self._tell_guard("add", popen.pid)
        started = Process(name, popen, self._log)
        self._running.append(started)
        return started

    async def run(self, name: str, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        """Starts `argv` and waits for its end; raises ProcessEndedError unless that is 0."""
        process = self.start(name, argv, env, cwd)
        code = await process.ended()
        self._forget(process)
        if code:
            raise ProcessEndedError(name, code, process.tail)

    @property
    def sessions(self) -> dict[str, int]:
        """Process id (and session id) by name."""
        return {process.name: process.pid for process in self._running}

    async def one_ended(self) -> ProcessEndedError:
        """Waits until any of them has ended, and says which. It is then no longer one of the running."""
        watches = {asyncio.create_task(process.ended()): process for process in self._running}
        try:
            done, _ = await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for watch in watches:
                watch.cancel()
        first = done.pop()
        process = watches[first]
        self._forget(process)
        return ProcessEndedError(process.name, first.result(), process.tail)

    def kill(self) -> None:
        """SIGKILL to every group, now."""
        for process in self._running:
            process.signal(signal.SIGKILL, group=True)

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops everything in reverse order of its start, then lets the guard go."""
        while self._running:
            process = self._running[-1]
            await process.stop(self._grace_s)
            self._forget(process)
        if self._guard.stdin:
            self._guard.stdin.close()
        await asyncio.to_thread(self._guard.wait)

    def _forget(self, process: Process) -> None:
        process.signal(signal.SIGKILL, group=True)
        self._running.remove(process)
        self._tell_guard("drop", process.pid)

    def _tell_guard(self, order: str, group: int) -> None:
        if self._guard.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.write(f"{order} {group}\n".encode())
                self._guard.stdin.flush()


def parse_listening(text: str) -> dict[str, Any] | None:
    """What a service prints once its ports listen: `{"event": "listening", "service": …, "url": …, …}`."""
    if not (text.startswith("{") and '"listening"' in text):
        return None
    with contextlib.suppress(msgspec.DecodeError):
        line = msgspec.json.decode(text)
        if isinstance(line, dict) and line.get("event") == "listening":
            return line
    return None
