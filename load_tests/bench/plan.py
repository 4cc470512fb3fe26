"""How much a benchmark does: a few minutes for all by default, what is to be quoted with `--full`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """`seconds` and `rounds` override a benchmark's own, for each single measurement; None leaves them."""

    full: bool = False
    seconds: float | None = None
    rounds: int | None = None
    workers: int = 2

    def seconds_or(self, quick: float, full: float) -> float:
        """Seconds of one measurement."""
        return self.seconds or (full if self.full else quick)

    def rounds_or(self, quick: int, full: int) -> int:
        """Rounds, each of which measures everything once."""
        return self.rounds or (full if self.full else quick)
