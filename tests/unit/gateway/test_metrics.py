"""Counts and buckets say what prometheus_client's own would."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.registry import Collector

from gateway.core.stages import Clock
from gateway.metrics import MAX_UNSETTLED, Metrics
from shared.metrics import Buckets, Counts

BOUNDS = (0.1, 1, 2.5)
amounts = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.floats(0, 5)), min_size=1)


def said(collectors: Iterable[Collector]) -> set[str]:
    """All samples, but for when each was made."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return {line for line in generate_latest(registry).decode().splitlines() if "_created" not in line}


@given(amounts)
def test_they_say_what_prometheus_own_would(observed: list[tuple[str, float]]) -> None:
    ours = Buckets("h", "H", ("x",), bounds=BOUNDS), Counts("c", "C", ("x", "y"))
    theirs = Histogram("h", "H", ("x",), buckets=BOUNDS, registry=None), Counter("c", "C", ("x", "y"), registry=None)
    for value, amount in observed:
        ours[0].observe(value, amount)
        theirs[0].labels(value).observe(amount)
        ours[1].add((value, "z"), 2)
        theirs[1].labels(value, "z").inc(2)
    assert said(ours) == said(theirs)


def test_one_without_labels_is_there_from_the_start() -> None:
    ours = Buckets("h", "H", bounds=BOUNDS), Counts("c", "C")
    theirs = Histogram("h", "H", buckets=BOUNDS, registry=None), Counter("c", "C", registry=None)
    assert said(ours) == said(theirs)
    ours[0].observe((), 1)
    theirs[0].observe(1)
    assert said(ours) == said(theirs)


def test_many_at_once_are_as_many_one_by_one() -> None:
    together, apart = (Buckets("h", "H", ("x",), bounds=BOUNDS) for _ in range(2))
    for _ in range(2):
        together.observe_all({"a": 0.1, "b": 7.0})
        apart.observe("a", 0.1)
        apart.observe("b", 7.0)
    assert said([together]) == said([apart])


def test_what_was_answered_is_counted_before_anybody_looks() -> None:
    metrics = Metrics()
    for answered in (1, MAX_UNSETTLED, 3):
        before = seen(metrics)
        for _ in range(answered):
            clock = Clock(0.0)
            clock.enter("admit", 0.25)
            clock.end(1.0)
            metrics.answered("m", 200, "ok", clock)
        assert [new - old for new, old in zip(seen(metrics), before, strict=True)] == [answered] * 3


def seen(metrics: Metrics) -> list[float]:
    """Requests, times in a stage, times of requests, as a scrape has them."""
    shown = dict(line.rsplit(" ", 1) for line in generate_latest(metrics.registry).decode().splitlines())
    names = (
        'scoregate_requests_total{code="ok",model="m",status="200"}',
        'scoregate_stage_seconds_count{stage="admit"}',
        'scoregate_request_seconds_count{model="m"}',
    )
    return [float(shown.get(name, 0)) for name in names]
