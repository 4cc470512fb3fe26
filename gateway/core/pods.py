"""Which pod a batch goes to: the least loaded that has the version, ejected ones last, and when a lost batch may be tried again.

Load is rows in flight over the pod's workers. A pod is ejected for transport errors and missed polls, never for saying it is
full, for a time that doubles up to a minute; an answered poll brings it back. Never more than half of the pods count as
ejected: when a fault looks like everybody's it is more likely ours. Pure: takes `now`, keeps counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

EJECT_FIRST_S = 1.0
EJECT_MOST_S = 60.0
#: Retries per request, and how many may have been saved up: what a pod may hold when it dies, some batches of 64 for each worker.
RETRY_SHARE = 0.1
RETRY_MOST = 1000.0


@dataclass(slots=True)
class Pod:
    """One scorer pod by its address, as this gateway process sees it."""

    address: str
    workers: int = 1
    rows_in_flight: int = 0
    batches_in_flight: int = 0
    failures: int = 0
    ejected_until_s: float = 0.0
    chosen: int = 0  # the number of the choice that it was chosen by last

    @property
    def load(self) -> float:
        """Rows in flight per worker; batches break ties, since one row costs nearly what many do."""
        return (self.rows_in_flight + 8 * self.batches_in_flight) / max(1, self.workers)

    def __repr__(self) -> str:
        return f"<Pod {self.address} workers={self.workers} batches={self.batches_in_flight} failures={self.failures}>"


@dataclass(slots=True)
class Pods:
    """The pods known now, and the retry budget of this process."""

    by_address: dict[str, Pod] = field(default_factory=dict)
    _budget: float = RETRY_MOST
    _choices: int = 0

    def keep(self, addresses: Iterable[str]) -> None:
        """These are the pods now: new ones are added, others forgotten."""
        wanted = set(addresses)
        for gone in self.by_address.keys() - wanted:
            del self.by_address[gone]
        for new in wanted - self.by_address.keys():
            self.by_address[new] = Pod(new)

    def choose(self, having: frozenset[str], now: float, avoid: frozenset[str] = frozenset()) -> Pod | None:
        """The pod for the next batch among those `having` the version, not in `avoid`; None if there is none."""
        candidates = [p for a, p in self.by_address.items() if a in having and a not in avoid]
        if not candidates:
            return None
        ejected = {p.address for p in self.by_address.values() if p.ejected_until_s > now}
        if 2 * len(ejected) > len(self.by_address):
            ejected = set()
        pod = min(
            candidates, key=lambda p: (p.address in ejected, p.failures > 0, p.load, p.failures, p.chosen, p.address)
        )
        self._choices += 1
        pod.chosen = self._choices
        return pod

    def answers(self, having: frozenset[str]) -> bool:
        """Whether a pod `having` the version answered when it was asked last."""
        return any(pod.failures == 0 for address, pod in self.by_address.items() if address in having)

    def has_other(self, having: frozenset[str], avoid: frozenset[str]) -> bool:
        """Whether there is a pod `having` the version that is not in `avoid`."""
        return not having.isdisjoint(self.by_address.keys() - avoid)

    def started(self, pod: Pod, rows: int) -> None:
        """A batch of `rows` is on its way to `pod`."""
        pod.rows_in_flight += rows
        pod.batches_in_flight += 1

    def ended(self, pod: Pod, rows: int) -> None:
        """It came back, or was lost."""
        pod.rows_in_flight -= rows
        pod.batches_in_flight -= 1

    def answered(self, pod: Pod) -> None:
        """The pod gave an answer, whatever it said."""
        pod.failures = 0
        pod.ejected_until_s = 0.0

    def failed(self, pod: Pod, now: float) -> None:
        """The pod gave no answer: eject it."""
        pod.failures += 1
        pod.ejected_until_s = now + min(EJECT_MOST_S, EJECT_FIRST_S * 2 ** min(10, pod.failures - 1))

    def earn_retry(self) -> None:
        """A request came: it adds a tenth of a retry to the budget."""
        self._budget = min(RETRY_MOST, self._budget + RETRY_SHARE)

    def spend_retry(self) -> bool:
        """Take one retry from the budget; False if there is none."""
        if self._budget < 1:
            return False
        self._budget -= 1
        return True
