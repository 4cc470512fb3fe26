"""What a pod's operator allows: workers, waiting, sizes of runs. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from scorer.core.upkeep import UpkeepLimits


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """`slots` predictions at once; rows that may wait; bytes of all requests; rows of one merged run; seconds until an extra
    idle worker goes.

    Calls above `large_rows` are cut. A worker is replaced after `max_runs` runs (0: never), or, once it is `renew_age_s` old, when
    it has grown too far, which is looked at every `measure_s`.
    """

    slots: int
    max_waiting_rows: int = 200_000
    max_held_bytes: int = 256 * 1024 * 1024
    max_run_rows: int = 4096
    idle_s: float = 60.0
    upkeep: UpkeepLimits = field(default_factory=UpkeepLimits)
    large_rows: int = 4096
    large_piece_s: float = 0.025
    large_workers: int = 2
    max_runs: int = 0
    measure_s: float = 2.0
    renew_age_s: float = 5.0
