"""Deadlines: a point on this process' monotonic clock, travelling between processes as milliseconds left.

Each hop takes a little off, so that the inner one answers before the outer one gives up: client > gateway > scorer > R.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Between gateway and scorer: whole milliseconds left when the request was sent.
DEADLINE_HEADER = "x-deadline-ms"
#: From the client: how long it will wait, in milliseconds.
CLIENT_TIMEOUT_HEADER = "x-request-timeout-ms"
MIN_TIMEOUT_MS = 50
MAX_TIMEOUT_MS = 60_000
#: What each hop keeps for itself to send the answer back.
HOP_RESERVE_MS = 20


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment, in seconds of the monotonic clock that the caller passes in as `now`."""

    at_s: float

    def inner_ms(self, now: float) -> int:
        """Whole milliseconds to give the next hop; 0 means there is no time to ask it."""
        return max(0, int((self.at_s - now) * 1000) - HOP_RESERVE_MS)


def parse_timeout_ms(text: str, *, least: int = MIN_TIMEOUT_MS, most: int = MAX_TIMEOUT_MS) -> int:
    """Digits within bounds; raises ValueError that says the bounds."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most):
        raise ValueError(f"must be a whole number of milliseconds from {least} to {most}")
    return int(text)
