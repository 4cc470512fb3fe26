"""Notices a pod that has fallen silent while it owes answers: stopped, cut off, or its event loop stuck.

A batch may take its whole deadline, so silence proves nothing; a ping does: the supervisor answers it whatever R does. A pod that
owes a batch for a second and has not been heard for as long is pinged; when two pings in a row go unanswered what it owes counts
as lost, while there is time to send it elsewhere. An idle pod is not pinged: the catalogue's poll sees to it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

SUSPECT_S = 1.0
PING_S = 1.0
PINGS = 2
_LOOK_S = 0.25


class SilentError(Exception):
    """The pod does not answer pings either."""


class Owed:
    """What pods owe. `ping(address)` is True if the pod answered within PING_S; `silent(address)` is called when it has not, and
    says whether to give up what it owes: a pod that is the only one may be late, and late is better than lost.
    """

    def __init__(self, ping: Callable[[str], Awaitable[bool]], silent: Callable[[str], bool]) -> None:
        self._ping = ping
        self._silent = silent
        self._since: dict[str, dict[asyncio.Future[Any], float]] = {}
        self._heard: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, four times a second."""
        self._task = asyncio.create_task(self._keep_looking(), name="ping-pods")

    async def close(self) -> None:
        """Stop."""
        tasks = [task for task in (self._task, *self._asking.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def leaves(self, address: str, answer: asyncio.Future[Any]) -> None:
        """A batch leaves for this pod, until `back`. If the pod falls silent its answer becomes a SilentError."""
        self._since.setdefault(address, {})[answer] = time.monotonic()

    def back(self, address: str, answer: asyncio.Future[Any], *, answered: bool) -> None:
        """The batch is over, one way or another."""
        owed = self._since[address]
        del owed[answer]
        if not owed:
            del self._since[address]
        if answered:
            self._heard[address] = time.monotonic()

    def keep(self, addresses: set[str]) -> None:
        """Forget pods that are no more."""
        self._heard = {address: at for address, at in self._heard.items() if address in addresses}

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            now = time.monotonic()
            for address, owed in self._since.items():
                quiet_s = now - max(min(owed.values()), self._heard.get(address, 0.0))
                if quiet_s >= SUSPECT_S and address not in self._asking:
                    self._asking[address] = asyncio.create_task(self._ask(address), name="ping-pod")

    async def _ask(self, address: str) -> None:
        try:
            await self._ping_times(address)
        finally:
            del self._asking[address]

    async def _ping_times(self, address: str) -> None:
        for _ in range(PINGS):
            asked = time.monotonic()
            if await self._ping(address) or self._heard.get(address, 0.0) >= asked:
                self._heard[address] = time.monotonic()
                return
        if not self._silent(address):
            self._heard[address] = time.monotonic()  # asked again in a while
            return
        for answer, since in list(self._since.get(address, {}).items()):
            if since <= asked and not answer.done():
                answer.set_exception(SilentError(f"no answer to {PINGS} pings"))
