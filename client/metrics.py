"""What a process says at `/metrics`, as numbers that can be looked up. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples by name; `sum` and `by` look them up. What is not there counts as 0."""

    values: Mapping[str, list[tuple[Mapping[str, str], float]]] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of Prometheus' text format. Raises ValueError for anything else."""
        values: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                values.setdefault(sample.name, []).append((sample.labels, sample.value))
        return cls(values)

    @classmethod
    def together(cls, several: Iterable[Samples]) -> Self:
        """Of several processes, as if one had said it all; sums are then over all of them."""
        values: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        for one in several:
            for name, samples in one.values.items():
                values.setdefault(name, []).extend(samples)
        return cls(values)

    def sum(self, name: str, **labels: str) -> float:
        """Over all samples that have these labels."""
        found = self.values.get(name, ())
        return sum(value for has, value in found if all(has.get(key) == wanted for key, wanted in labels.items()))

    def by(self, name: str, label: str) -> dict[str, float]:
        """Sums by the value of one label, in the order in which they stand."""
        sums: dict[str, float] = {}
        for has, value in self.values.get(name, ()):
            if label in has:
                sums[has[label]] = sums.get(has[label], 0.0) + value
        return sums
