"""One request's way through `admit`: what it asked for, what was decided, and its place among the concurrent until it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self

from gateway.core import ratelimit_fields
from gateway.core.admission import Admit, Admitted, Decision, Refused, refusal
from gateway.core.limits import Limits
from shared.errors import TooManyRequestsError

if TYPE_CHECKING:
    from gateway.shell.admit import Admission

#: Of the answer's header.
Fields = Sequence[tuple[bytes, bytes]]


class Ticket:
    """One request's admission: asked for, decided, and its place held until `release` or the deadline.

    A context manager: leaving it releases. Releasing twice is no error; before the decision it means that nobody waits for it
    any more, and what has neither begun nor left for the shared counters is never charged.
    """

    __slots__ = (
        "_admission", "_decision", "_fields", "_on_admitted", "_shared", "_waiter", "ask", "begun", "caller_key", "gone", "limits",
        "on_refused", "returned",
    )  # fmt: skip

    def __init__(
        self, admission: Admission, caller_key: str, limits: Limits, ask: Admit, decision: Decision | None = None
    ) -> None:
        self._admission = admission
        self.caller_key = caller_key
        self.limits = limits
        self.ask = ask
        self._decision = decision
        self._fields: Fields | None = None
        self._shared = False
        self._waiter: asyncio.Future[None] | None = None
        self._on_admitted: Callable[[], None] | None = None
        self.gone = False
        #: After `release`, where another process may lack its place: until it is given back the caller should not hear of its end.
        self.returned: asyncio.Future[None] | None = None
        #: Its work was begun before it was decided: it will be charged, whatever becomes of it.
        self.begun = False
        #: Called once, instead of raising, where nobody waits in `admitted` when the decision comes and it is a refusal.
        self.on_refused: Callable[[TooManyRequestsError], None] | None = None

    async def admitted(self) -> Fields:
        """The fields for its response, when it is decided. Raises TooManyRequestsError, whose `retry_after_ms` is enough."""
        if self._decision is None:
            self._waiter = asyncio.get_running_loop().create_future()
            self._admission.hurry()
            await self._waiter
        return self.fields()

    def fields(self) -> Fields:
        """As `admitted`, of one that is decided."""
        decision = self._decision
        if isinstance(decision, Refused):
            raise self._refusal(decision)
        if self._fields is None:
            assert decision is not None  # noqa: S101  what the waiter waited for
            self._fields = ratelimit_fields.encoded(self.limits, decision.usage)
        return self._fields

    def when_admitted(self, then: Callable[[], None]) -> None:
        """Have `then` called when it is decided, instead of waiting; a refusal goes to `on_refused`. Only while undecided."""
        assert self._waiter is None  # noqa: S101  one way of waiting
        self._on_admitted = then
        self._admission.hurry()

    def decided(self, decision: Decision, *, shared: bool) -> None:
        """By the shared counters, or by this process alone. Once."""
        self._decision, self._shared = decision, shared
        if self.begun:
            self._admission.was_sure(self.caller_key, self.ask.rows)
        if self.gone:
            self._give_back()
            return
        refused = decision if isinstance(decision, Refused) else None
        self._admission.observer.decided("admitted" if refused is None else refused.limit, shared=shared)
        if refused is None and self.begun:
            self.fields()  # while R works, and not when its answer is back
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
        elif refused is not None:
            if self.on_refused is not None:
                self.on_refused(self._refusal(refused))
        elif self._on_admitted is not None:
            self._on_admitted()

    def may_begin(self) -> bool:
        """Whether its work may begin before it is decided (`Admission.is_sure`): then it is charged even if released first."""
        self.begun = self._decision is None and self._admission.is_sure(self.caller_key, self.limits, self.ask.rows)
        return self.begun

    @property
    def undecided(self) -> bool:
        """Whether its decision is still to come."""
        return self._decision is None

    def release(self) -> None:
        """The request is over, however it ended. Never waits."""
        if not self.gone:
            self.gone = True
            self._give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _give_back(self) -> None:
        if self.ask.lease_ms > 0 and isinstance(self._decision, Admitted):
            self.returned = self._admission.give_back(
                self.caller_key, self.limits, self.ask.lease_id, shared=self._shared
            )

    def _refusal(self, refused: Refused) -> TooManyRequestsError:
        return refusal(self.limits, refused, ratelimit_fields.fields(self.limits, refused.usage))
