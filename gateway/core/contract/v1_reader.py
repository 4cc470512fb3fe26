"""Reads any `/v1` body of rows or columns, exactly and in steps, and lists its problems; `v1_fast` decides small, usual ones.

Also what bodies of functions share with them: the outermost object, of which one member is the data (`read_document`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.core.contract.chunks import ends_here, row_ends
from gateway.core.contract.forms import STRING, RefusedError, UnfitError, Value
from gateway.core.contract.json_reader import CHUNK_BYTES, Column, JsonReader
from gateway.core.contract.tokens import SCALARS, Steps
from gateway.core.findings import StopLookingError, echo, pointer
from shared.wire import Frame

if TYPE_CHECKING:
    from gateway.core.contract.compiled import Clock, Contract

#: Reads what the data's member holds, from its first token on.
Take = Callable[[str, Any], Steps[list[Column]]]


def read_document(contract: Contract, json: JsonReader, shape: str, members: Mapping[str, Take]) -> Steps[Frame]:
    """The frame of a whole body that has exactly one of `members`; `shape` shows how that is written.

    Raises MalformedRequestError, InvalidDataError or PayloadTooLargeError.
    """
    findings = json.findings
    try:
        columns = yield from _document(json, shape, members)
    except StopLookingError:
        findings.refuse(contract.subject, whole=False)
    if findings:
        findings.refuse(contract.subject)
    return contract.frame_of([(column.rows, column.buffers()) for column in columns])


def _document(json: JsonReader, shape: str, members: Mapping[str, Take]) -> Steps[list[Column]]:
    scan, findings = json.scan, json.findings
    columns: list[Column] = []
    kind, value = scan.take()
    if kind != "{":
        yield from json.instead(kind, value, "", f"an object, {shape}")
        scan.end()
        return columns
    seen: set[str] = set()
    kind, key = scan.take()
    while kind != "}":
        key = yield from json.key(kind, key)
        kind, value = scan.take()
        if key in members and seen.isdisjoint(members):
            columns = yield from members[key](kind, value)
        else:
            if key in seen:
                findings.add("duplicate_key", pointer(key), f"{echo(key)} is given twice; give it once")
            elif key in members:
                findings.add("conflicting_members", pointer(key), f"give {' or '.join(map(echo, members))}, not both")
            else:
                detail = f"{echo(key)} is not taken here: a request is {shape}"
                findings.add("unknown_member", pointer(key), detail)
            yield from scan.value(kind, value)
        seen.add(key)
        if findings.tick():
            yield from findings.pause()
        kind, key = json.next_member()
    scan.end()
    if seen.isdisjoint(members):
        findings.add("missing_member", "", f"give the data as {shape}")
    return columns


class V1Reader:
    """One body of rows or columns. `chunk_bytes` 0 reads all of it the exact way."""

    def __init__(self, contract: Contract, body: bytes, clock: Clock | None, chunk_bytes: int = CHUNK_BYTES) -> None:
        self.contract = contract
        self.json = JsonReader(body, clock, contract.limit, chunk_bytes)

    def read(self) -> Steps[Frame]:
        """The frame; raises as `read_document`."""
        members = {"rows": self._rows, "columns": self._columns}
        return read_document(self.contract, self.json, '{"rows":[…]} or {"columns":{…}}', members)

    # --- rows

    def _rows(self, kind: str, value: Any) -> Steps[list[Column]]:
        contract, json = self.contract, self.json
        scan, findings = json.scan, json.findings
        columns = [Column(form) for form in contract.forms]
        if kind != "[":
            yield from json.instead(kind, value, "/rows", "an array of objects")
            return columns
        if json.peek() == "]":
            scan.take()
            findings.add("no_rows", "/rows", "there are no rows; send at least one")
            return columns
        rows = 0
        exact_until = 0 if json.chunk_bytes and contract.fast.row_list is not None else len(json.body) + 1
        while True:
            if scan.at >= exact_until and not findings:
                taken, exact_until = yield from json.chunk(row_ends, partial(self._take_rows, columns))
                rows += taken
                if taken:
                    if not json.next_element():
                        return columns
                    yield from findings.pause()
                    continue
            kind, value = scan.take()
            yield from self._row(kind, value, rows, columns)
            rows += 1
            contract.limit(rows)
            if not json.next_element():
                return columns

    def _row(self, kind: str, value: Any, row: int, columns: list[Column]) -> Steps[None]:
        contract, json = self.contract, self.json
        scan, findings = json.scan, json.findings
        if kind != "{":
            yield from json.instead(kind, value, pointer("rows", row), "an object", row=row)
            if findings.tick():
                yield from findings.pause()
            return
        got: dict[str, Value] = {}
        kind, key = scan.take()
        while kind != "}":
            if kind == STRING:
                scan.expect(":")
            else:
                key = yield from json.key(kind, key)
            kind, value = scan.take()
            opened = ""
            if kind not in SCALARS:
                opened, kind, value = yield from scan.begun(kind, value)
            if key in got:
                detail = f"{echo(key)} is given twice in this row"
                findings.add("duplicate_key", pointer("rows", row, key), detail, column=key, row=row)
            elif (index := contract.position.get(key)) is None:
                where = pointer("rows", row, key)
                findings.add("unknown_column", where, contract.unknown(key, findings.total), column=key, row=row)
                got[key] = None
            else:
                try:
                    got[key] = columns[index].form.check(kind, value)
                except RefusedError as error:
                    findings.add(error.code, pointer("rows", row, key), error.detail, column=key, row=row)
                    got[key] = None
            if opened:
                yield from scan.skip(opened)
            if findings.tick():
                yield from json.rest(columns)
            kind, key = json.next_member()
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

    def _take_rows(self, columns: list[Column], start: int, end: int) -> int:
        body = self.json.body
        if not ends_here(body, end):
            return 0
        try:
            rows, parts = self.contract.fast.rows(b"[%b]" % body[start:end], columns[0].rows if columns else 0)
        except UnfitError:
            return 0
        for column, part in zip(columns, parts, strict=True):
            column.add(part, rows)
        self.json.scan.at = end
        return rows

    # --- columns

    def _columns(self, kind: str, value: Any) -> Steps[list[Column]]:
        contract, json = self.contract, self.json
        scan, findings = json.scan, json.findings
        columns = [Column(form) for form in contract.forms]
        if kind != "{":
            yield from json.instead(kind, value, "/columns", "an object of arrays")
            return columns
        lengths: dict[str, int | None] = {}
        kind, key = scan.take()
        while kind != "}":
            key = yield from json.key(kind, key)
            kind, value = scan.take()
            index = contract.position.get(key)
            if key in lengths:
                findings.add("duplicate_key", pointer("columns", key), f"{echo(key)} is given twice", column=key)
                yield from scan.value(kind, value)
            elif index is None:
                where = pointer("columns", key)
                findings.add("unknown_column", where, contract.unknown(key, findings.total), column=key)
                lengths[key] = None
                yield from scan.value(kind, value)
            elif kind != "[":
                lengths[key] = None
                where = pointer("columns", key)
                yield from json.instead(kind, value, where, "an array with one value per row", column=key)
            else:
                lengths[key] = yield from json.array(columns[index], ("columns", key), contract.lists[index])
            if findings.tick():
                yield from findings.pause()
            kind, key = json.next_member()
        self._whole(lengths)
        return columns

    def _whole(self, lengths: dict[str, int | None]) -> None:
        """All columns are there, of one length that is not zero."""
        findings = self.json.findings
        first: tuple[str, int] | None = None
        for name in self.contract.position:
            if name not in lengths:
                detail = f"{echo(name)} is not there"
                findings.add("missing_column", pointer("columns", name), detail, column=name)
                continue
            length = lengths[name]
            if length is None:
                continue
            if first is None:
                first = name, length
            elif length != first[1]:
                detail = f"{echo(name)} has {length} values, {echo(first[0])} has {first[1]}; give one value per row"
                findings.add("ragged_columns", pointer("columns", name), detail, column=name)
        if first is not None and first[1] == 0 and not findings:
            findings.add("no_rows", "/columns", "the columns are empty; send at least one row")
