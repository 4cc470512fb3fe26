"""What the shell is to do: the pool's decisions, as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from scorer.core.calls import Call, Key, Run
from shared.errors import ScoregateError
from shared.messages import ItemError
from shared.wire import Frame


class Cause(StrEnum):
    """Why a worker is no more."""

    DIED = "died"
    CRASHED = "crashed"  # killed: R's handler of a crash had begun and did not end
    HUNG = "hung"  # killed: its run was longer than allowed
    STOPPED = "stopped"  # killed: something had stopped it (SIGSTOP), which is not its rows' doing
    UNANSWERED = "unanswered"  # killed: it did not answer a ping, or its connection broke
    RETIRED = "retired"  # idle for long, replaced, or its version is gone
    GROWN = "grown"  # replaced: its own memory had grown too far
    WORN = "worn"  # replaced: after as many runs as one may have, or as R collects before it collects fully
    NOT_STARTED = "not_started"


ORDERLY = frozenset({Cause.RETIRED, Cause.GROWN, Cause.WORN})


@dataclass(frozen=True, slots=True)
class Fork:
    """Order a worker of this version under this number."""

    key: Key
    worker: int


@dataclass(frozen=True, slots=True)
class Send:
    """Give the worker this run; `ahead`: while it still works on another."""

    worker: int
    run: Run
    ahead: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """Kill the worker; its death comes back as `worker_gone`."""

    worker: int
    cause: Cause


@dataclass(frozen=True, slots=True)
class Answer:
    """The call has its answer: rows of the items that succeeded, or an error for the whole."""

    call: Call
    frame: Frame | None = None
    sizes: tuple[int, ...] = ()
    errors: tuple[ItemError, ...] = ()
    refused: ScoregateError | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """Read the worker's private memory and call `measured`; it gets no work until then."""

    worker: int


@dataclass(frozen=True, slots=True)
class Yield:
    """Have the worker leave the processor to others where they want it."""

    worker: int


@dataclass(frozen=True, slots=True)
class Down:
    """The version's workers cannot stay up: it is not served any more."""

    key: Key
    reason: str


@dataclass(frozen=True, slots=True)
class Up:
    """A worker of a version that was down has stayed."""

    key: Key


Effect = Fork | Send | End | Answer | Measure | Yield | Down | Up
