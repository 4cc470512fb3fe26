"""States of versions and workers, and the moves that their tables allow."""

from __future__ import annotations

import pytest

from scorer.core.states import VERSION_MOVES, WORKER_MOVES, IllegalMoveError, VersionState, WorkerState, move


def test_every_state_has_its_row_in_the_table() -> None:
    assert set(VERSION_MOVES) == set(VersionState)
    assert set(WORKER_MOVES) == set(WorkerState)


def test_a_move_that_is_not_in_the_table_raises() -> None:
    with pytest.raises(IllegalMoveError, match="busy to checked"):
        move(WORKER_MOVES, WorkerState.BUSY, WorkerState.CHECKED)
