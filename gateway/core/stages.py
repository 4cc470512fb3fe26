"""The stage clock: where one request's time went, without a gap, so that the parts add up to the whole.

A stage lasts from its `enter` to the next one's. What happened behind the hop is told by others (`scored`) and fitted into the
time that passed here, so no stage is ever negative. Pure: takes `now`, in seconds of one monotonic clock.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Final

import msgspec

from shared.stages import NO_TIMES, Times

#: In the order of a request's life; `read` and `write` are the body's way in and the answer's way out.
STAGES: Final = ("authenticate", "admit", "read", "validate", "wait", "hop", "queue", "predict", "split", "write")
#: `wait` tells callers about each other's traffic, so they see it in steps of so many ms.
WAIT_STEP_MS: Final = 5


_WAIT: Final = STAGES.index("wait")
_in_order = itemgetter(*STAGES)
_ALL: Final = ", ".join(f"{stage};dur=%{'d' if stage == 'wait' else '.2f'}" for stage in STAGES).encode()


class Trip(msgspec.Struct, eq=False):
    """A request's way to a scorer: when its (first) batch left and its answer was back, 0 while it is not so.

    `split_s`: when its rows were ready, where they had to wait for the limits.
    """

    left_s: float = 0.0
    back_s: float = 0.0
    times: Times = NO_TIMES
    split_s: float = 0.0


class Clock:
    """One request's clock, running in `authenticate` from `began_s` on."""

    __slots__ = ("_at_s", "_stage", "began_s", "spent_s")

    def __init__(self, began_s: float) -> None:
        self.began_s = self._at_s = began_s
        self._stage = "authenticate"
        #: Seconds by stage, of those that were entered. A stage may be entered twice (`admit`): its parts are summed.
        self.spent_s: dict[str, float] = {}

    @property
    def total_s(self) -> float:
        """From the beginning to the last `enter` or `end`."""
        return self._at_s - self.began_s

    def enter(self, stage: str, now: float) -> None:
        """The stage that was ends, this one begins."""
        if now > self._at_s:
            self.spent_s[self._stage] = self.spent_s.get(self._stage, 0.0) + (now - self._at_s)
            self._at_s = now
        elif self._stage not in self.spent_s:
            self.spent_s[self._stage] = 0.0
        self._stage = stage

    def end(self, now: float) -> None:
        """The request is over, or its answer is written; may be called again later."""
        self.enter(self._stage, now)

    def scored(self, trip: Trip, now: float) -> None:
        """`wait` ends as what the trip says: what was away and not in the scorer's queue or R is the hop."""
        if not trip.left_s:
            self.end(now)
            return
        self.enter("hop", min(trip.left_s, now))
        back_s = min(trip.back_s or now, now)
        away_s = max(0.0, back_s - self._at_s)
        predict_s = min(trip.times.predict_s, away_s)
        queue_s = min(trip.times.queue_s, away_s - predict_s)
        self.spent_s.update(queue=queue_s, predict=predict_s)
        self.enter("split", back_s)
        self.spent_s["hop"] = max(0.0, self.spent_s["hop"] - predict_s - queue_s)
        if trip.split_s:
            self.enter("admit", min(trip.split_s, now))
        self.end(now)


class MarkedClock(Clock):
    """A clock that also keeps when each stage was: for traces, which show times and not sums."""

    __slots__ = ("marks",)

    def __init__(self, began_s: float) -> None:
        super().__init__(began_s)
        #: Stage, from, until; in order. Of `hop` all of it, with what the scorer told inside.
        self.marks: list[tuple[str, float, float]] = []

    def enter(self, stage: str, now: float) -> None:
        """As `Clock.enter`."""
        was, since_s = self._stage, self._at_s
        super().enter(stage, now)
        if self.marks and self.marks[-1][0] == was:
            since_s = self.marks.pop()[1]
        self.marks.append((was, since_s, self._at_s))


def server_timing(spent_s: dict[str, float]) -> bytes:
    """The value of `Server-Timing` (W3C), in milliseconds, in the order of life."""
    if len(spent_s) == len(STAGES):  # a request that was scored
        times = [1000 * seconds for seconds in _in_order(spent_s)]
        times[_WAIT] = WAIT_STEP_MS * round(times[_WAIT] / WAIT_STEP_MS)
        return _ALL % tuple(times)
    parts = []
    for stage in STAGES:
        if (seconds := spent_s.get(stage)) is None:
            continue
        ms = seconds * 1000
        if stage == "wait":
            parts.append(f"wait;dur={WAIT_STEP_MS * round(ms / WAIT_STEP_MS)}")
        else:
            parts.append(f"{stage};dur={ms:.2f}")
    return ", ".join(parts).encode()
