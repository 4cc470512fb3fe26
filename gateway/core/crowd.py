"""The open connections of one process: at most so many, none held idle while a new one finds no room, shared among callers.

Without pipelining a connection is at most one request that waits in its socket, where nobody knows of it yet: bounding them bounds
that wait. When all are open, the one that has rested longest makes room; if none rests, the newcomer is told to come again. A
caller whose connections are more than four times what is free (`gateway.core.shares`) is asked to close each with its next answer,
so that others find room. Pure: takes `now`, closes nothing itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from gateway.core.shares import GREED

Connection = TypeVar("Connection", bound=Hashable)
#: One that has rested for less may have its next request on the way.
RESTED_S: Final = 1.0


class Crowd(Generic[Connection]):
    """At most `most` connections are in."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._callers: dict[Connection, Hashable] = {}
        self._held: dict[Hashable, int] = {}
        self._resting: OrderedDict[Connection, float] = OrderedDict()  # since when; the longest first

    def __len__(self) -> int:
        """Connections that are in."""
        return len(self._callers)

    def enter(self, connection: Connection, now: float) -> tuple[bool, Connection | None]:
        """Whether a new one is let in, and another that has to be closed for it."""
        gone = None
        if len(self._callers) >= self.most:
            longest, since_s = next(iter(self._resting.items()), (None, now))
            if longest is None or now - since_s < RESTED_S:
                return False, None
            gone = longest
            self.leave(gone)
        self._callers[connection] = None
        return True, gone

    def leave(self, connection: Connection) -> None:
        """It is closed; one that is not in may leave, too."""
        self._resting.pop(connection, None)
        self._give(self._callers.pop(connection, None))

    def rest(self, connection: Connection, now: float) -> None:
        """It waits for its next request."""
        if connection in self._callers and connection not in self._resting:
            self._resting[connection] = now

    def wake(self, connection: Connection) -> None:
        """Something came."""
        self._resting.pop(connection, None)

    def belong(self, connection: Connection, caller: Hashable) -> None:
        """Its last request was this caller's."""
        known = self._callers.get(connection, caller)
        if known == caller or connection not in self._callers:
            return
        self._give(known)
        self._callers[connection] = caller
        self._held[caller] = self._held.get(caller, 0) + 1

    def crowds(self, caller: Hashable) -> bool:
        """Whether the caller holds more than its share."""
        return self._held.get(caller, 0) > GREED * (self.most - len(self._callers))

    def _give(self, caller: Hashable) -> None:
        if caller is None:
            return
        left = self._held[caller] - 1
        if left:
            self._held[caller] = left
        else:
            del self._held[caller]
