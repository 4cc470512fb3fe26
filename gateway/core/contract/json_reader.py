"""Reads a large JSON body in steps: chunks of about 64 KiB by msgspec, and what msgspec cannot take value by value.

The trick that makes chunks safe: JSON is read from left to right, so if the text from a known start up to a bracket or comma
decodes as a whole list of the expected type, that bracket or comma is where the list's element ends, whatever it looked like.
Where a chunk does not decode, the exact way takes over from its first byte: it either finds the problems, or takes
the values, and chunks go on after it. So both ways always agree on what is valid.

Knows arrays of one column's values, and nothing of what a request is: see `v1_reader`, `oip_reader` and `function`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec

from gateway.core.contract.chunks import element_ends, ends_here, nested_ends
from gateway.core.contract.forms import (
    ARRAY,
    LONG_STRING,
    STRING,
    Buffers,
    Form,
    RefusedError,
    UnfitError,
    Value,
    describe,
    flatten,
    join,
    with_negative_zeros,
)
from gateway.core.contract.tokens import SCALARS, Scanner, Steps
from gateway.core.findings import Findings, pointer
from shared.wire import pack

#: Bytes decoded in one go: about 1 ms.
CHUNK_BYTES = 64 * 1024
#: A row or value larger than this many chunks is read the exact way.
_MOST_CHUNKS = 4


def decoded(decode: Callable[[bytes], Any], body: bytes) -> Any:
    """What msgspec makes of it; raises UnfitError."""
    try:
        return decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UnfitError from None


class Column:
    """One column while it is read: parts packed already, and values still to be packed."""

    __slots__ = ("form", "parts", "rows", "values")

    def __init__(self, form: Form) -> None:
        self.form = form
        self.parts: list[Buffers] = []
        self.values: list[Value] = []
        self.rows = 0

    def add(self, part: Buffers, rows: int) -> None:
        """A packed part."""
        self.flush()
        self.parts.append(part)
        self.rows += rows

    def append(self, value: Value) -> None:
        """One value."""
        self.values.append(value)
        self.rows += 1

    def flush(self) -> None:
        """Pack what is waiting."""
        if self.values:
            self.parts.append(pack(self.form.field, self.values))
            self.values = []

    def buffers(self) -> Buffers:
        """The whole column."""
        self.flush()
        return join(self.parts) if self.parts else pack(self.form.field, [])


class JsonReader:
    """One body, from its first token on. `chunk_bytes` 0 reads all of it the exact way.

    `limit` is told how many rows or values there are so far, and raises where that is more than the server takes.
    """

    def __init__(
        self,
        body: bytes,
        clock: Callable[[], float] | None,
        limit: Callable[[int], None],
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self.body = body
        self.findings = Findings(clock)
        self.scan = Scanner(body, self.findings)
        self.limit = limit
        self.chunk_bytes = chunk_bytes

    # --- between values

    def key(self, kind: str, key: Any) -> Steps[str]:
        """The member's name, the colon after it taken too."""
        if kind == LONG_STRING:
            kind, key = yield from self.scan.rest_of_string()
            if kind == LONG_STRING:
                kind, key = STRING, "(a key of more than 1 MiB)"
        if kind != STRING:
            self.scan.unexpected(kind, "a key in quotes")
        self.scan.expect(":")
        return str(key)

    def next_member(self) -> tuple[str, Any]:
        """After a member: ("}", None), or the token of the next key."""
        kind, _ = self.scan.take()
        if kind == "}":
            return kind, None
        if kind != ",":
            self.scan.unexpected(kind, "a comma or the end of the object")
        kind, key = self.scan.take()
        if kind == "}":
            self.scan.unexpected(kind, "a key in quotes after the comma")
        return kind, key

    def next_element(self) -> bool:
        """After an element: whether another follows."""
        kind, _ = self.scan.take()
        if kind not in (",", "]"):
            self.scan.unexpected(kind, "a comma or the end of the array")
        return kind == ","

    def peek(self) -> str:
        """The kind of the next token, which is not taken."""
        at = self.scan.at
        kind, _ = self.scan.take()
        self.scan.at = at
        return kind

    def instead(self, kind: str, value: Any, where: str, wanted: str, **place: Any) -> Steps[None]:
        """Note that a value of another kind was expected here, and pass over it."""
        opened, kind, value = yield from self.scan.begun(kind, value)
        self.findings.add("wrong_type", where, f"expected {wanted}, got {describe(kind, value)}", **place)
        if opened:
            yield from self.scan.skip(opened)

    def rest(self, columns: list[Column]) -> Steps[None]:
        """Pause in the exact way: what was taken is packed now, a little at a time."""
        for column in columns:
            column.flush()
        yield from self.findings.pause()

    # --- chunks

    def chunk(
        self, ends: Callable[[bytes, int, int], Iterator[int]], take: Callable[[int, int], int]
    ) -> Steps[tuple[int, int]]:
        """Take a chunk from here: (how many, 0), or (0, up to which byte the exact way must go) with nothing taken."""
        start, size, body = self.scan.at, self.chunk_bytes, self.body
        while True:
            failed = 0
            for end in ends(body, start, min(start + size, len(body))):
                if taken := take(start, end):
                    return taken, 0
                failed = end
            if failed:
                return 0, failed
            if start + size >= len(body):
                return 0, len(body) + 1
            if size >= _MOST_CHUNKS * self.chunk_bytes:
                return 0, start + 1
            size *= 2
            yield from self.findings.pause()

    def _take_elements(self, column: Column, decode: Callable[[bytes], list[Any]], start: int, end: int) -> int:
        if not ends_here(self.body, end):
            return 0
        text = b"[%b]" % self.body[start:end]
        try:
            values = decoded(decode, with_negative_zeros(text) if column.form.numeric else text)
            self.limit(column.rows + len(values))
            column.add(column.form.pack(values), len(values))
        except UnfitError:
            return 0
        self.scan.at = end
        return len(values)

    # --- values of one column

    def add_value(
        self, column: Column, where: tuple[str | int, ...], kind: str, value: Any, row: int | None = None
    ) -> None:
        """Add a value, as `Scanner.begun` gives it, to the column, or note why the column does not take it."""
        try:
            checked = column.form.check(kind, value)
            if not self.findings:
                column.append(checked)
        except RefusedError as error:
            self.findings.add(error.code, pointer(*where), error.detail, column=column.form.field.name, row=row)

    def array(
        self,
        column: Column,
        where: tuple[str | int, ...],
        decode: Callable[[bytes], list[Any]],
        decode_nested: Callable[[bytes], list[tuple[Any]]] | None = None,
    ) -> Steps[int]:
        """Read an array (of values, or a tensor's data) whose opening bracket was just taken, to its end; its length.

        With `decode_nested` each element may be an array of one value instead (a tensor of shape [n,1]).
        """
        scan, findings = self.scan, self.findings
        first = self.peek()
        if first == "]":
            scan.take()
            return 0
        ends = element_ends
        if nested := first == "[" and decode_nested is not None:
            ends, decode = nested_ends, partial(_flat, decode_nested)
        rows = 0
        exact_until = 0 if self.chunk_bytes else len(self.body) + 1
        while True:
            if scan.at >= exact_until and not findings:
                taken, exact_until = yield from self.chunk(ends, partial(self._take_elements, column, decode))
                rows += taken
                if taken:
                    if not self.next_element():
                        return rows
                    yield from findings.pause()
                    continue
            yield from self._element(column, (*where, rows), rows, nested=nested)
            rows += 1
            self.limit(rows)
            if findings.tick():
                yield from self.rest([column])
            if not self.next_element():
                return rows

    def _element(self, column: Column, where: tuple[str | int, ...], row: int, *, nested: bool) -> Steps[None]:
        scan = self.scan
        kind, value = scan.take()
        opened = ""
        if nested:
            opened, kind, value = yield from self._only(kind, value)
        elif kind not in SCALARS:
            opened, kind, value = yield from scan.begun(kind, value)
        self.add_value(column, where, kind, value, row)
        if opened:
            yield from scan.skip(opened)

    def _only(self, kind: str, value: Any) -> Steps[tuple[str, str, Any]]:
        """As `Scanner.begun`, of the only value of an array of one that was just begun.

        Anything else counts as an array, which no column takes.
        """
        scan = self.scan
        if kind != "[":
            kind, value = yield from scan.value(kind, value)
            return "", ARRAY, None
        start = scan.at
        kind, value = scan.take()
        if kind == LONG_STRING:
            kind, value = yield from scan.rest_of_string()
        if kind in SCALARS and self.peek() == "]":
            scan.take()
            return "", kind, value
        scan.at = start
        return "[", ARRAY, None


def _flat(decode: Callable[[bytes], list[tuple[Any]]], text: bytes) -> list[Any]:
    return flatten(decode(text))
