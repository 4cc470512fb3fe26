"""Numbers from numbers: percentiles, medians of rounds, growth. Pure; times in whatever unit they come in."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence


def median_of(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each figure over the rounds that have it."""
    names = dict.fromkeys(name for figures in rounds for name in figures)
    return {name: statistics.median(r[name] for r in rounds if name in r) for name in names}


def median_difference(pairs: Iterable[tuple[float, float]]) -> float:
    """The median of `first - second`. Pairs taken side by side share what the machine does to both. NaN without any."""
    differences = [first - second for first, second in pairs]
    return statistics.median(differences) if differences else math.nan


def growth_percent(samples: Sequence[tuple[float, float]], after_s: float) -> float:
    """By how many percent a size grew after the first `after_s` seconds, from (time in s, size); 0 with fewer than 2 samples.

    Compares medians of the first and the last quarter of what is looked at, so that one sample decides nothing.
    """
    sizes = [size for at, size in samples if at >= after_s]
    if len(sizes) < 2:
        return 0.0
    quarter = max(1, len(sizes) // 4)
    first, last = statistics.median(sizes[:quarter]), statistics.median(sizes[-quarter:])
    return 100 * (last - first) / first if first else 0.0


def spread_percent(counts: Sequence[float]) -> float:
    """How far the one furthest from the mean is from it, in percent of the mean; 0 where there is nothing to spread."""
    mean = statistics.fmean(counts) if counts else 0.0
    return 100 * max(abs(count - mean) for count in counts) / mean if mean else 0.0
