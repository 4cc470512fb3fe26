"""One version of the store in this pod: its state, why it is not served, and when it is tried again. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from scorer.core.calls import Key
from scorer.core.manifest import Manifest
from scorer.core.states import VERSION_MOVES, VersionState, move

_LONGEST_PAUSE_S = 600.0


@dataclass(slots=True, eq=False)
class Version:
    """One version of the store in this pod. `reason` says why it is unavailable, or what it waits for."""

    model: str
    version: str
    tag: str  # of the manifest in the store
    state: VersionState = VersionState.FETCHING
    reason: str | None = None
    retry_at_s: float = math.inf  # when it is tried again: unavailable for something that may pass
    attempts: int = 0
    leaves_at_s: float = math.inf  # when a retracted one takes no more calls: gateways have noticed by then
    manifest: Manifest | None = None
    digest: str = ""
    batchable: bool = True
    batchable_reason: str | None = None
    close: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def key(self) -> Key:
        """Its name in this pod."""
        return self.model, self.version

    def become(self, state: VersionState) -> None:
        """Move along the table. The reason of the last refusal stays until it is served."""
        self.state = move(VERSION_MOVES, self.state, state)
        self.retry_at_s = math.inf
        if state is VersionState.READY:
            self.reason = None

    def advance(self, state: VersionState) -> None:
        """Get this far in being loaded. A version that is READY stays so: only its zygote is made anew."""
        if self.state is not VersionState.READY:
            self.become(state)

    def refuse(self, reason: str, now: float, *, transient: bool, first_pause_s: float) -> None:
        """Do not serve it. What may pass (`transient`) is tried again: after `first_pause_s`, then twice as long each time.

        Ten minutes at most, and a tenth less of each: a look once in `first_pause_s` must not come a moment too soon.
        """
        self.become(VersionState.UNAVAILABLE)
        self.reason = reason
        if transient:
            self.retry_at_s = now + min(_LONGEST_PAUSE_S, first_pause_s * 2.0 ** min(self.attempts, 16)) * 0.9
            self.attempts += 1

    def retry_now(self, now: float) -> None:
        """What stood in the way may be gone: do not wait for the end of its pause."""
        if self.state is VersionState.UNAVAILABLE:
            self.retry_at_s = now
            self.attempts = 0

    def may_retry(self, tag: str, now: float) -> bool:
        """Whether an unavailable version is worth another try: its manifest has changed, or its pause is over."""
        return self.state is VersionState.UNAVAILABLE and (tag != self.tag or now >= self.retry_at_s)
