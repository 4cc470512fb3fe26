"""The memory budget: what a version needs, what is free, and what the operator reads where it does not fit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scorer.core.manifest import Measured
from scorer.core.memory import FORK_BYTES, Budget, DoesNotFitError, Need, foreseen, growth_limit
from scorer.shell.memory import allowed_bytes, memory_of

MIB = 1024 * 1024
GIB = 1024 * MIB


def test_a_budget_is_the_zygote_and_a_fork_and_a_peak_for_each_worker() -> None:
    need = Need(zygote_bytes=300 * MIB, peak_bytes=100 * MIB, workers=4)
    assert need.bytes == 300 * MIB + 4 * (FORK_BYTES + 100 * MIB)


def test_a_version_that_does_not_fit_is_refused_with_the_numbers_and_who_holds_what() -> None:
    budget = Budget(allowed_bytes=2 * GIB, own_bytes=64 * MIB)
    budget.reserve(("boston", "1"), Need(300 * MIB, 0, 2))
    with pytest.raises(DoesNotFitError) as refusal:
        budget.reserve(("forest", "2"), Need(900 * MIB, 400 * MIB, 2))
    said = str(refusal.value)
    for number in ("1748 MiB", "900 loaded", "2 x 424", "1636 of", "2048 MiB", "supervisor 64", "boston 1 348"):
        assert number in said, (number, said)
    assert set(budget.held) == {("boston", "1")}, "who was there stays"


def test_several_versions_share_the_pod_and_one_that_leaves_makes_room() -> None:
    budget = Budget(allowed_bytes=1 * GIB)
    budget.reserve(("a", "1"), Need(400 * MIB, 0, 1))
    budget.reserve(("b", "1"), Need(400 * MIB, 0, 1))
    with pytest.raises(DoesNotFitError):
        budget.reserve(("c", "1"), Need(400 * MIB, 0, 1))
    budget.release(("a", "1"))
    budget.release(("a", "1"))
    budget.reserve(("c", "1"), Need(400 * MIB, 0, 1))


def test_what_a_version_reserves_again_replaces_what_it_held() -> None:
    budget = Budget(allowed_bytes=1 * GIB)
    budget.reserve(("a", "1"), Need(800 * MIB, 0, 1))
    budget.reserve(("a", "1"), Need(500 * MIB, 0, 1))
    assert budget.held == {("a", "1"): Need(500 * MIB, 0, 1)}
    with pytest.raises(DoesNotFitError):
        budget.reserve(("a", "1"), Need(2 * GIB, 0, 1))
    assert budget.held == {("a", "1"): Need(500 * MIB, 0, 1)}, "it holds what it held"


def test_before_it_loads_a_version_is_weighed_by_what_packaging_measured() -> None:
    by_manifest = foreseen(Measured(load_bytes=200 * MIB, peak_64_rows_bytes=50 * MIB), workers=2)
    unmeasured = foreseen(Measured(), workers=2)
    assert by_manifest.bytes - unmeasured.bytes == 200 * MIB + 2 * 50 * MIB


def test_a_worker_may_grow_by_a_share_of_the_model_or_the_floor_and_always_by_its_peak() -> None:
    large, small = Measured(load_bytes=1000 * MIB), Measured(load_bytes=10 * MIB, peak_64_rows_bytes=400 * MIB)
    assert growth_limit(large, share=0.15, floor_bytes=48 * MIB) == 150 * MIB
    assert growth_limit(small, share=0.15, floor_bytes=48 * MIB) == 448 * MIB


def test_what_a_call_takes_and_gives_back_is_no_allowance_to_grow() -> None:
    copies_in_c = Measured(load_bytes=1000 * MIB, peak_64_rows_bytes=400 * MIB, left_64_rows_bytes=0)
    copies_in_r = Measured(load_bytes=1000 * MIB, peak_64_rows_bytes=400 * MIB, left_64_rows_bytes=300 * MIB)
    assert growth_limit(copies_in_c, share=0.15, floor_bytes=0) == 150 * MIB
    assert growth_limit(copies_in_r, share=0.15, floor_bytes=0) == 450 * MIB


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("memory.max", "536870912\n", 512 * MIB),
        ("memory/memory.limit_in_bytes", "268435456\n", 256 * MIB),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", None),
    ],
)
def test_the_pod_may_hold_what_the_cgroup_says_or_what_the_machine_has(
    tmp_path: Path, file: str, text: str, expected: int | None
) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert allowed_bytes(tmp_path) == (expected or allowed_bytes(tmp_path / "none"))


def test_a_process_has_its_share_and_its_own_and_one_that_is_gone_has_none() -> None:
    memory = memory_of(os.getpid())
    assert memory is not None
    assert 0 < memory.private_bytes <= memory.pss_bytes
    assert memory_of(2**22 + 1) is None
