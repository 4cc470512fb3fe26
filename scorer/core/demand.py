"""The scaling signal of one pod. Gateways count what waits in them (`gateway.core.coalesce`), so nothing is counted twice."""

from __future__ import annotations

from dataclasses import dataclass

_DEMAND_OVER_S = 15.0


@dataclass(slots=True)
class Demand:
    """How many pods' worth of work there is: (busy workers + seconds of work that wait) / workers, over about 15 s.

    1 with nothing waiting is a pod that is just busy; what waits is counted as work that should be done within a second.
    """

    workers: int
    value: float = 0.0
    _busy_s: float = 0.0
    _at_s: float | None = None

    def observe(self, busy_s: float, waiting_s: float, now: float) -> None:
        """`busy_s`: worker-seconds used since the start; `waiting_s`: predicted worker-seconds of what waits now."""
        if self._at_s is not None and now > self._at_s:
            passed = now - self._at_s
            level = ((busy_s - self._busy_s) / passed + waiting_s) / self.workers
            self.value += (level - self.value) * min(1.0, passed / _DEMAND_OVER_S)
        self._busy_s, self._at_s = busy_s, now
