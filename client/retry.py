"""When to ask again: a pure rule over what came back and the time already spent.

Only 429 and 503 are asked again, because only there does the server say that the same request may succeed later, and
only as long as the wait it asks for fits. A connection that was not made, or was closed without a word, is tried again
too: scoring changes nothing but the caller's allowance. Everything else is final: a 504 has used its time, a 422 will
not change.
"""

from __future__ import annotations

from dataclasses import dataclass

from client.errors import ScoregateHTTPError

RETRYABLE = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """At most `attempts` requests in all, and no wait that ends later than `total_s` seconds after the first began.

    `first_pause_s` is the wait where the server names none; it doubles each time.
    """

    attempts: int = 5
    total_s: float = 60.0
    first_pause_s: float = 0.2

    def pause_after_s(self, attempt: int, asked_s: float | None, spent_s: float, jitter: float) -> float | None:
        """Seconds to wait after failed attempt number `attempt` (1-based), or None to give up.

        A wait the server asked for is never shortened; up to a tenth is added by `jitter` (0…1), so that callers
        refused together do not come back together.
        """
        if attempt >= self.attempts:
            return None
        base = self.first_pause_s * 2 ** (attempt - 1) if asked_s is None else asked_s
        pause = base * (1 + 0.1 * jitter)
        if spent_s + pause <= self.total_s:
            return pause
        return base if spent_s + base <= self.total_s else None

    def pause_for(self, error: ScoregateHTTPError, attempt: int, spent_s: float, jitter: float) -> float | None:
        """The same for a refusal; None at once for one that is final."""
        if error.status not in RETRYABLE:
            return None
        return self.pause_after_s(attempt, error.retry_after_s, spent_s, jitter)


#: Ask once, raise what comes.
NO_RETRY = RetryPolicy(attempts=1)
