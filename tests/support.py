"""Waiting for facts: the only way a test here waits for anything."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(fact: Callable[[], T | None], *, within_s: float = 20.0, every_s: float = 0.02, what: str = "") -> T:
    """The first truthy value of `fact()`; fails loudly, with the last exception, when `within_s` seconds are over.

    AssertionError and OSError of `fact` count as "not yet".
    """
    deadline = time.monotonic() + within_s
    last: BaseException | None = None
    while time.monotonic() < deadline:
        try:
            if value := fact():
                return value
        except (AssertionError, OSError) as error:
            last = error
        _pause(every_s)
    raise AssertionError(f"{what or fact} did not come true within {within_s} s") from last


def _pause(seconds: float) -> None:
    """Between two looks at a fact; never instead of one."""
    time.sleep(seconds)
