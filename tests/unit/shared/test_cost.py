"""What a run costs, learned from runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.cost import Cost


def test_the_cost_is_learned_from_runs_of_several_sizes() -> None:
    cost = Cost(fixed_s=1.0, row_s=1.0)
    for rows in [1, 64, 500, 2, 64, 1000] * 10:
        cost.learn(rows, 0.002 + 0.00001 * rows)
    assert cost.fixed_s == pytest.approx(0.002, rel=0.01)
    assert cost.row_s == pytest.approx(0.00001, rel=0.01)
    assert cost.predict_s(100, runs=2) == pytest.approx(0.005, rel=0.01)


@given(st.lists(st.tuples(st.integers(1, 10_000), st.floats(1e-6, 100)), max_size=60))
def test_no_sequence_of_runs_makes_a_cost_negative_or_endless(runs: list[tuple[int, float]]) -> None:
    cost = Cost()
    for rows, took_s in runs:
        cost.learn(rows, took_s)
    assert 0 <= cost.predict_s(1) < 1e6
    assert 0 <= cost.predict_s(10_000) < 1e9
