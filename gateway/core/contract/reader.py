"""Reads a `/v1` body in steps: chunks of about 128 KiB by msgspec, and what msgspec cannot take value by value.

The trick that makes chunks safe: JSON is read from left to right, so if the text from a known start up to a bracket or comma
decodes as a whole list of the expected type, that bracket or comma is where the list's element ends, whatever it looked like.
Where a chunk does not decode, the exact way takes over from its first byte: it either finds the problems, or (a key twice
excluded, a −0, an escaped colon) takes the values, and chunks go on after it. So both ways always agree on what is valid.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.core.contract.forms import (
    ARRAY,
    LONG_STRING,
    STRING,
    Buffers,
    Form,
    RefusedError,
    UnfitError,
    Value,
    closest,
    describe,
    flatten,
    join,
    may_hold_negative_zero,
)
from gateway.core.contract.tokens import Scanner, Steps
from gateway.core.problems import Findings, echo, listing, pointer
from shared.errors import PayloadTooLargeError
from shared.wire import Frame, pack

if TYPE_CHECKING:
    from gateway.core.contract.compiled import Contract

#: Bytes decoded in one go: about 1 ms.
CHUNK_BYTES = 128 * 1024
#: Values the exact way looks at between two pauses: about 5 ms.
_PAUSE_EVERY = 2_000
_MAX_SUGGESTIONS = 5

_TEXT = rb'"(?:[^"\\]++|\\.)*+"'
_S = rb"[ \t\n\r]*+"
#: Whole rows from here: objects without containers, each with the comma after it or right before a closing bracket.
_ROWS = re.compile(rb"(?:" + _S + rb'\{(?:[^"{}\[\]]++|' + _TEXT + rb")*+\}" + _S + rb"(?:,|(?=\])))++", re.DOTALL)
#: Whole elements of an array of scalars or of arrays of one scalar, each with what ends it.
_ELEMENTS = re.compile(rb"(?:" + _S + rb'(?:[^"{}\[\],]++|' + _TEXT + rb")" + _S + rb"(?:,|(?=\])))++", re.DOTALL)
_NEXT = re.compile(_S + rb"([,\]])")
_NESTED_END = re.compile(rb"\]" + _S + rb"\]")
_CLOSING = re.compile(_S + rb"\]" + _S + rb"\}" + _S + rb"\Z")


class StopLookingError(Exception):
    """The time for listing problems is over."""


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

    def __init__(
        self, contract: Contract, body: bytes, clock: Callable[[], float] | None, chunk_bytes: int = CHUNK_BYTES
    ) -> None:
        self.contract = contract
        self.scan = Scanner(body)
        self.body = body
        self.findings = Findings(clock)
        self.chunk_bytes = chunk_bytes
        self.count = 0

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
        scan = self.scan
        kind, value = scan.take()
        columns: list[Column] = []
        if kind != "{":
            kind, value = yield from scan.value(kind, value)
            self.findings.add(
                "wrong_type",
                "",
                f'expected an object, {{"rows":[…]}} or {{"columns":{{…}}}}, got {describe(kind, value)}',
            )
            scan.end()
            return columns
        seen: set[str] = set()
        kind, key = scan.take()
        while kind != "}":
            key = yield from self._key(kind, key)
            kind, value = scan.take()
            if key in seen:
                self.findings.add("duplicate_key", pointer(key), f"{echo(key)} is given twice; give it once")
                yield from scan.value(kind, value)
            elif key in ("rows", "columns"):
                if seen & {"rows", "columns"}:
                    self.findings.add("conflicting_members", pointer(key), 'give "rows" or "columns", not both')
                    yield from scan.value(kind, value)
                elif key == "rows":
                    columns = yield from self._rows(kind, value)
                else:
                    columns = yield from self._columns(kind, value)
            else:
                self.findings.add(
                    "unknown_member",
                    pointer(key),
                    f'{echo(key)} is not taken here: a request is {{"rows":[…]}} or {{"columns":{{…}}}}',
                )
                yield from scan.value(kind, value)
            seen.add(key)
            kind, key = self._next_member()
        scan.end()
        if not seen & {"rows", "columns"}:
            self.findings.add("missing_member", "", 'give the data as {"rows":[{…}]} or as {"columns":{…}}')
        return columns

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

    def _looked_at(self) -> bool:
        """Count one value; true when it is time to pause."""
        self.count += 1
        if self.count % 64 == 0 and self.findings.exhausted:
            raise StopLookingError
        return self.count % _PAUSE_EVERY == 0

    def _pause(self) -> Steps[None]:
        self.findings.pause()
        yield
        self.findings.resume()

    # --- rows

    def _rows(self, kind: str, value: Any) -> Steps[list[Column]]:
        contract, scan = self.contract, self.scan
        columns = [Column(form) for form in contract.forms]
        if kind != "[":
            kind, value = yield from scan.value(kind, value)
            self.findings.add("wrong_type", "/rows", f"expected an array of objects, got {describe(kind, value)}")
            return columns
        kind, value = self._peek()
        if kind == "]":
            scan.take()
            self.findings.add("no_rows", "/rows", "there are no rows; send at least one")
            return columns
        rows = 0
        exact_until = 0 if self.chunk_bytes and contract.row_list is not None else len(self.body) + 1
        while True:
            if scan.at >= exact_until and not self.findings:
                taken, exact_until = yield from self._rows_chunk(columns, rows)
                if taken:
                    rows += taken
                    kind, _ = scan.take()
                    if kind == "]":
                        return columns
                    yield from self._pause()
                    continue
            kind, value = scan.take()
            yield from self._row(kind, value, rows, columns)
            rows += 1
            self._limit(rows)
            kind, _ = scan.take()
            if kind == "]":
                return columns
            if kind != ",":
                scan.unexpected(kind, "a comma or the end of the array")

    def _peek(self) -> tuple[str, Any]:
        at = self.scan.at
        token = self.scan.take()
        self.scan.at = at
        return token

    def _limit(self, rows: int) -> None:
        if rows > self.contract.max_rows:
            raise PayloadTooLargeError(
                f"The request has more rows than the {self.contract.max_rows} this server takes at once; send several requests.",
                reason="too_many_rows",
            )

    def _rows_chunk(self, columns: list[Column], before: int) -> Steps[tuple[int, int]]:
        """Decode rows from here: (how many, 0), or (0, up to which byte the exact way must go) with nothing taken."""
        scan, body, size = self.scan, self.body, self.chunk_bytes
        start = scan.at
        while True:
            end = min(start + size, len(body))
            if end == len(body) and (closing := _closing(body)) is not None and closing > start:
                last = closing
            else:
                last = body.rfind(b"}", start, end) + 1
            if last > start and (taken := self._take_rows(columns, start, last, before)):
                return taken, 0
            match = _ROWS.match(body, start, min(end + 1, len(body)))
            if match is not None:
                last = body.rfind(b"}", start, match.end()) + 1
                if taken := self._take_rows(columns, start, last, before):
                    return taken, 0
                return 0, last
            if end == len(body):
                return 0, len(body) + 1
            size *= 2
            yield from self._pause()

    def _take_rows(self, columns: list[Column], start: int, end: int, before: int) -> int:
        text = b"[%b]" % self.body[start:end]
        try:
            rows = decoded(self.contract.row_list, text)  # type: ignore[arg-type]
            self._limit(before + len(rows))
            parts = self.contract.pack_rows(rows, text, around=0)
        except UnfitError:
            return 0
        if _NEXT.match(self.body, end) is None:
            return 0
        for column, part in zip(columns, parts, strict=True):
            column.add(part, len(rows))
        self.scan.at = end
        return len(rows)

    def _row(self, kind: str, value: Any, row: int, columns: list[Column]) -> Steps[None]:
        contract, scan, findings = self.contract, self.scan, self.findings
        if kind != "{":
            kind, value = yield from scan.value(kind, value)
            findings.add(
                "wrong_type", pointer("rows", row), f"expected an object, got {describe(kind, value)}", row=row
            )
            if self._looked_at():
                yield from self._pause()
            return
        got: dict[str, Value] = {}
        kind, key = scan.take()
        while kind != "}":
            key = yield from self._key(kind, key)
            kind, value = scan.take()
            if kind in ("{", "[") or kind == LONG_STRING:
                kind, value = yield from scan.value(kind, value)
            elif value is None and kind != "null":
                scan.unexpected(kind, "a value")
            if key in got:
                findings.add(
                    "duplicate_key",
                    pointer("rows", row, key),
                    f"{echo(key)} is given twice in this row",
                    column=key,
                    row=row,
                )
            elif (index := contract.position.get(key)) is None:
                self._unknown(("rows", row), key, row)
                got[key] = None
            else:
                try:
                    got[key] = columns[index].form.check(kind, value)
                except RefusedError as error:
                    findings.add(error.code, pointer("rows", row, key), error.detail, column=key, row=row)
                    got[key] = None
            if self._looked_at():
                yield from self._pause()
            kind, key = self._next_member()
        if got.keys() != contract.position.keys():
            for name in contract.position:
                if name not in got:
                    findings.add(
                        "missing_column", pointer("rows", row, name), f"{echo(name)} is not there", column=name, row=row
                    )
            if self._looked_at():
                yield from self._pause()
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
        self.findings.add(
            "unknown_column", pointer(*where, key), f"the model has no column {echo(key)}; {hint}", column=key, row=row
        )

    # --- columns

    def _columns(self, kind: str, value: Any) -> Steps[list[Column]]:
        contract, scan, findings = self.contract, self.scan, self.findings
        columns = [Column(form) for form in contract.forms]
        if kind != "{":
            kind, value = yield from scan.value(kind, value)
            findings.add("wrong_type", "/columns", f"expected an object of arrays, got {describe(kind, value)}")
            return columns
        lengths: dict[str, int | None] = {}
        kind, key = scan.take()
        while kind != "}":
            key = yield from self._key(kind, key)
            kind, value = scan.take()
            index = contract.position.get(key)
            if key in lengths or index is None or kind != "[":
                if key in lengths:
                    findings.add("duplicate_key", pointer("columns", key), f"{echo(key)} is given twice", column=key)
                elif index is None:
                    self._unknown(("columns",), key)
                kind, value = yield from scan.value(kind, value)
                if key not in lengths and index is not None:
                    detail = f"expected an array with one value per row, got {describe(kind, value)}"
                    findings.add("wrong_type", pointer("columns", key), detail, column=key)
                lengths.setdefault(key, None)
            else:
                lengths[key] = yield from self.array(columns[index], ("columns", key), contract.lists[index])
            if self._looked_at():
                yield from self._pause()
            kind, key = self._next_member()
        self._whole(lengths)
        return columns

    def _whole(self, lengths: dict[str, int | None]) -> None:
        """All columns are there, of one length that is not zero."""
        first: tuple[str, int] | None = None
        for name in self.contract.position:
            if name not in lengths:
                self.findings.add("missing_column", pointer("columns", name), f"{echo(name)} is not there", column=name)
                continue
            length = lengths[name]
            if length is None:
                continue
            if first is None:
                first = name, length
            elif length != first[1]:
                detail = (
                    f"{echo(name)} has {length} values where {echo(first[0])} has {first[1]}; give one value per row"
                )
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
        scan, form, name = self.scan, column.form, column.form.field.name
        kind, value = self._peek()
        if kind == "]":
            scan.take()
            return 0
        rows = 0
        nested = kind == "[" and decode_nested is not None
        exact_until = 0 if self.chunk_bytes else len(self.body) + 1
        while True:
            if scan.at >= exact_until and not self.findings:
                chunk = (lambda text: flatten(decode_nested(text))) if nested and decode_nested else decode
                taken, exact_until = yield from self._elements_chunk(column, chunk, rows, nested=nested)
                if taken:
                    rows += taken
                    kind, _ = scan.take()
                    if kind == "]":
                        return rows
                    yield from self._pause()
                    continue
            kind, value = scan.take()
            if nested:
                kind, value = yield from self._only(kind, value)
            elif kind in ("{", "[") or kind == LONG_STRING:
                kind, value = yield from scan.value(kind, value)
            elif value is None and kind != "null":
                scan.unexpected(kind, "a value")
            try:
                checked = form.check(kind, value)
                if not self.findings:
                    column.append(checked)
            except RefusedError as error:
                self.findings.add(error.code, pointer(*where, rows), error.detail, column=name, row=rows)
            rows += 1
            self._limit(rows)
            if self._looked_at():
                yield from self._pause()
            kind, _ = scan.take()
            if kind == "]":
                return rows
            if kind != ",":
                scan.unexpected(kind, "a comma or the end of the array")

    def _only(self, kind: str, value: Any) -> Steps[tuple[str, Any]]:
        """The only value of an array of one, which was just begun; anything else counts as an array that does not fit."""
        scan = self.scan
        if kind != "[":
            yield from scan.value(kind, value)
            return ARRAY, None
        start = scan.at
        kind, value = scan.take()
        if kind not in ("{", "[", "]"):
            kind, value = yield from scan.value(kind, value)
            after, _ = scan.take()
            if after == "]":
                return kind, value
        scan.at = start
        yield from scan.skip("[")
        return ARRAY, None

    def _elements_chunk(
        self, column: Column, decode: Callable[[bytes], list[Any]], before: int, *, nested: bool
    ) -> Steps[tuple[int, int]]:
        """As `_rows_chunk`, for the elements of an array."""
        scan, body, size = self.scan, self.body, self.chunk_bytes
        start = scan.at
        while True:
            end = min(start + size, len(body))
            if nested:
                last = body.rfind(b"]", start, end) + 1
                if last == end and last == len(body):
                    last = 0
            else:
                last = body.find(b"]", start, end)
                if last < 0:
                    last = body.rfind(b",", start, end)
            if last > start and (taken := self._take_elements(column, decode, start, last, before)):
                return taken, 0
            if nested:
                close = _NESTED_END.search(body, start, end)
                if close is not None and (
                    taken := self._take_elements(column, decode, start, close.start() + 1, before)
                ):
                    return taken, 0
            match = _ELEMENTS.match(body, start, min(end + 1, len(body)))
            if match is not None:
                last = match.end() - (body[match.end() - 1 : match.end()] == b",")
                if taken := self._take_elements(column, decode, start, last, before):
                    return taken, 0
                return 0, last
            if end == len(body) or nested:
                return 0, end
            size *= 2
            yield from self._pause()

    def _take_elements(
        self, column: Column, decode: Callable[[bytes], list[Any]], start: int, end: int, before: int
    ) -> int:
        text = b"[%b]" % self.body[start:end]
        try:
            if column.form.numeric and may_hold_negative_zero(text):
                return 0
            values = decoded(decode, text)
            if not values:
                return 0
            self._limit(before + len(values))
            part = column.form.pack(values)
        except UnfitError:
            return 0
        if _NEXT.match(self.body, end) is None:
            return 0
        column.add(part, len(values))
        self.scan.at = end
        return len(values)


def _closing(body: bytes) -> int | None:
    """Where the last row ends, if the body ends as a request's should: `…} ] }`."""
    last = body.rfind(b"]")
    match = _CLOSING.match(body, last)
    if match is None:
        return None
    return body.rfind(b"}", 0, last) + 1
