"""What a pod's operator allows: workers, waiting, sizes of runs. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from scorer.core.upkeep import UpkeepLimits


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Of one pod, all its versions together where nothing else is said."""

    slots: int  # predictions at once
    max_waiting_rows: int = 200_000
    max_held_bytes: int = 256 * 1024 * 1024  # of requests, from before one is read until it is answered
    max_run_rows: int = 4096  # of waiting calls that go together
    idle_s: float = 60.0  # until an idle worker beyond its version's first ends
    upkeep: UpkeepLimits = field(default_factory=UpkeepLimits)
    large_rows: int = 4096  # a call of more is cut
    large_piece_s: float = 0.025  # how long a piece of it is to last
    large_workers: int = 2  # pieces at once
    max_runs: int = 0  # after which a worker is replaced; 0: never
    measure_s: float = 2.0  # between two looks at a worker's memory
    renew_age_s: float = 5.0  # a worker that is younger is not replaced for having grown, or for its runs
