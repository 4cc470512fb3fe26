"""Owns a stack from its start to its end: brings it up, watches it, stops it in order. In the foreground or detached.

SIGINT, SIGTERM and SIGHUP stop it, services last started first; a second one kills what is left. Any other end of this
process, SIGKILL too, kills the services (see `processes`). Whoever runs it holds the stack's lock.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

from devkit.logs import OWN, Log
from devkit.processes import ProcessEndedError, Processes
from devkit.state import Home, State

#: Starts everything and returns once it is ready, e.g. `stack.bring_up` for given options.
BringUp = Callable[[Processes, State, Callable[[str], None]], Awaitable[None]]


class StackError(Exception):
    """The stack did not come up, for a reason that its message gives in full."""


class Supervisor:
    """One stack's supervisor; `run` once, in the main thread's event loop."""

    def __init__(
        self, home: Home, log: Log, bring_up: BringUp, on_ready: Callable[[State], None] | None = None
    ) -> None:
        """`on_ready` is called once, with the state that was just written."""
        self._home = home
        self._log = log
        self._bring_up = bring_up
        self._on_ready = on_ready
        self._stop, self._kill = asyncio.Event(), asyncio.Event()

    async def run(self) -> int:
        """Runs the stack until told to stop: 0 after a stop, 1 if it did not come up or all of it has ended."""
        state = State(name=self._home.name, phase="starting", supervisor=os.getpid())
        self._home.write(state)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._told_to_stop)
        try:
            async with Processes(self._log) as processes:
                killer = asyncio.create_task(self._kill_when_told(processes))
                code = await self._until_stopped(processes, state)
                state.phase = "stopping"
                self._home.write(state)
                self._say("stopping")
            killer.cancel()
        finally:
            self._home.state_file.unlink(missing_ok=True)
        self._say("stopped")
        return code

    async def _until_stopped(self, processes: Processes, state: State) -> int:
        stopped = asyncio.create_task(self._stop.wait())
        up = asyncio.ensure_future(self._bring_up(processes, state, self._say))
        await asyncio.wait((up, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not up.done():
            up.cancel()
            await asyncio.wait((up,))
            return 0
        if error := up.exception():
            self._report(error)
            return 1
        state.phase = "ready"
        state.sessions = processes.sessions
        self._home.write(state)
        self._say("ready")
        if self._on_ready:
            self._on_ready(state)
        while processes.sessions:
            ended = asyncio.create_task(processes.one_ended())
            await asyncio.wait((ended, stopped), return_when=asyncio.FIRST_COMPLETED)
            if self._stop.is_set():
                ended.cancel()
                return 0
            again = f"{self._home.command('down')}, then up"
            self._say(f"{ended.result()}; the others go on. To have it again: {again}")
        return 1

    async def _kill_when_told(self, processes: Processes) -> None:
        await self._kill.wait()
        processes.kill()

    def _told_to_stop(self) -> None:
        (self._kill if self._stop.is_set() else self._stop).set()

    def _say(self, text: str) -> None:
        self._log.line(OWN, text)

    def _report(self, error: BaseException) -> None:
        """What went wrong: the last lines of what ended, then what it was and what to do."""
        if isinstance(error, BaseExceptionGroup):
            for one in error.exceptions:
                self._report(one)
        elif isinstance(error, ProcessEndedError):
            for line in error.tail:
                self._say(f"  {error.name} | {line}")
            self._say(f"{error}. All it said: {self._home.command('logs', error.name)}")
        elif isinstance(error, StackError):
            self._say(str(error))
        else:
            raise error
