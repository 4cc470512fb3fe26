"""How much a gateway can do: the search for the knee, and what a wanted rate takes. Pure.

The knee is the highest rate at which the 95th percentile stays below a target and next to nothing fails, under an open loop
(`client.openloop`): requests come as they come, whatever became of those before them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

#: Of requests that may fail at a rate that is held.
MOST_FAILED = 0.01
#: Above so much of a core the generator is no measure of anything but itself.
GENERATOR_BUSY = 0.85
#: What of its capacity a pod is to use; the rest is for peaks and a pod that is lost. KEDA's target (k8s/components/scale-keda).
TARGET_DEMAND = 0.7


class Step(msgspec.Struct, kw_only=True):
    """One rate, and what came of it. `generator_cpu` is in cores."""

    rate_per_s: float
    requests: int
    right: int
    failures: dict[str, int]
    p50_ms: float
    p95_ms: float
    generator_cpu: float
    stages_ms: dict[str, float] = msgspec.field(default_factory=dict)

    def held(self, p95_ms: float) -> bool:
        """Whether the service did it within the target."""
        failed = self.requests - self.right
        return self.right > 0 and failed <= MOST_FAILED * self.requests and self.p95_ms <= p95_ms

    @property
    def generator_was_busy(self) -> bool:
        """Whether this says more of the generator than of the service."""
        return self.generator_cpu > GENERATOR_BUSY


@dataclass(slots=True)
class Search:
    """Doubles the rate until it is not held, then halves the interval, in the logarithm, to within `within`.

    `good` is the highest rate that was held (0: none), `bad` the lowest that was not.
    """

    start_per_s: float
    most_per_s: float
    within: float = 0.1
    least_per_s: float = 0.5
    good: float = 0.0
    bad: float = math.inf

    def next_rate(self) -> float | None:
        """The rate to try now; None when the knee is known, or outside what may be tried."""
        if math.isinf(self.bad):
            rate = self.start_per_s if not self.good else self.good * 2
            return None if self.good >= self.most_per_s else min(rate, self.most_per_s)
        if not self.good:
            return self.bad / 2 if self.bad / 2 >= self.least_per_s else None
        return None if self.bad / self.good <= 1 + self.within else math.sqrt(self.good * self.bad)

    def tell(self, rate_per_s: float, *, held: bool) -> None:
        """What became of a rate that `next_rate` gave."""
        if held:
            self.good = max(self.good, rate_per_s)
        else:
            self.bad = min(self.bad, rate_per_s)


class Need(msgspec.Struct, kw_only=True):
    """What a rate takes, at 70 % of what each can do. None for what was not seen."""

    rate_per_s: float
    workers: int | None
    scorer_pods: int | None
    gateway_processes: int | None


def need(rate_per_s: float, knee_per_s: float, *, slots: int, pods: int, gateway_cpu_s: float | None) -> Need:
    """For `rate_per_s`, from a knee that `slots` workers in `pods` pods reached and the gateway's CPU seconds per request.

    Linear in the workers: with more of them fewer requests share a call of R, but fewer have to. A gateway process is one
    core's worth. At least two of each pod, as k8s/ has it, is not added here.
    """
    workers = _up(rate_per_s * slots / (knee_per_s * TARGET_DEMAND)) if slots and knee_per_s else None
    return Need(
        rate_per_s=rate_per_s,
        workers=workers,
        scorer_pods=_up(workers * pods / slots) if workers and pods else None,
        gateway_processes=_up(rate_per_s * gateway_cpu_s / TARGET_DEMAND) if gateway_cpu_s else None,
    )


def _up(number: float) -> int:
    """The next whole number; what is one but for rounding stays."""
    return math.ceil(round(number, 6))


def stages_of(header: str) -> dict[str, float]:
    """Milliseconds by stage, of a `Server-Timing` header; what is not understood is left out."""
    found: dict[str, float] = {}
    for entry in header.split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            try:
                if key == "dur":
                    found[name] = float(value)
            except ValueError:
                continue
    return found


class Means:
    """Means of many `stages_of`."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, stages: Mapping[str, float]) -> None:
        """One answer's."""
        if stages:
            self._count += 1
            for name, ms in stages.items():
                self._sums[name] = self._sums.get(name, 0.0) + ms

    def ms(self) -> dict[str, float]:
        """By stage, in the order in which they came."""
        return {name: total / self._count for name, total in self._sums.items()}
