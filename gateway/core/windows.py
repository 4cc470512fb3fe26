"""How many requests a caller may have in flight and still be answered in time: found by what happens to them. Pure.

As long as answers come well before their deadlines there is no window. When one comes late the caller's window becomes less than
what it has in flight, and grows again, slowly, with each answer in time (additive increase, multiplicative decrease, as TCP's).
Whatever makes answers late (R, the event loop, Redis) needs not be known for that. A caller with few in flight has no window.

What is late for those that allow 50 ms is early for those that allow 10 s, so there is one for each power of two of that time.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Final

#: Requests of one caller in flight that are no flood.
FEW: Final = 32
#: Of the time allowed; what is left is for answers that take longer than this one.
LATE: Final = 0.7
#: Of the time allowed, what may be waited only for this process to have time: beyond, more in flight makes every turn of its event
#: loop longer and nothing faster.
LAG: Final = 0.1
_LESS: Final = 0.75
#: A window is made smaller at most once in so long: what it did shows only in later answers.
_PAUSE_S: Final = 0.2


class Windows:
    """Of the callers that had late answers; at most `most` requests are in flight in all."""

    def __init__(self, most: int) -> None:
        self.most = most
        #: By caller and power of two of the time allowed: the window, and when it was last made smaller.
        self._windows: dict[Hashable, dict[int, tuple[float, float]]] = {}

    def __len__(self) -> int:
        """Callers that have one."""
        return len(self._windows)

    def fits(self, caller: Hashable, held: int, allowed_s: float) -> bool:
        """Whether one more that allows itself so long would be answered in time, of a caller with so many in flight."""
        if held < FEW or not self._windows:
            return True
        own = self._windows.get(caller)
        found = None if own is None else own.get(_power(allowed_s))
        return found is None or held < found[0]

    def answered(
        self, caller: Hashable, held: int, took_s: float, allowed_s: float, now: float, lag_s: float = 0.0
    ) -> None:
        """One of the caller's requests was answered after `took_s` of the `allowed_s`; so many were in flight, itself included.

        `lag_s` of that it waited for this process to have time for it, with nothing else to wait for.
        """
        own, power = self._windows.get(caller), _power(allowed_s)
        found = None if own is None else own.get(power)
        if took_s > LATE * allowed_s or lag_s > LAG * allowed_s:
            window, since_s = found or (float(self.most), 0.0)
            if held >= FEW and now - since_s >= _PAUSE_S:
                self._windows.setdefault(caller, {})[power] = max(float(FEW), _LESS * min(window, held)), now
        elif own is not None and found is not None:
            window = found[0] + FEW / found[0]
            if held > 1 and window < self.most:
                own[power] = window, found[1]
            else:
                del own[power]
                if not own:
                    del self._windows[caller]

    def gone(self, caller: Hashable) -> None:
        """The caller has nothing in flight any more."""
        self._windows.pop(caller, None)


def _power(allowed_s: float) -> int:
    return math.frexp(allowed_s)[1]
