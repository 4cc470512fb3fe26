"""Whether a call may wait: there is room for it, and what waits and runs leaves it time before its deadline. Pure.

Rows are bounded where they wait; bytes from before a request is read until its answer is away, since memory holds them all along.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from scorer.core.calls import Call, Key
from scorer.core.limits import PoolLimits
from scorer.core.line import Line
from scorer.core.slots import Slots
from scorer.core.worker_table import WorkerTable
from shared.errors import OverloadedError

_LEAST_RETRY_AFTER_MS = 50


class WaitingRoom:
    """The rows of all versions that no worker has yet, and the bytes of all requests. `held_bytes` is how many they are."""

    def __init__(self, limits: PoolLimits, lines: Mapping[Key, Line], workers: WorkerTable, slots: Slots) -> None:
        self._limits = limits
        self._lines = lines
        self._workers = workers
        self._slots = slots
        self.held_bytes = 0

    @property
    def rows(self) -> int:
        """Rows that wait for a worker."""
        return sum(line.waiting_rows for line in self._lines.values())

    def waiting_s(self, now: float) -> float:
        """Worker-seconds of what waits."""
        short = self._slots.pieces_are_short(now)
        return sum(line.backlog_s(self._limits.max_run_rows, short=short) for line in self._lines.values())

    def running_s(self, now: float) -> float:
        """Worker-seconds until all that runs has ended."""
        return sum(self._slots.left_s(worker, now) for worker in self._workers.busy())

    def hold(self, size: int, now: float) -> None:
        """A request of so many bytes comes; `release` is to follow. Raises OverloadedError where there is no room for them."""
        if self.held_bytes and self.held_bytes + size > self._limits.max_held_bytes:
            wait_s = (self.waiting_s(now) + self.running_s(now)) / self._limits.slots
            raise OverloadedError(
                "this pod holds as many bytes of requests as it may", retry_after_ms=self._retry_after_ms(wait_s)
            )
        self.held_bytes += size

    def release(self, size: int) -> None:
        """The request has been answered, or given up."""
        self.held_bytes -= size

    def check(self, line: Line, call: Call, now: float) -> None:
        """Raises OverloadedError where the call can have no place, with the time after which it may have one."""
        waiting = self.rows
        if waiting:
            wait_s = (
                min(self.waiting_s(now) + self.running_s(now), self._fair_backlog_s(line, now)) / self._limits.slots
            )
        elif self._slots.free(line.key, now) <= 0:
            wait_s = min(self._slots.left_s(worker, now) for worker in self._workers.busy())
        else:
            return  # a slot is free: whatever the estimate says, trying is how it is corrected
        own_s = line.cost.predict_s(call.frame.rows)
        if line.batchable and call.frame.rows > self._limits.large_rows:
            own_s = line.large_s(call.frame.rows, short=self._slots.pieces_are_short(now))
            own_s /= min(self._limits.large_workers, self._limits.slots)
        if waiting + call.frame.rows > self._limits.max_waiting_rows:
            raise OverloadedError("the queue of this pod is full", retry_after_ms=self._retry_after_ms(wait_s))
        if now + wait_s + own_s > call.deadline_s:
            late_s = now + wait_s + own_s - call.deadline_s
            raise OverloadedError(
                "this cannot be answered before its deadline",
                retry_after_ms=self._retry_after_ms(min(wait_s, late_s)),
            )

    def _fair_backlog_s(self, line: Line, now: float) -> float:
        """Worker-seconds until what waits of this version has gone, since versions with work share the slots by time."""
        sharing = sum(other is line or other.waiting_rows > 0 for other in self._lines.values())
        backlog_s = line.backlog_s(self._limits.max_run_rows, short=self._slots.pieces_are_short(now))
        return self.running_s(now) + sharing * backlog_s

    @staticmethod
    def _retry_after_ms(wait_s: float) -> int:
        return max(_LEAST_RETRY_AFTER_MS, math.ceil(wait_s * 1000))
