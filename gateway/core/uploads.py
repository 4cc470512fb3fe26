"""Bodies that callers are sending to this process just now: of one caller, no more than it may have requests at once.

A place among the concurrent ones is taken only when the data has been checked (`admit`). Without this rule a single caller
could fill the gateway with bodies that it sends slowly. Pure; counts this process alone, so it refuses nobody whom the
shared count would let through with as many requests already under way here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from gateway.core.limits import Limits
from gateway.core.shares import Shares
from shared.errors import OverloadedError, TooManyRequestsError


class Uploads:
    """The count by caller; a caller that sends nothing takes no room."""

    def __init__(self) -> None:
        self._by_caller: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._by_caller)

    @contextmanager
    def sending(self, caller_key: str, limits: Limits, *, within_s: float) -> Iterator[None]:
        """Counts one body while it is read, at most `within_s` seconds. Raises TooManyRequestsError beyond the limit."""
        count = self._by_caller.get(caller_key, 0)
        if limits.concurrent is not None and count >= limits.concurrent:
            raise TooManyRequestsError(
                f"your limit of {limits.concurrent} requests at once is reached by bodies that you are still sending;"
                f" try again in {within_s:g} s, or sooner when one of them is whole",
                retry_after_ms=int(within_s * 1000) + 1,
                reason="concurrency_limited",
            )
        self._by_caller[caller_key] = count + 1
        try:
            yield
        finally:
            left = self._by_caller[caller_key] - 1
            if left:
                self._by_caller[caller_key] = left
            else:
                del self._by_caller[caller_key]


class Bodies:
    """The bytes of all bodies that this process keeps just now, at most `most`, shared among callers (`gateway.core.shares`)."""

    def __init__(self, most: int) -> None:
        self._shares = Shares(most)

    def of(self, caller_key: str) -> BodyRoom:
        """Room for one body, given back when the block ends."""
        return BodyRoom(self._shares, caller_key)


class BodyRoom:
    """What one body takes, growing with it."""

    __slots__ = ("_caller_key", "_held", "_shares")

    def __init__(self, shares: Shares, caller_key: str) -> None:
        self._shares = shares
        self._caller_key = caller_key
        self._held = 0

    def hold(self, size: int) -> None:
        """So many bytes more. Raises OverloadedError where they are more than there is room for."""
        if not self._shares.fits(self._caller_key, size):
            raise OverloadedError(
                "the bodies that are being read fill the room there is for them; try again",
                retry_after_ms=1000,
                headers={"Connection": "close"},
            )
        self._shares.take(self._caller_key, size)
        self._held += size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._held:
            self._shares.give(self._caller_key, self._held)
