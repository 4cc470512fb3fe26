"""Whether a version's workers stay up: how long to wait after one died at once, when to give up, when to try again. Pure.

    died at once ─▶ put off for longer each time ─▶ `max_deaths` in a row: down, with the reason
                                                        │  one worker is tried after `probe_s`, twice as long, … at most ten times
                                                        └▶ it stays: up again

"At once" is before it had answered anything: no run, and no ping once it had listened for `stays_up_s`. What dies of its rows
does not count: those rows are found and refused, and a caller must not be able to take a version from all the others.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

_FIRST_PAUSE_S = 0.05
_LONGEST_PROBE = 10  # times the first pause


@dataclass(frozen=True, slots=True)
class UpkeepLimits:
    """When a version is put off, given up and tried again."""

    max_backoff_s: float = 30.0  # longest pause before the next worker
    max_deaths: int = 5  # in a row, until the version is down
    stays_up_s: float = 3.0  # a worker that answers a ping after so long has stayed
    probe_s: float = 30.0  # until the first worker of a version that is down is tried


@dataclass(slots=True)
class Upkeep:
    """Of one version. `down` is the reason while it is not served; `fork_at_s` when the next worker may be ordered."""

    limits: UpkeepLimits
    deaths: int = 0  # at once, in a row
    fork_at_s: float = 0.0
    down: str | None = None
    probes: int = 0
    hows: Counter[str] = field(default_factory=Counter)

    def stays(self) -> bool:
        """A worker does. Whether the version was down until now."""
        was_down, self.down = self.down is not None, None
        self.deaths, self.probes, self.fork_at_s = 0, 0, 0.0
        self.hows.clear()
        return was_down

    def died(self, how: str, now: float, jitter: float) -> None:
        """A worker died at once. `jitter` (0 to 1) spreads when the next is ordered."""
        limits = self.limits
        self.deaths += 1
        self.hows[how] += 1
        spread = 0.5 + jitter
        if self.down is not None:
            self.probes += 1
            self.fork_at_s = now + limits.probe_s * min(_LONGEST_PROBE, 2**self.probes) * (0.75 + jitter / 2)
        elif self.deaths > 1:
            self.fork_at_s = now + min(limits.max_backoff_s, _FIRST_PAUSE_S * 2 ** min(self.deaths, 16) * spread)

    def gives_up(self, now: float) -> bool:
        """Whether that is enough; only to be asked while no worker of the version listens. True once."""
        if self.down is not None or self.deaths < self.limits.max_deaths:
            return False
        hows = ", ".join(f"{count} x {how}" for how, count in self.hows.most_common())
        least, most = self.limits.probe_s, _LONGEST_PROBE * self.limits.probe_s
        self.down = (
            f"its workers do not stay up: the last {self.deaths} died before they had answered anything ({hows}); "
            f"one is tried again every {least:g} to {most:g} s"
        )
        self.fork_at_s = now + self.limits.probe_s
        return True

    def put_off(self, seconds: float, now: float) -> None:
        """No worker before then, and nobody's fault."""
        self.fork_at_s = max(self.fork_at_s, now + seconds)

    def try_now(self) -> None:
        """What stood in the way may be gone."""
        self.fork_at_s = 0.0
