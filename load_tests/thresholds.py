"""What a run must hold to: each threshold that it did not is one line, and any line fails the run. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run's totals. `refused`: requests answered 429, which are no failures; `p95_ms`: of the others, None where there were none.

    `errors`: what users raised and Locust counts as no request, as a token that could not be had.
    """

    requests: int
    failures: int
    refused: int
    p95_ms: float | None
    errors: tuple[str, ...] = ()

    def note(self) -> str | None:
        """What a reader of a run that passed must know: limits refused some of it."""
        if not self.refused:
            return None
        return (
            f"{self.refused} of {self.requests} requests were refused by the caller's limits (429): no failure, but it is"
            " the limits that were measured; raise them (./dev up --rate 1000000/minute; the policy elsewhere)"
        )


@dataclass(frozen=True, slots=True)
class Thresholds:
    """At most so many percent failures, at most so long at the 95th percentile (0: any), at least so many requests."""

    max_failures_percent: float = 0.0
    max_p95_ms: float = 0.0
    min_requests: int = 1

    def broken(self, outcome: Outcome) -> list[str]:
        """What was not held; empty for a run that passes."""
        served = outcome.requests - outcome.refused
        found = []
        if served < self.min_requests:
            found.append(f"{served} requests were served, at least {self.min_requests} should be")
        if served and 100 * outcome.failures / served > self.max_failures_percent:
            found.append(f"{outcome.failures} of {served} requests failed, at most {self.max_failures_percent:g} % may")
        if self.max_p95_ms and (outcome.p95_ms is None or outcome.p95_ms > self.max_p95_ms):
            p95 = "unknown" if outcome.p95_ms is None else f"{outcome.p95_ms:.0f} ms"
            found.append(f"the 95th percentile is {p95}, at most {self.max_p95_ms:g} ms may be")
        return [*found, *(f"users could not go on: {error}" for error in outcome.errors)]
