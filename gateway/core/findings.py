"""What is wrong with a request's data: every problem by JSON pointer, at most 100 of them in full, and how many there are.

Used while validating; refused data leaves as an InvalidDataError that carries the list. Looking for further problems costs the
server's time and not the caller's, so the search stops 50 ms after the first one is found.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any, NoReturn

from shared.errors import InvalidDataError

MAX_LISTED = 100
SEARCH_S = 0.05
#: After how long others are let run.
STEP_S = 0.004
#: The same where there is no clock: in values looked at.
SEARCH_TICKS, STEP_TICKS = 25_600, 2_048
#: Most characters of a caller's own text that a message repeats.
MAX_ECHO = 60

#: Every code a problem may carry, with what it means; docs/reference/requests.md is held against this.
CODES = {
    "missing_column": "a column of the model, or an input of the function, is not there",
    "unknown_column": "the model has no such column, or the function no such input",
    "duplicate_key": "the same key twice in one object",
    "missing_member": "a member that the request needs is not there",
    "unknown_member": "the request takes no such member",
    "conflicting_members": "members of which only one may be given",
    "wrong_type": "another type of JSON value than the column takes",
    "not_nullable": "null where the model cannot score a missing value",
    "unknown_level": "a label that is not one of the factor's levels",
    "out_of_range": "a number that the column's type cannot hold",
    "not_integral": "a number with a fraction in an integer column",
    "not_finite": "NaN or Infinity, which JSON does not have",
    "invalid_date": "text that is not a calendar day YYYY-MM-DD",
    "invalid_datetime": "text that is not an RFC 3339 date-time with an offset",
    "invalid_text": "text with U+0000 or half a surrogate pair, which R cannot hold",
    "text_too_long": "one text value of more than 1 MiB",
    "ragged_columns": "columns of different lengths",
    "no_rows": "no rows at all",
    "wrong_datatype": "a tensor datatype that the column does not take",
    "wrong_shape": "a tensor shape other than [n] or [n,1], or not that of its data",
    "wrong_size": "binary data whose size is not what the tensor says",
}


def pointer(*parts: str | int) -> str:
    """A JSON pointer (RFC 6901); parts longer than 128 characters are cut."""
    return "".join(f"/{_printable(str(part)[:128]).replace('~', '~0').replace('/', '~1')}" for part in parts)


def echo(text: str) -> str:
    """A caller's own text as it may stand in a message: in quotes, printable, at most `MAX_ECHO` characters."""
    shown = _printable(text[:MAX_ECHO]) + ("…" if len(text) > MAX_ECHO else "")
    return f'"{shown}"'


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def listing(names: Iterable[str], most: int = 10) -> str:
    """`"a", "b" and 3 more`."""
    quoted = [echo(name) for name in names]
    shown = ", ".join(quoted[:most])
    return f"{shown} and {len(quoted) - most} more" if len(quoted) > most else shown


class StopLookingError(Exception):
    """The time for listing further problems is over."""


class Findings:
    """The problems found so far, how long the search for more has taken, and when to let others run.

    `clock` gives seconds on any monotonic scale. Without one the search ends and pauses after numbers of values instead.
    """

    __slots__ = ("_began_at", "_clock", "_step_began_at", "_ticks", "_waited_s", "listed", "total")

    def __init__(self, clock: Callable[[], float] | None) -> None:
        self.listed: list[dict[str, Any]] = []
        self.total = 0
        self._clock = clock
        self._ticks = 0
        self._step_began_at = clock() if clock else 0.0
        self._began_at = 0.0
        self._waited_s = 0.0

    def __bool__(self) -> bool:
        return self.total > 0

    def add(self, code: str, where: str, detail: str, *, column: str | None = None, row: int | None = None) -> None:
        """Note one problem; `row` counts from 0, as the pointer does."""
        if not self.total:
            self._began_at = self._clock() if self._clock else float(self._ticks)
            self._waited_s = 0.0
        self.total += 1
        if len(self.listed) < MAX_LISTED:
            problem: dict[str, Any] = {"pointer": where, "code": code, "detail": detail}
            if column is not None:
                problem["column"] = _printable(column[:128])
            if row is not None:
                problem["row"] = row
            self.listed.append(problem)

    def tick(self) -> bool:
        """Count one value looked at; true when it is time to let others run. Raises StopLookingError when it is time to end."""
        self._ticks += 1
        if self._ticks & 15:
            return False
        if self._clock is None:
            if self.total and self._ticks - self._began_at > SEARCH_TICKS:
                raise StopLookingError
            return self._ticks % STEP_TICKS == 0
        now = self._clock()
        if self.total and now - self._began_at - self._waited_s > SEARCH_S:
            raise StopLookingError
        return now - self._step_began_at > STEP_S

    def due(self) -> bool:
        """Whether it is time to let others run; for work that counts no values."""
        return self._clock is not None and self._clock() - self._step_began_at > STEP_S

    def pause(self) -> Generator[None, None, None]:
        """Let others run; the time they take does not count."""
        if self._clock is None:
            yield
            return
        paused_at = self._clock()
        yield
        self._step_began_at = self._clock()
        self._waited_s += self._step_began_at - paused_at

    def refuse(self, subject: str, *, whole: bool = True) -> NoReturn:
        """Raise InvalidDataError with what was found; `whole` is false if the search ended before the data did."""
        count = f"{'' if whole else 'at least '}{self.total} problem{'s' if self.total != 1 else ''}"
        detail = f"The data does not fit {subject}: {count}."
        if not whole:
            detail += " The search for more was ended."
        raise InvalidDataError(detail, problems=self.listed, problems_total=self.total)
