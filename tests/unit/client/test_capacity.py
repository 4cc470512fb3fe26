"""The search for the knee, and what a wanted rate takes."""

from __future__ import annotations

import math

import pytest

from client.capacity import Means, Search, Step, need, stages_of
from client.commands.capacity import Found, _show


def run(knee: float, *, most: float = 1e6) -> tuple[Search, list[float]]:
    """The search against a service that holds every rate up to `knee`."""
    search, tried = Search(10, most), []
    while (rate := search.next_rate()) is not None:
        tried.append(rate)
        assert len(tried) < 60
        search.tell(rate, held=rate <= knee)
    return search, tried


@pytest.mark.parametrize("knee", [0.7, 3, 9.99, 10, 11, 95, 4000, 123456])
def test_the_knee_is_found_within_ten_percent_from_below(knee: float) -> None:
    search, _ = run(knee)
    assert knee / 1.1 <= search.good <= knee


def test_no_rate_above_the_most_is_tried() -> None:
    search, tried = run(math.inf, most=100)
    assert max(tried) == search.good == 100


def test_a_service_that_holds_nothing_has_no_knee() -> None:
    search, tried = run(0)
    assert search.good == 0
    assert min(tried) >= 0.5


def step(**changes: object) -> Step:
    given = {"rate_per_s": 1, "requests": 100, "right": 100, "failures": {}, "p50_ms": 1, "p95_ms": 50}
    return Step(**given | {"generator_cpu": 0.1} | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "held"),
    [({}, True), ({"right": 99}, True), ({"right": 98}, False), ({"p95_ms": 51}, False), ({"p95_ms": math.nan}, False)],
)
def test_a_rate_is_held_within_the_target_and_one_percent_of_failures(changes: dict[str, float], held: bool) -> None:
    assert step(**changes).held(50) is held


def test_a_wanted_rate_takes_workers_in_proportion_at_seventy_percent() -> None:
    found = need(700, 100, slots=2, pods=1, gateway_cpu_s=0.001)
    assert (found.workers, found.scorer_pods, found.gateway_processes) == (20, 10, 1)


@pytest.mark.parametrize(
    ("why", "said"), [("", "of that: 20 R"), ("no higher rate was tried", "of that: at most 20 R")]
)
def test_a_search_that_ended_below_the_knee_says_at_most(
    why: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Found(
        model="m", version="1", rows=1, p95_target_ms=100, knee_per_s=100, at_least=why != "", why=why, steps=[],
        stages_ms={}, needs=[need(700, 100, slots=2, pods=1, gateway_cpu_s=0.001)],
    )  # fmt: skip
    _show(found)
    assert said in capsys.readouterr().out


def test_what_was_not_seen_is_not_said() -> None:
    found = need(700, 100, slots=0, pods=0, gateway_cpu_s=None)
    assert (found.workers, found.scorer_pods, found.gateway_processes) == (None, None, None)


def test_stages_are_read_from_the_header_and_averaged() -> None:
    assert stages_of("a;dur=1.5, b;desc=x;dur=2,c,d;dur=no") == {"a": 1.5, "b": 2.0}
    means = Means()
    for header in ("a;dur=1", "a;dur=3, b;dur=1", ""):
        means.add(stages_of(header))
    assert means.ms() == {"a": 2.0, "b": 0.5}
