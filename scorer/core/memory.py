"""Whether another version fits into this pod's memory, and how far a worker may grow. Pure: bytes in, verdicts out.

The budget of a version is its zygote, and for each of N workers what a fork costs before it predicts and the peak of a call of
64 rows: a class that copies its model on every call (randomForest) is counted with the copies. It is reserved before R is
started, with what packaging measured, and set right once the zygote has loaded; what does not fit is refused by name while the
kernel has still killed nothing. Budgets of all versions are added: pages that two versions share are counted twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from scorer.core.calls import Key
from scorer.core.manifest import Measured

_MIB = 1024 * 1024
#: R with plumber and nothing else, loaded.
R_BYTES = 72 * _MIB
#: Private memory of a fork before its first call.
FORK_BYTES = 24 * _MIB


class DoesNotFitError(Exception):
    """The version does not fit into the memory of this pod; the message has the numbers."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a version takes: its zygote once, a fork and the peak of a call `workers` times."""

    zygote_bytes: float
    peak_bytes: float
    workers: int

    @property
    def bytes(self) -> float:
        """In all."""
        return self.zygote_bytes + self.workers * (FORK_BYTES + self.peak_bytes)

    def __str__(self) -> str:
        each = f"{_mib(FORK_BYTES + self.peak_bytes)} of a worker"
        return f"{_mib(self.bytes)} MiB ({_mib(self.zygote_bytes)} loaded + {self.workers} x {each})"


def foreseen(measured: Measured, workers: int) -> Need:
    """What a version will need by its manifest. What packaging did not measure counts as nothing."""
    return Need(R_BYTES + (measured.load_bytes or 0), measured.peak_64_rows_bytes or 0, workers)


@dataclass(slots=True)
class Budget:
    """The memory of the pod, `own_bytes` of it the supervisor's, and who has reserved how much."""

    allowed_bytes: float
    own_bytes: float = 0.0
    held: dict[Key, Need] = field(default_factory=dict)

    def reserve(self, key: Key, need: Need) -> None:
        """Hold this for the version instead of what it held. Raises DoesNotFitError, and then it holds what it held."""
        others = {name: held for name, held in self.held.items() if name != key}
        taken = sum(held.bytes for held in others.values())
        if self.own_bytes + taken + need.bytes > self.allowed_bytes:
            names = ", ".join(
                f"{name} {version} {_mib(held.bytes)}" for (name, version), held in sorted(others.items())
            )
            raise DoesNotFitError(
                f"memory: it needs {need}, but {_mib(max(0.0, self.allowed_bytes - self.own_bytes - taken))} of this pod's "
                f"{_mib(self.allowed_bytes)} MiB are free (supervisor {_mib(self.own_bytes)}"
                + (f", {names}" if names else "")
                + "): fewer workers, fewer models, a slimmer model, or a larger limit"
            )
        self.held[key] = need

    def release(self, key: Key) -> None:
        """The version holds nothing any more. Repeats change nothing."""
        self.held.pop(key, None)


def growth_limit(measured: Measured, *, share: float, floor_bytes: float) -> float:
    """Bytes a worker may hold privately beyond what a warm one does, until it is forked anew.

    A share of the model, at least the floor; what each call leaves behind until R collects it is no growth, for a class that
    copies its model would be forked for ever. A package that does not say what is left is taken to leave the whole peak.
    """
    left = measured.left_64_rows_bytes
    left = measured.peak_64_rows_bytes if left is None else left
    return max(floor_bytes, share * (measured.load_bytes or 0)) + (left or 0)


def _mib(count: float) -> str:
    return f"{count / _MIB:.0f}"
