"""Room that callers share: requests in flight, rows that wait, bytes of bodies. A flood of one leaves room for the others.

A caller may hold at most `GREED` times what is free: alone it gets 4/5 of the room, n greedy ones 4/(1 + 4n) each, and whoever
holds little always finds some. No caller need be told to give back, and each answer is one comparison. Source of the rule:
Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches" (IEEE/ACM ToN, 1998). Pure.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

GREED: Final = 4


class Shares:
    """`most` units for everybody together; callers who hold nothing take no memory."""

    __slots__ = ("_held", "most", "used")

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0
        self._held: dict[Hashable, int] = {}

    def __len__(self) -> int:
        """Callers that hold something."""
        return len(self._held)

    def held(self, caller: Hashable) -> int:
        """What this caller holds."""
        return self._held.get(caller, 0)

    def fits(self, caller: Hashable, units: int) -> bool:
        """Whether the caller may take so many more. Whatever is asked fits into a room that is empty."""
        if not self.used:
            return True
        free = self.most - self.used
        held = self._held.get(caller, 0)
        return units <= free and (held == 0 or held + units <= GREED * (free - units))

    def take(self, caller: Hashable, units: int) -> None:
        """The caller holds so many more, whether or not they fit."""
        if units:
            self.used += units
            self._held[caller] = self._held.get(caller, 0) + units

    def give(self, caller: Hashable, units: int) -> None:
        """The caller holds so many fewer; it held them."""
        if not units:
            return
        self.used -= units
        left = self._held[caller] - units
        if left:
            self._held[caller] = left
        else:
            del self._held[caller]
