"""How many users there are at which second: the shapes of `./dev load`. Pure; `load_tests.shaped` gives them to Locust.

steady   ▁▇▇▇▇▇▇   all of them from the start
step     ▁▂▃▅▆▇    five steps up, as long as each other: where does the rate stop growing?
spike    ▂▂▇▇▂▂    a tenth, then all within a second, then a tenth: what of the tenth is lost?
soak     ▄▄▄▄▄▄▄   half of them for long: what grows?
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

STEPS = 5


@dataclass(frozen=True, slots=True)
class Shape:
    """`users_at(share, users)`: users at that share (0 to 1) of the run. `seconds`: how long a run is unless told otherwise."""

    what: str
    seconds: int
    users_at: Callable[[float, int], int]

    def users(self, at_s: float, run_s: float, users: int) -> int | None:
        """Users at that second of a run; at least 1, at most `users`; None once it is over."""
        if at_s >= run_s:
            return None
        return min(users, max(1, self.users_at(at_s / run_s, users)))


def _steady(_: float, users: int) -> int:
    return users


def _step(share: float, users: int) -> int:
    return math.ceil(users * (int(share * STEPS) + 1) / STEPS)


def _spike(share: float, users: int) -> int:
    return users if 1 / 3 <= share < 2 / 3 else math.ceil(users / 10)


def _soak(_: float, users: int) -> int:
    return math.ceil(users / 2)


SHAPES: dict[str, Shape] = {
    "steady": Shape("all users from the start", 60, _steady),
    "step": Shape(f"{STEPS} steps up to all users", 100, _step),
    "spike": Shape("a tenth of the users, all of them for a third of the time, a tenth", 60, _spike),
    "soak": Shape("half of the users for long", 600, _soak),
}
