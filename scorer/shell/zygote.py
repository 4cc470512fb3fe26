"""One R process that holds a model version and forks workers on order; the protocol is described in scorer/r/R/zygote.R.

Orders are written to its stdin, answers are read from its stdout as lines, what R prints while it loads goes to the log,
bounded. A zygote has its own session and process group, and a guard that outlives us.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

from scorer.core.calls import Key
from scorer.shell.processes import Death, Guard, Watched, kill_group

log = structlog.get_logger()
_MAX_LINE = 16 * 1024
_MAX_STDERR_LINES = 200
_MAX_MISSES = 2


class ZygoteError(Exception):
    """The zygote could not load its version, or is gone; the message says why. `transient`: it may go well another time."""

    def __init__(self, message: str, *, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient


class Zygote:
    """A started R process. `loaded` first, then `fork` and `warm`; `close` ends it and every process of its group."""

    def __init__(
        self,
        key: Key,
        command: list[str],
        folder: Path,
        environment: dict[str, str],
        on_death: Callable[[Death], None],
    ) -> None:
        """Start it. `folder` is its own and is removed with it. Raises OSError if R cannot be started."""
        folder.mkdir(mode=0o700, parents=True)
        self.key = key
        self.folder = folder
        self.warnings: list[str] = []
        self.blas = ""
        self.closed = False
        self.misses = 0  # orders in a row that did not become a worker
        self._lines: deque[str] = deque(maxlen=20)
        self._stderr_lines = 0
        self._waiting: dict[str, asyncio.Future[list[str]]] = {}
        self._listeners: dict[str, Callable[[str, list[str]], None]] = {}
        self._loop = asyncio.get_running_loop()
        with _interrupts_blocked():
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                cwd=folder,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._guard = Guard(self.pid, folder)
        self._loaded: asyncio.Future[None] = self._loop.create_future()
        self.gone: asyncio.Future[Death] = self._loop.create_future()  # done when its death was seen
        self._warmed: asyncio.Future[None] | None = None
        self._on_death = on_death
        self._watched = Watched(self.pid, self._died)
        assert self._process.stdin is not None  # noqa: S101 - PIPE was asked for
        assert self._process.stdout is not None  # noqa: S101
        assert self._process.stderr is not None  # noqa: S101
        self._stdin = self._process.stdin
        self._answers = _Lines(self._process.stdout.fileno(), self._answered)
        self._errors = _Lines(self._process.stderr.fileno(), self._printed)

    @property
    def guard_pid(self) -> int:
        """The guard that outlives us."""
        return self._guard.pid

    @property
    def state(self) -> str:
        """For the operator: loading, alive or dead."""
        if not self.alive:
            return "dead"
        return "alive" if self._loaded.done() else "loading"

    @property
    def alive(self) -> bool:
        """Until its death was seen."""
        return self._watched.alive

    async def loaded(self, timeout_s: float) -> None:
        """Wait until packages and model are there. Raises ZygoteError with R's reason."""
        try:
            await asyncio.wait_for(asyncio.shield(self._loaded), timeout_s)
        except TimeoutError as error:
            raise ZygoteError(f"R did not load the model within {timeout_s:g} s") from error

    async def warm(self, example: tuple[int, Path], more: tuple[int, Path], timeout_s: float) -> None:
        """Have it predict its own example, and that in more rows: rows, and a file with the frame, of each."""
        self._warmed = self._loop.create_future()
        self._order("warm", *(str(part) for frame in (example, more) for part in frame))
        try:
            await asyncio.wait_for(self._warmed, timeout_s)
        except TimeoutError as error:
            raise ZygoteError(f"the zygote did not score its example within {timeout_s:g} s") from error

    def fork(self, worker: int, folder: Path, listener: Callable[[str, list[str]], None]) -> None:
        """Order a worker. `listener("forked", [pid])`, then `listener("listening", [])`. Raises ZygoteError if it is gone."""
        self._listeners[str(worker)] = listener
        self._order("fork", str(worker), str(folder))

    def forget(self, worker: int) -> None:
        """No more news about this worker."""
        self._listeners.pop(str(worker), None)

    def missed(self) -> None:
        """An order did not become a worker in time. A zygote that misses again is hung: it dies, its workers go on."""
        self.misses += 1
        if self.misses >= _MAX_MISSES:
            self._watched.kill()

    def close(self) -> None:
        """Kill the zygote and all of its group, remove its folder. Repeats change nothing."""
        if self.closed:
            return
        self.closed = True
        kill_group(self.pid)
        self._answers.close()
        self._errors.close()
        for pipe in (self._stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._guard.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _order(self, *words: str) -> None:
        if self.closed or not self.alive:
            raise ZygoteError("the zygote is gone")
        try:
            os.write(self._stdin.fileno(), ("\t".join(words) + "\n").encode())
        except OSError as error:
            raise ZygoteError("the zygote is gone") from error

    def _answered(self, line: str) -> None:
        word, *rest = line.split("\t")
        if word == "warning":
            self.warnings = [*self.warnings, " ".join(rest)][-20:]
            log.warning("scorer.zygote.warning", pid=self.pid, warning=" ".join(rest))
        elif word == "loaded" and not self._loaded.done():
            self.blas = (*rest, "", "")[1]
            self._loaded.set_result(None)
        elif word == "failed":
            self._fail(ZygoteError(" ".join(rest), transient=False))
        elif word == "warmed" and self._warmed is not None and not self._warmed.done():
            self._warmed.set_result(None)
        elif word in {"forked", "listening"} and rest and (listener := self._listeners.get(rest[0])) is not None:
            listener(word, rest[1:])

    def _printed(self, line: str) -> None:
        """What R says on stderr: only while nothing but loading and our example runs, so it holds no caller's row."""
        self._lines.append(line)
        self._stderr_lines += 1
        if self._stderr_lines <= _MAX_STDERR_LINES:
            log.info("scorer.zygote.stderr", pid=self.pid, line=line[:500])

    def _fail(self, error: ZygoteError) -> None:
        for future in (self._loaded, self._warmed):
            if future is not None and not future.done():
                future.set_exception(error)
                future.exception()  # read: nobody may be waiting for it any more

    def _died(self, death: Death) -> None:
        self._process.returncode = -(death.signal or 0) or (death.status or 0)  # reaped here, not by Popen
        self._answers.drain()
        self._errors.drain()
        last = "; ".join(line for line in list(self._lines)[-3:] if line.strip())
        self._fail(ZygoteError(f"R ended ({death})" + (f": {last}" if last else "")))
        self.gone.set_result(death)
        self._on_death(death)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """What is started meanwhile never gets a SIGINT: R takes a worker that got one from under the next request.

    Blocked, not ignored: R sets a handler of its own whatever it finds, but a mask goes through exec and fork untouched.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Lines:
    """Reads lines from a pipe in the event loop, each cut at 16 KiB; nothing blocks."""

    def __init__(self, fd: int, on_line: Callable[[str], None]) -> None:
        os.set_blocking(fd, False)
        self._fd: int | None = fd
        self._on_line = on_line
        self._rest = b""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self._read)

    def _read(self) -> bool:
        if self._fd is None:
            return False
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.close()
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-_MAX_LINE:]
        for line in lines:
            self._on_line(line[:_MAX_LINE].decode(errors="replace"))
        return True

    def drain(self) -> None:
        """What is left in the pipe of a dead process."""
        while self._read():
            pass

    def close(self) -> None:
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            self._fd = None
