"""The states of a version and of a worker, as tables of legal moves. A move that is not in the table is a bug and raises."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar


class VersionState(StrEnum):
    """A model version in this pod, from the store to R and back."""

    FETCHING = "fetching"  # its files come from the store, verified by digest
    LOADING = "loading"  # its zygote loads packages and model
    TESTING = "testing"  # a throw-away fork scores the example
    STARTING = "starting"  # its first worker is on its way
    READY = "ready"
    UNAVAILABLE = "unavailable"  # reported with its reason, not served
    DRAINING = "draining"  # gone from the store: what waits is still answered


class WorkerState(StrEnum):
    """One forked R process."""

    STARTING = "starting"  # ordered from the zygote, does not listen yet
    IDLE = "idle"
    BUSY = "busy"  # from the moment it is chosen, not from when the bytes leave
    CHECKED = "checked"  # a ping is on its way
    ENDING = "ending"  # told to end; still counts until its death is seen


_V, _W = VersionState, WorkerState

VERSION_MOVES: Mapping[VersionState, frozenset[VersionState]] = {
    _V.FETCHING: frozenset({_V.LOADING, _V.UNAVAILABLE, _V.DRAINING}),
    _V.LOADING: frozenset({_V.TESTING, _V.UNAVAILABLE, _V.DRAINING}),
    _V.TESTING: frozenset({_V.STARTING, _V.UNAVAILABLE, _V.DRAINING}),
    _V.STARTING: frozenset({_V.READY, _V.UNAVAILABLE, _V.DRAINING}),
    _V.READY: frozenset({_V.UNAVAILABLE, _V.DRAINING}),
    _V.UNAVAILABLE: frozenset({_V.FETCHING, _V.READY, _V.DRAINING}),  # ready: its workers stay up again
    _V.DRAINING: frozenset(),
}

WORKER_MOVES: Mapping[WorkerState, frozenset[WorkerState]] = {
    _W.STARTING: frozenset({_W.IDLE, _W.ENDING}),
    _W.IDLE: frozenset({_W.BUSY, _W.CHECKED, _W.ENDING}),
    _W.CHECKED: frozenset({_W.IDLE, _W.ENDING}),
    _W.BUSY: frozenset({_W.IDLE, _W.ENDING}),
    _W.ENDING: frozenset(),
}

S = TypeVar("S", VersionState, WorkerState)


class IllegalMoveError(RuntimeError):
    """A state was left for one that the table does not allow."""


def move(table: Mapping[S, frozenset[S]], now: S, to: S) -> S:
    """`to`, if the table allows it from `now`."""
    if to not in table[now]:
        raise IllegalMoveError(f"{type(now).__name__}: {now} to {to}")
    return to
