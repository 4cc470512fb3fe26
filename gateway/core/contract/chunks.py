"""Where a chunk of a JSON array may end: guesses, of which decoding the chunk shows whether they are right.

Each function yields positions in a window of the body, the likeliest first. None at all: no element ends in the window.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_TEXT = rb'"(?:[^"\\]++|\\.)*+"'
_S = rb"[ \t\n\r]*+"
#: Whole rows from here: objects without containers, each with the comma after it or right before a closing bracket.
_ROWS = re.compile(
    rb"(?>(?:" + _S + rb'\{(?>(?:[^"{}\[\]]++|' + _TEXT + rb")*)\}" + _S + rb"(?:,|(?=\])))+)", re.DOTALL
)
#: Whole scalars from here, likewise.
_ELEMENTS = re.compile(rb"(?>(?:" + _S + rb'(?:[^"{}\[\],]++|' + _TEXT + rb")" + _S + rb"(?:,|(?=\])))+)", re.DOTALL)
_NEXT = re.compile(_S + rb"[,\]]")
_NESTED_END = re.compile(rb"\]" + _S + rb"\]")
_CLOSING = re.compile(_S + rb"\]" + _S + rb"\}" + _S + rb"\Z")


def ends_here(body: bytes, at: int) -> bool:
    """Whether an element that ends at `at` is followed by a comma or the end of the array."""
    return _NEXT.match(body, at) is not None


def row_ends(body: bytes, start: int, end: int) -> Iterator[int]:
    """Rows that are objects."""
    last = _last_row(body) if end == len(body) else 0
    guess = last if start < last <= end else body.rfind(b"}", start, end) + 1
    if guess > start:
        yield guess
    if (match := _ROWS.match(body, start, min(end + 1, len(body)))) is not None:
        exact = body.rfind(b"}", start, match.end()) + 1
        if exact != guess:
            yield exact


def _last_row(body: bytes) -> int:
    """Where the last row ends if the body ends as a request should, `…} ] }`; else 0."""
    last = body.rfind(b"]")
    return body.rfind(b"}", 0, last) + 1 if last >= 0 and _CLOSING.match(body, last) else 0


def element_ends(body: bytes, start: int, end: int) -> Iterator[int]:
    """Scalars."""
    guess = body.find(b"]", start, end)
    if guess < 0:
        guess = body.rfind(b",", start, end)
    if guess > start:
        yield guess
    if (match := _ELEMENTS.match(body, start, min(end + 1, len(body)))) is not None:
        exact = match.end() - (body[match.end() - 1 : match.end()] == b",")
        if exact != guess:
            yield exact


def nested_ends(body: bytes, start: int, end: int) -> Iterator[int]:
    """Arrays of one scalar."""
    close = _NESTED_END.search(body, start, end)
    guess = (close.start() if close else body.rfind(b"]", start, end)) + 1
    if guess > start:
        yield guess
