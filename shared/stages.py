"""What a scorer tells a gateway of a call's time inside it, in one header of the hop: cheap to write, cheap to read."""

from __future__ import annotations

import re
from typing import NamedTuple

#: `queue predict`, whole microseconds.
TIMES_HEADER = "x-scorer-times-us"
_FORM = re.compile(r"([0-9]{1,10}) ([0-9]{1,10})")


class Times(NamedTuple):
    """Seconds of one call inside the scorer: until a worker had its first run, and from then to its last run's answer."""

    queue_s: float = 0.0
    predict_s: float = 0.0

    def header(self) -> bytes:
        """The field's value."""
        return b"%d %d" % (max(0, round(self.queue_s * 1e6)), max(0, round(self.predict_s * 1e6)))


NO_TIMES = Times()


def read_times(text: str) -> Times:
    """The inverse of `Times.header`; zeros for anything else, since a call must not fail for its clock."""
    found = _FORM.fullmatch(text)
    return Times(int(found[1]) / 1e6, int(found[2]) / 1e6) if found else NO_TIMES
