"""Strict JSON (RFC 8259) as tokens of bytes, for the exact way: positions for messages, bounded depth, no recursion.

Takes what msgspec takes and one thing more: NaN and Infinity come out as tokens of their own, so that they can be reported
where they stand. Long work is generators that pause at `yield`.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any, NoReturn, TypeVar

from gateway.core.contract.forms import (
    ARRAY,
    BOOLEAN,
    LONG_STRING,
    MAX_TEXT_BYTES,
    NOT_FINITE,
    NULL,
    NUMBER,
    OBJECT,
    STRING,
    text_from_escapes,
)
from gateway.core.findings import Findings
from shared.errors import MalformedRequestError

T = TypeVar("T")
Steps = Generator[None, None, T]

MAX_DEPTH = 64
# A group that can fail half-way is not repeated possessively, but `(?>(?:…)*)`: before 3.11.5, and so in Debian 12, Python's `re`
# goes on behind a last turn that failed (gh-106052), and takes `1.` for a number.
_PIECES = rb'(?>(?:[^"\\\x00-\x1f]{1,2048}+|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})){0,128})'
_TOKEN = re.compile(
    rb"[ \t\n\r]{0,256}+(?:"
    rb"([{}\[\]:,])"
    rb'|"(' + _PIECES + rb')"'
    rb"|(-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)(?![0-9A-Za-z.+-])"
    rb"|(true|false|null)(?![0-9A-Za-z_])"
    rb"|(-?(?:NaN|nan|Infinity|inf|Inf))(?![0-9A-Za-z_])"
    rb")"
)
_ONE_PIECE = re.compile(rb'[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')
_SOME_PIECES = re.compile(_PIECES)
_SPACES = 16_384
_SPACE = re.compile(rb"[ \t\n\r]*+")
_LITERALS = {b"true": (BOOLEAN, True), b"false": (BOOLEAN, False), b"null": (NULL, None)}
#: What an opening bracket begins.
OPENING = {"{": OBJECT, "[": ARRAY}
SCALARS = frozenset({STRING, NUMBER, BOOLEAN, NULL, NOT_FINITE})

END = "end"


def _too_long(raw: bytes) -> bool:
    """Whether a JSON text is longer than any text may be, whatever its escapes: six bytes may stand for one, as in `\\u0041`."""
    return len(raw) > MAX_TEXT_BYTES and (len(raw) > 6 * MAX_TEXT_BYTES or b"\\" not in raw)


class Scanner:
    """A position in a body, and what stands there. Raises MalformedRequestError, which says where, for what is not JSON."""

    __slots__ = ("at", "body", "findings")

    def __init__(self, body: bytes, findings: Findings, at: int = 0) -> None:
        self.body = body
        self.at = at
        self.findings = findings

    def take(self) -> tuple[str, Any]:
        """The next token: (kind, value), or (the character itself, None) for one of `{}[]:,`, or (END, None).

        A text of 256 KiB or of many escapes comes as (LONG_STRING, where it begins) and is read by `rest_of_string`.
        """
        match = _TOKEN.match(self.body, self.at)
        if match is None:
            return self._other()
        self.at = match.end()
        which = match.lastindex
        if which == 1:
            return match[1].decode(), None
        if which == 2:
            return STRING, self.text(match[2], match.start(2))
        if which == 3:
            return NUMBER, match[3]
        if which == 4:
            return _LITERALS[match[4]]
        return NOT_FINITE, match[5]

    def _other(self) -> tuple[str, Any]:
        """What is no ordinary token: the end, a long text, or a mistake."""
        at = self._after_space()
        if at >= len(self.body):
            self.at = at
            return END, None
        if at > self.at:
            self.at = at
            return self.take()
        if self.body[at : at + 1] != b'"':
            self.fail("no JSON value begins here", at)
        pieces = _SOME_PIECES.match(self.body, at + 1)
        end = pieces.end() if pieces else at + 1
        if _ONE_PIECE.match(self.body, end) is None:
            self.bad_text(end)
        self.at = at
        return LONG_STRING, at

    def _after_space(self) -> int:
        """Where the white space from here ends; very much of it is passed over in large pieces."""
        at, body = self.at, self.body
        while (piece := body[at : at + _SPACES]).isspace() and b"\x0b" not in piece and b"\x0c" not in piece:
            at += len(piece)
        space = _SPACE.match(body, at)
        return space.end() if space else at

    def bad_text(self, at: int) -> NoReturn:
        """Refuse a text that does not go on at `at`."""
        follows = self.body[at : at + 1]
        if not follows:
            self.fail("the text is not ended: the body is cut off", at)
        if follows == b"\\":
            self.fail('a backslash must be followed by one of " \\ / b f n r t or by u and four hex digits', at)
        self.fail(f"the control character U+{follows[0]:04X} must be written as an escape", at)

    def rest_of_string(self) -> Steps[tuple[str, Any]]:
        """The token of the long string that begins at `at`; (LONG_STRING, None) if it is longer than a text may be."""
        start = at = self.at + 1
        while True:
            match = _SOME_PIECES.match(self.body, at)
            if match is None or match.end() == at:
                break
            at = match.end()
            if self.findings.due():
                yield from self.findings.pause()
        if self.body[at : at + 1] != b'"':
            self.bad_text(at)
        self.at = at + 1
        raw = self.body[start:at]
        return (LONG_STRING, None) if _too_long(raw) else (STRING, self.text(raw, start))

    def text(self, raw: bytes, at: int) -> str:
        """The text between quotes; raises MalformedRequestError for what is not UTF-8."""
        try:
            return text_from_escapes(raw)
        except UnicodeDecodeError as error:
            self.fail("the body is not UTF-8", at + error.start)

    def value(self, kind: str, value: Any) -> Steps[tuple[str, Any]]:
        """The value that the token just taken begins, whole: a container's content is passed over, a long text is read."""
        if kind in OPENING:
            yield from self.skip(kind)
            return OPENING[kind], None
        if kind == LONG_STRING:
            return (yield from self.rest_of_string())
        if kind in SCALARS:
            return kind, value
        self.unexpected(kind, "a value")

    def begun(self, kind: str, value: Any) -> Steps[tuple[str, str, Any]]:
        """What the token just taken begins, as a form sees it: (the bracket of a container left open, or "", kind, value).

        A long text is read. The caller looks at the value, and then passes over what is left open, by `skip`.
        """
        if kind in OPENING:
            return kind, OPENING[kind], None
        if kind == LONG_STRING:
            kind, value = yield from self.rest_of_string()
        elif kind not in SCALARS:
            self.unexpected(kind, "a value")
        return "", kind, value

    def skip(self, opening: str, most: int | None = None) -> Steps[None]:
        """Pass over the rest of a container whose opening bracket was just taken.

        Refused: more than `MAX_DEPTH` levels, and more than `most` bytes.
        """
        stack = [opening]
        first = True
        last = len(self.body) if most is None else self.at + most
        while stack:
            if self.findings.tick():
                yield from self.findings.pause()
            if self.at > last:
                self.fail(f"more than the {most} bytes that this part of a request may have", self.at)
            kind, value = self.take()
            if first and kind == ("}" if stack[-1] == "{" else "]"):
                stack.pop()
            else:
                if stack[-1] == "{":
                    if kind == LONG_STRING:
                        kind, value = yield from self.rest_of_string()
                    if kind not in (STRING, LONG_STRING):
                        self.unexpected(kind, "a key in quotes")
                    self.expect(":")
                    kind, value = self.take()
                if kind in OPENING:
                    if len(stack) >= MAX_DEPTH - 4:
                        self.fail(f"nested deeper than {MAX_DEPTH} levels", self.at - 1)
                    stack.append(kind)
                    first = True
                    continue
                yield from self.value(kind, value)
            # After a value: close as many containers as end here, or go on to the next member.
            first = False
            while stack:
                kind, _ = self.take()
                if kind == ",":
                    break
                if kind != ("}" if stack[-1] == "{" else "]"):
                    self.unexpected(kind, "a comma or the end of the " + ("object" if stack[-1] == "{" else "array"))
                stack.pop()

    def expect(self, wanted: str) -> None:
        """Take this one character."""
        kind, _ = self.take()
        if kind != wanted:
            self.unexpected(kind, f"'{wanted}'")

    def end(self) -> None:
        """Only white space is left."""
        kind, _ = self.take()
        if kind != END:
            self.fail("the JSON ends before this, but the body goes on", self.at - 1)

    def unexpected(self, kind: str, wanted: str) -> NoReturn:
        """Refuse the token just taken."""
        if kind == END:
            self.fail(f"the body is cut off: expected {wanted}", len(self.body))
        self.fail(f"expected {wanted}", max(0, self.at - 1))

    def fail(self, what: str, at: int) -> NoReturn:
        """Raise MalformedRequestError naming the byte, and line and column where there is more than one line."""
        line = self.body.count(b"\n", 0, at) + 1
        where = f"byte {at}"
        if line > 1:
            column = at - self.body.rfind(b"\n", 0, at)
            where += f" (line {line}, column {column})"
        raise MalformedRequestError(f"The body is not well-formed JSON: {what}, at {where}.")
