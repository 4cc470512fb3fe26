"""Counters and histograms of what happens on every request, for one thread: plain numbers, found by the values of their labels.

prometheus_client's own take a lock and look for their labels on each call, which costs more than what they count.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

#: The values of the labels; of one label, its value alone will do.
Values = str | tuple[str, ...]


class Settling(Collector):
    """Has what was put off counted before anything is collected: to be registered first."""

    def __init__(self, settle: Callable[[], None]) -> None:
        self._settle = settle

    def collect(self) -> Iterable[Metric]:
        """Nothing of its own."""
        self._settle()
        return ()


class Counts(Collector):
    """A counter. One without labels is there from the start, as 0."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str] = ()) -> None:
        self._name, self._documentation, self._labels = name, documentation, labels
        self._counts: dict[Values, int] = {} if labels else {(): 0}

    def add(self, values: Values, count: int = 1) -> None:
        """So many, under these values of the labels."""
        self._counts[values] = self._counts.get(values, 0) + count

    def collect(self) -> Iterable[Metric]:
        """As Prometheus wants them."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, count in self._counts.items():
            family.add_metric(_each(values), count)
        yield family


class Buckets(Collector):
    """A histogram. One without labels is there from the start, empty."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str] = (), *, bounds: Sequence[float]) -> None:
        """`bounds`: the upper ends of all buckets but the last, in order."""
        self._name, self._documentation, self._labels = name, documentation, labels
        self._bounds = tuple(bounds)
        self._counts: dict[Values, list[int]] = {}
        self._sums: dict[Values, float] = {}
        if not labels:
            self._of(())

    def observe(self, values: Values, amount: float) -> None:
        """Once, under these values of the labels."""
        counts = self._counts.get(values) or self._of(values)
        counts[bisect_left(self._bounds, amount)] += 1
        self._sums[values] += amount

    def observe_all(self, amounts: Mapping[str, float]) -> None:
        """Once under each of these values of the one label."""
        bounds, sums = self._bounds, self._sums
        for value, amount in amounts.items():
            counts = self._counts.get(value) or self._of(value)
            counts[bisect_left(bounds, amount)] += 1
            sums[value] += amount

    def _of(self, values: Values) -> list[int]:
        counts = self._counts[values] = [0] * (len(self._bounds) + 1)
        self._sums[values] = 0.0
        return counts

    def collect(self) -> Iterable[Metric]:
        """Cumulative, as Prometheus wants them."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        ends = [*map(floatToGoString, self._bounds), "+Inf"]
        for values, counts in self._counts.items():
            family.add_metric(_each(values), list(zip(ends, accumulate(counts), strict=True)), self._sums[values])
        yield family


def _each(values: Values) -> tuple[str, ...]:
    return (values,) if isinstance(values, str) else values
