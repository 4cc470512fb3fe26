"""What the stages tell of a request's trace, when there is one: `gateway.shell.tracing` makes spans of it, and `app` hands it in.

Named here so that no stage imports OpenTelemetry, which is an extra.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from gateway.core.stages import Clock

Scope = MutableMapping[str, Any]


class Trace(Protocol):
    """One request's span and what hangs on it; nobody but `Tracing` looks inside."""


class Tracing(Protocol):
    """The observer of one gateway process. Nothing in it waits, and nothing in it fails a request."""

    def begins(self, scope: Scope, clock: Clock) -> None:
        """A caller is known: its request has a trace from here on, the caller's own where it brought one."""

    def waits(self, scope: Scope, version: str, rows: int) -> Trace | None:
        """Its rows are about to be scored by this version."""

    def leaves(
        self, model: str, version: str, rows: int, traces: Sequence[Trace | None], left_s: float
    ) -> AbstractContextManager[str | None]:
        """A batch of these requests' goes to a scorer, and is back at the end of the block. Gives the `traceparent` to send."""

    def answered(self, scope: Scope, clock: Clock, model: str, status: int, code: str) -> None:
        """It is over; its clock has ended."""
