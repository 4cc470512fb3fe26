"""Reads a `/v1` body in steps: chunks of about 64 KiB by msgspec, and what msgspec cannot take value by value.

The trick that makes chunks safe: JSON is read from left to right, so if the text from a known start up to a bracket or comma
decodes as a whole list of the expected type, that bracket or comma is where the list's element ends, whatever it looked like.
Where a chunk does not decode, the exact way takes over from its first byte: it either finds the problems, or takes
the values, and chunks go on after it. So both ways always agree on what is valid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from gateway.core.contract.chunks import element_ends, ends_here, nested_ends, row_ends
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
from gateway.core.contract.text_forms import closest
from gateway.core.contract.tokens import OPENING, SCALARS, Scanner, Steps
from gateway.core.problems import Findings, StopLookingError, echo, listing, pointer
from shared.wire import Frame, pack

if TYPE_CHECKING:
    from gateway.core.contract.compiled import Contract

#: Bytes decoded in one go: about 1 ms.
CHUNK_BYTES = 64 * 1024
#: A row or value larger than this many chunks is read the exact way.
_MOST_CHUNKS = 4
_MAX_SUGGESTIONS = 5


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


class Reader:
    """One body. `chunk_bytes` 0 reads all of it the exact way."""

    #: Members of which a body has exactly one, and how that is said.
    MEMBERS: ClassVar[tuple[str, ...]] = ("rows", "columns")
    SHAPE: ClassVar[str] = '{"rows":[…]} or {"columns":{…}}'

    def __init__(
        self, contract: Contract, body: bytes, clock: Callable[[], float] | None, chunk_bytes: int = CHUNK_BYTES
    ) -> None:
        self.contract = contract
        self.body = body
        self.findings = Findings(clock)
        self.scan = Scanner(body, self.findings)
        self.chunk_bytes = chunk_bytes

    # --- the body's outermost object

    def read(self) -> Steps[Frame]:
        """The frame; raises MalformedRequestError, InvalidDataError or PayloadTooLargeError."""
        try:
            columns = yield from self._document()
        except StopLookingError:
            self.findings.refuse(self.contract.subject, whole=False)
        if self.findings:
            self.findings.refuse(self.contract.subject)
        return Frame(columns[0].rows if columns else 0, tuple(b for column in columns for b in column.buffers()))

    def _document(self) -> Steps[list[Column]]:
        scan, findings = self.scan, self.findings
        columns: list[Column] = []
        kind, value = scan.take()
        if kind != "{":
            yield from self._instead(kind, value, "", f"an object, {self.SHAPE}")
            scan.end()
            return columns
        seen: set[str] = set()
        kind, key = scan.take()
        while kind != "}":
            key = yield from self._key(kind, key)
            kind, value = scan.take()
            if key in self.MEMBERS and seen.isdisjoint(self.MEMBERS):
                columns = yield from self._data_of(key, kind, value)
            else:
                if key in seen:
                    findings.add("duplicate_key", pointer(key), f"{echo(key)} is given twice; give it once")
                elif key in self.MEMBERS:
                    findings.add("conflicting_members", pointer(key), 'give "rows" or "columns", not both')
                else:
                    detail = f"{echo(key)} is not taken here: a request is {self.SHAPE}"
                    findings.add("unknown_member", pointer(key), detail)
                yield from scan.value(kind, value)
            seen.add(key)
            if findings.tick():
                yield from findings.pause()
            kind, key = self._next_member()
        scan.end()
        if seen.isdisjoint(self.MEMBERS):
            findings.add("missing_member", "", f"give the data as {self.SHAPE}")
        return columns

    def _data_of(self, key: str, kind: str, value: Any) -> Steps[list[Column]]:
        """What one of `MEMBERS` holds."""
        return (self._rows if key == "rows" else self._columns)(kind, value)

    def _instead(self, kind: str, value: Any, where: str, wanted: str, **place: Any) -> Steps[None]:
        """Note that a value of another kind was expected here, and pass over it."""
        if kind == LONG_STRING:
            kind, value = yield from self.scan.rest_of_string()
        elif kind not in SCALARS and kind not in OPENING:
            self.scan.unexpected(kind, "a value")
        shown = describe(OPENING.get(kind, kind), value)
        self.findings.add("wrong_type", where, f"expected {wanted}, got {shown}", **place)
        if kind in OPENING:
            yield from self.scan.skip(kind)

    def _key(self, kind: str, key: Any) -> Steps[str]:
        """The member's name, the colon after it taken too."""
        if kind == LONG_STRING and key is not None:
            kind, key = yield from self.scan.rest_of_string()
        if kind == LONG_STRING:
            kind, key = STRING, "(a key of more than 1 MiB)"
        if kind != STRING:
            self.scan.unexpected(kind, "a key in quotes")
        self.scan.expect(":")
        return str(key)

    def _next_member(self) -> tuple[str, Any]:
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

    def _next_element(self) -> bool:
        """After an element: whether another follows."""
        kind, _ = self.scan.take()
        if kind not in (",", "]"):
            self.scan.unexpected(kind, "a comma or the end of the array")
        return kind == ","

    def _peek(self) -> str:
        at = self.scan.at
        kind, _ = self.scan.take()
        self.scan.at = at
        return kind

    def _limit(self, rows: int) -> None:
        if rows > self.contract.max_rows:
            self.contract.refuse_rows()

    def _rest(self, columns: list[Column]) -> Steps[None]:
        """Pause in the exact way: what was taken is packed now, a little at a time."""
        for column in columns:
            column.flush()
        yield from self.findings.pause()

    # --- chunks

    def _chunk(
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

    def _take_rows(self, columns: list[Column], start: int, end: int) -> int:
        if not ends_here(self.body, end):
            return 0
        try:
            rows, parts = self.contract.pack_rows(b"[%b]" % self.body[start:end], columns[0].rows if columns else 0)
        except UnfitError:
            return 0
        for column, part in zip(columns, parts, strict=True):
            column.add(part, rows)
        self.scan.at = end
        return rows

    def _take_elements(self, column: Column, decode: Callable[[bytes], list[Any]], start: int, end: int) -> int:
        if not ends_here(self.body, end):
            return 0
        text = b"[%b]" % self.body[start:end]
        try:
            values = decoded(decode, with_negative_zeros(text) if column.form.numeric else text)
            self._limit(column.rows + len(values))
            column.add(column.form.pack(values), len(values))
        except UnfitError:
            return 0
        self.scan.at = end
        return len(values)

    # --- rows

    def _rows(self, kind: str, value: Any) -> Steps[list[Column]]:
        contract, scan, findings = self.contract, self.scan, self.findings
        columns = [Column(form) for form in contract.forms]
        if kind != "[":
            yield from self._instead(kind, value, "/rows", "an array of objects")
            return columns
        if self._peek() == "]":
            scan.take()
            findings.add("no_rows", "/rows", "there are no rows; send at least one")
            return columns
        rows = 0
        exact_until = 0 if self.chunk_bytes and contract.row_list is not None else len(self.body) + 1
        while True:
            if scan.at >= exact_until and not findings:
                taken, exact_until = yield from self._chunk(row_ends, partial(self._take_rows, columns))
                rows += taken
                if taken:
                    if not self._next_element():
                        return columns
                    yield from findings.pause()
                    continue
            kind, value = scan.take()
            yield from self._row(kind, value, rows, columns)
            rows += 1
            self._limit(rows)
            if not self._next_element():
                return columns

    def _row(self, kind: str, value: Any, row: int, columns: list[Column]) -> Steps[None]:
        contract, scan, findings = self.contract, self.scan, self.findings
        if kind != "{":
            yield from self._instead(kind, value, pointer("rows", row), "an object", row=row)
            if findings.tick():
                yield from findings.pause()
            return
        got: dict[str, Value] = {}
        kind, key = scan.take()
        while kind != "}":
            if kind == STRING:
                scan.expect(":")
            else:
                key = yield from self._key(kind, key)
            kind, value = scan.take()
            opened = kind
            if kind not in SCALARS:
                if kind == LONG_STRING:
                    kind, value = yield from scan.rest_of_string()
                elif kind not in OPENING:
                    scan.unexpected(kind, "a value")
                kind = OPENING.get(kind, kind)
            if key in got:
                detail = f"{echo(key)} is given twice in this row"
                findings.add("duplicate_key", pointer("rows", row, key), detail, column=key, row=row)
            elif (index := contract.position.get(key)) is None:
                self._unknown(("rows", row), key, row)
                got[key] = None
            else:
                try:
                    got[key] = columns[index].form.check(kind, value)
                except RefusedError as error:
                    findings.add(error.code, pointer("rows", row, key), error.detail, column=key, row=row)
                    got[key] = None
            if opened in OPENING:
                yield from scan.skip(opened)
            if findings.tick():
                yield from self._rest(columns)
            kind, key = self._next_member()
        if got.keys() != contract.position.keys():
            for name in contract.position:
                if name not in got:
                    detail = f"{echo(name)} is not there"
                    findings.add("missing_column", pointer("rows", row, name), detail, column=name, row=row)
                    if findings.tick():
                        yield from findings.pause()
        if not findings:
            for column in columns:
                column.append(got[column.form.field.name])

    def _unknown(self, where: tuple[str | int, ...], key: str, row: int | None = None) -> None:
        hint = f"the model takes {listing(self.contract.position)}"
        if (
            self.findings.total < _MAX_SUGGESTIONS
            and (close := closest(key, tuple(self.contract.position))) is not None
        ):
            hint = f"did you mean {echo(close)}?"
        detail = f"the model has no column {echo(key)}; {hint}"
        self.findings.add("unknown_column", pointer(*where, key), detail, column=key, row=row)

    # --- columns

    def _columns(self, kind: str, value: Any) -> Steps[list[Column]]:
        contract, scan, findings = self.contract, self.scan, self.findings
        columns = [Column(form) for form in contract.forms]
        if kind != "{":
            yield from self._instead(kind, value, "/columns", "an object of arrays")
            return columns
        lengths: dict[str, int | None] = {}
        kind, key = scan.take()
        while kind != "}":
            key = yield from self._key(kind, key)
            kind, value = scan.take()
            index = contract.position.get(key)
            if key in lengths:
                findings.add("duplicate_key", pointer("columns", key), f"{echo(key)} is given twice", column=key)
                yield from scan.value(kind, value)
            elif index is None:
                self._unknown(("columns",), key)
                lengths[key] = None
                yield from scan.value(kind, value)
            elif kind != "[":
                lengths[key] = None
                where = pointer("columns", key)
                yield from self._instead(kind, value, where, "an array with one value per row", column=key)
            else:
                lengths[key] = yield from self.array(columns[index], ("columns", key), contract.lists[index])
            if findings.tick():
                yield from findings.pause()
            kind, key = self._next_member()
        self._whole(lengths)
        return columns

    def _whole(self, lengths: dict[str, int | None]) -> None:
        """All columns are there, of one length that is not zero."""
        first: tuple[str, int] | None = None
        for name in self.contract.position:
            if name not in lengths:
                detail = f"{echo(name)} is not there"
                self.findings.add("missing_column", pointer("columns", name), detail, column=name)
                continue
            length = lengths[name]
            if length is None:
                continue
            if first is None:
                first = name, length
            elif length != first[1]:
                detail = f"{echo(name)} has {length} values, {echo(first[0])} has {first[1]}; give one value per row"
                self.findings.add("ragged_columns", pointer("columns", name), detail, column=name)
        if first is not None and first[1] == 0 and not self.findings:
            self.findings.add("no_rows", "/columns", "the columns are empty; send at least one row")

    # --- one array of one column's values (also a tensor's data)

    def array(
        self,
        column: Column,
        where: tuple[str | int, ...],
        decode: Callable[[bytes], list[Any]],
        decode_nested: Callable[[bytes], list[tuple[Any]]] | None = None,
    ) -> Steps[int]:
        """Read an array whose opening bracket was just taken, to its end; its length.

        With `decode_nested` each element may be an array of one value instead (a tensor of shape [n,1]).
        """
        scan, findings = self.scan, self.findings
        first = self._peek()
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
                taken, exact_until = yield from self._chunk(ends, partial(self._take_elements, column, decode))
                rows += taken
                if taken:
                    if not self._next_element():
                        return rows
                    yield from findings.pause()
                    continue
            yield from self._element(column, (*where, rows), rows, nested=nested)
            rows += 1
            self._limit(rows)
            if findings.tick():
                yield from self._rest([column])
            if not self._next_element():
                return rows

    def _element(self, column: Column, where: tuple[str | int, ...], row: int, *, nested: bool) -> Steps[None]:
        scan, findings = self.scan, self.findings
        kind, value = scan.take()
        opened = kind
        if nested:
            opened, kind, value = yield from self._only(kind, value)
        elif kind not in SCALARS:
            if kind == LONG_STRING:
                kind, value = yield from scan.rest_of_string()
            elif kind not in OPENING:
                scan.unexpected(kind, "a value")
            kind = OPENING.get(kind, kind)
        try:
            checked = column.form.check(kind, value)
            if not findings:
                column.append(checked)
        except RefusedError as error:
            findings.add(error.code, pointer(*where), error.detail, column=column.form.field.name, row=row)
        if opened in OPENING:
            yield from scan.skip(opened)

    def _only(self, kind: str, value: Any) -> Steps[tuple[str, str, Any]]:
        """(the container left open, kind, value) of the only value of an array of one that was just begun.

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
        if kind in SCALARS and self._peek() == "]":
            scan.take()
            return "", kind, value
        scan.at = start
        return "[", ARRAY, None


def _flat(decode: Callable[[bytes], list[tuple[Any]]], text: bytes) -> list[Any]:
    return flatten(decode(text))
