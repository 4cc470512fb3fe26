"""A caller's requests in flight follow what is answered in time: simulated against a server of a given speed."""

from __future__ import annotations

from collections import deque

import pytest

from gateway.core.windows import FEW, LAG, LATE, Windows


def test_whoever_has_few_in_flight_or_is_answered_in_time_has_no_window() -> None:
    windows = Windows(1000)
    windows.answered("a", FEW - 1, 9.0, 1.0, 1.0)
    windows.answered("b", 500, LATE, 1.0, 1.0)
    assert len(windows) == 0
    assert windows.fits("a", 999, 1.0)


def test_late_answers_make_a_window_and_few_always_fit_into_it() -> None:
    windows = Windows(1000)
    for step in range(100):
        windows.answered("a", 800, 2.0, 1.0, float(step))
    assert windows.fits("a", FEW - 1, 1.0)
    assert not windows.fits("a", FEW, 1.0)
    assert windows.fits("b", 800, 1.0)
    windows.gone("a")
    windows.gone("a")
    assert windows.fits("a", 800, 1.0)


def test_what_is_late_for_some_says_nothing_of_those_that_allow_more() -> None:
    windows = Windows(1000)
    windows.answered("a", 100, 0.06, 0.05, 1.0)
    assert not windows.fits("a", 80, 0.05)
    assert windows.fits("a", 80, 10.0)
    windows.answered("a", 100, 0.06, 10.0, 2.0)
    assert not windows.fits("a", 80, 0.05), "nor do those of the others"
    windows.gone("a")
    assert len(windows) == 0


def test_many_late_answers_of_one_moment_count_once() -> None:
    windows = Windows(1000)
    for _ in range(100):
        windows.answered("a", 800, 2.0, 1.0, 5.0)
    assert windows.fits("a", 599, 1.0)
    assert not windows.fits("a", 600, 1.0)


@pytest.mark.parametrize("per_s", [200, 1000])
def test_a_flood_is_soon_answered_in_time_at_the_speed_there_is(per_s: int) -> None:
    windows, waiting = Windows(1600), deque[float]()
    took: list[float] = []
    for tick in range(20 * per_s):  # 20 s, one answer a tick, five requests
        now = tick / per_s
        for _ in range(5):
            if len(waiting) < 1600 and windows.fits("flood", len(waiting), 1.0):
                waiting.append(now)
        held, took_s = len(waiting), now - waiting.popleft()
        windows.answered("flood", held, took_s, 1.0, now)
        took.append(took_s)
    steady = took[10 * per_s :]
    assert max(steady) < 1.0
    assert len(waiting) >= FEW


def test_a_process_that_is_behind_takes_fewer_of_a_flood_before_they_are_late() -> None:
    windows = Windows(1000)
    windows.answered("a", 800, 0.3, 2.0, 1.0, 2.0 * LAG)
    assert windows.fits("a", 999, 1.0)
    windows.answered("a", 800, 0.3, 1.0, 1.0, 2.0 * LAG)
    assert not windows.fits("a", 600, 1.0)
    windows.answered("b", FEW - 1, 0.3, 1.0, 1.0, 2.0 * LAG)
    assert windows.fits("b", 999, 1.0)
