"""What a caller's rows have cost R, by model version: whoever ends its processes, or hangs in them, pays for it alone. Pure.

A row that crashes R takes a worker or two, one over which R hangs takes one until its time is up: ten such rows a second are
nothing for a gateway and all that a model has. So what they cost is counted, in seconds of R. For a while a caller's rows then
share a run with nobody else's; from half of what a caller may lose on, its requests go one at a time; beyond it they are refused
until less is counted (a leaky bucket: `allowed_s` a minute). Each process counts for itself.

Of a run that several callers shared nobody knows whose rows it was. Who cannot be asked again is a suspect: its rows go apart until
some of them are scored as fast as others', and a second suspicion within a minute of the first counts.
A version that crashes over everybody's rows is broken, and nobody's loss: a crash counts where somebody was scored within a minute.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from shared.errors import TooManyRequestsError

#: What a row that crashes R costs: it is tried twice, and each time there must be a new process.
CRASH_S: Final = 0.25
#: For so long after the last loss a caller's rows share a run with nobody else's.
APART_S: Final = 60.0
#: No more is counted than this many times what is allowed in a minute, so nobody is refused for longer than a minute.
MOST: Final = 2
MAX_CALLERS: Final = 10_000
_PERIOD_S = 60.0
_BUSY_MS = 1000


@dataclass(slots=True, eq=False)
class Lost:
    """Of one caller in one version: what counts now, and its requests that are being scored."""

    seconds: float = 0.0
    at_s: float = 0.0  # as of when
    last_s: float = 0.0  # when it lost last
    is_suspect: bool = True  # nothing was lost yet for certain
    is_cleared: bool = False  # and since the suspicion its rows were scored as fast as others'
    in_flight: int = 0


class Losses:
    """Of one gateway process; false while nobody has lost anything, which costs a request nothing."""

    def __init__(self, allowed_s: float) -> None:
        """`allowed_s`: seconds of R in a minute, by caller and model version."""
        self._allowed_s = allowed_s
        #: By caller and group; the loss that is longest ago on the left.
        self._lost: OrderedDict[tuple[Hashable, Hashable], Lost] = OrderedDict()
        #: When rows of anybody were scored last, by group.
        self._scored_s: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._lost)

    def count(self, caller: Hashable, group: Hashable, seconds: float, now: float) -> None:
        """Rows of this caller cost so many seconds of R. At most `MAX_CALLERS` are remembered."""
        self._note(caller, group, seconds, now).is_suspect = False

    def crashed(self, caller: Hashable, group: Hashable, now: float) -> None:
        """A row of this caller ended R's process, twice."""
        if now - self._scored_s.get(group, -math.inf) <= APART_S:
            self.count(caller, group, CRASH_S, now)

    def suspect(self, caller: Hashable, group: Hashable, seconds: float, now: float) -> None:
        """Rows of this caller may have cost so many seconds: they are kept apart until `clear`. It counts after a `clear`."""
        lost = self._lost.get((caller, group))
        if lost is not None and lost.is_cleared and now - lost.last_s <= APART_S:
            self.count(caller, group, seconds, now)
        else:
            self._note(caller, group, 0.0, now)

    def scored(self, group: Hashable, now: float) -> None:
        """Rows of somebody were."""
        if group not in self._scored_s and len(self._scored_s) >= MAX_CALLERS:
            self._scored_s.clear()
        self._scored_s[group] = now

    def clear(self, caller: Hashable, group: Hashable) -> None:
        """Rows of this caller alone were scored as fast as others: they need not be apart, if it was no more than a suspect."""
        lost = self._lost.get((caller, group))
        if lost is not None and lost.is_suspect:
            lost.is_cleared = True

    def is_apart(self, caller: Hashable, group: Hashable, now: float) -> bool:
        """Whether its rows had better share a run with nobody else's."""
        self._forget(now)
        lost = self._lost.get((caller, group))
        if lost is None:
            return False
        self._leak(lost, now)
        return lost.seconds > 0.0 or (not lost.is_cleared and now - lost.last_s <= APART_S)

    def check(self, caller: Hashable, group: Hashable, now: float, *, another: bool = False) -> Lost | None:
        """What it has lost, if anything. Raises TooManyRequestsError beyond what is allowed.

        `another`: one more request, which from half of that on has to wait until the one before it is over.
        """
        lost = self._lost.get((caller, group))
        if lost is None:
            return None
        self._leak(lost, now)
        if lost.seconds >= self._allowed_s:
            wait_ms = int(1000 * (lost.seconds - self._allowed_s) * _PERIOD_S / self._allowed_s) + 1
            raise self._refusal(f"yours are taken again in {wait_ms} ms", max(wait_ms, _BUSY_MS))
        if another and lost.in_flight and lost.seconds >= self._allowed_s / 2:
            raise self._refusal("for now one request of yours at a time is scored by this model", _BUSY_MS)
        return lost

    def has_few(self, caller: Hashable, group: Hashable, now: float) -> bool:
        """Whether less than half of what is allowed counts of this caller."""
        lost = self._lost.get((caller, group))
        if lost is None:
            return True
        self._leak(lost, now)
        return lost.seconds < self._allowed_s / 2

    def _refusal(self, detail: str, wait_ms: int) -> TooManyRequestsError:
        return TooManyRequestsError(
            f"rows of yours crash R or keep it for far longer than others do: send other rows; {detail}",
            retry_after_ms=wait_ms,
            reason="harmful_rows",
        )

    def _note(self, caller: Hashable, group: Hashable, seconds: float, now: float) -> Lost:
        lost = self._lost.setdefault((caller, group), Lost(at_s=now))
        self._leak(lost, now)
        lost.seconds = min(MOST * self._allowed_s, lost.seconds + seconds)
        lost.last_s, lost.is_cleared = now, False
        self._lost.move_to_end((caller, group))
        while len(self._lost) > MAX_CALLERS:
            self._lost.popitem(last=False)
        return lost

    def _leak(self, lost: Lost, now: float) -> None:
        lost.seconds = max(0.0, lost.seconds - max(0.0, now - lost.at_s) * self._allowed_s / _PERIOD_S)
        lost.at_s = max(lost.at_s, now)

    def _forget(self, now: float) -> None:
        """Those of whom nothing counts any more."""
        while self._lost:
            key, lost = next(iter(self._lost.items()))
            self._leak(lost, now)
            if lost.seconds or now - lost.last_s <= APART_S:
                return
            del self._lost[key]
