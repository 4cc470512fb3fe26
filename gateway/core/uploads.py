"""Bodies that callers are sending to this process just now: of one caller, no more than it may have requests at once.

A place among the concurrent ones is taken only when the data has been checked (`admit`). Without this rule a single caller
could fill the gateway with bodies that it sends slowly. Pure; counts this process alone, so it refuses nobody whom the
shared count would let through with as many requests already under way here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.core.limits import Limits
from shared.errors import TooManyRequestsError


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
