"""What the tensors of an Open Inference Protocol v2 request hold: packed columns, from JSON or binary, exactly and in steps.

Takes them as `oip_structure` found them. First all that can be said without looking at the data (names, datatypes, shapes,
sizes); the data only where that is right.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from gateway.core.contract.forms import Buffers, Form
from gateway.core.contract.json_reader import Column, JsonReader
from gateway.core.contract.oip import ACCEPTED, MISSING_PREFIX
from gateway.core.contract.oip_binary import WIDTH, numbers, texts
from gateway.core.contract.oip_structure import Found
from gateway.core.contract.small_value import small_value
from gateway.core.contract.tokens import Steps
from gateway.core.findings import Findings, echo, pointer
from shared.signature import Field
from shared.wire import pack, unpack

if TYPE_CHECKING:
    from gateway.core.contract.compiled import Contract

#: Notes which shapes do not fit; raises PayloadTooLargeError.
CheckShapes = Callable[["Contract", Findings, Mapping[str, Found]], None]


class OipTensors:
    """The data of one request. `binary`: what follows its JSON, None where it has no such part."""

    def __init__(
        self, contract: Contract, json: JsonReader, binary: memoryview | None, check_shapes: CheckShapes
    ) -> None:
        self.contract = contract
        self.json = json
        self.scan, self.findings = json.scan, json.findings
        self.binary = binary
        self._check_shapes = check_shapes

    def columns(self, tensors: list[Found]) -> Steps[list[tuple[int, Buffers]]]:
        """All columns in the signature's order, each with its number of values; anything where there are findings."""
        contract, findings = self.contract, self.findings
        columns: dict[str, Found] = {}
        missing: dict[str, Found] = {}
        binary_at = 0
        for found in tensors:
            here = ("inputs", found.index)
            if found.size is not None:
                found.binary_at = binary_at
                binary_at += found.size
                if self.binary is None:
                    findings.add(
                        "wrong_size",
                        pointer(*here, "parameters", "binary_data_size"),
                        "binary data needs the header Inference-Header-Content-Length",
                    )
                elif binary_at > len(self.binary):
                    findings.add(
                        "wrong_size",
                        pointer(*here, "parameters", "binary_data_size"),
                        f"the body has {len(self.binary)} bytes of binary data, {binary_at} are announced up to here",
                    )
            if not found.name:
                continue
            if (found.size is None) == (found.data_at is None):
                code = "missing_member" if found.size is None else "conflicting_members"
                findings.add(code, pointer(*here, "data"), "give the tensor's data, or binary_data_size, and not both")
            if found.name in columns or found.name in missing:
                findings.add("duplicate_key", pointer(*here, "name"), f"{echo(found.name)} is given twice")
            elif found.name in contract.position:
                columns[found.name] = found
                self._datatype(found)
            elif found.name.startswith(MISSING_PREFIX) and found.name[len(MISSING_PREFIX) :] in contract.position:
                missing[found.name] = found
            else:
                detail = contract.unknown(found.name, findings.total)
                findings.add("unknown_column", pointer(*here, "name"), detail, column=found.name)
        for name in contract.position:
            if name not in columns:
                findings.add("missing_column", "/inputs", f"there is no tensor {echo(name)}", column=name)
        if self.binary is not None and binary_at < len(self.binary):
            findings.add(
                "wrong_size", "/inputs", f"the body has {len(self.binary) - binary_at} bytes after the last tensor"
            )
        self._check_shapes(contract, findings, columns)
        if findings:
            return []
        gone: dict[str, frozenset[int]] = {}
        for name, found in missing.items():
            column = name[len(MISSING_PREFIX) :]
            gone[column] = yield from self._missing_rows(found, columns[column])
        taken: list[tuple[int, Buffers]] = []
        for field in contract.inputs:
            found = columns[field.name]
            buffers = yield from self._data(field, found, found.shape[0], gone.get(field.name, frozenset()))
            taken.append((found.shape[0], buffers))
        return taken

    def _datatype(self, found: Found) -> None:
        field = self.contract.inputs[self.contract.position[found.name]]
        if found.datatype and found.datatype not in ACCEPTED[field.type]:
            detail = f"a {field.type.value} column takes {', '.join(ACCEPTED[field.type])}, not {echo(found.datatype)}"
            self.findings.add("wrong_datatype", pointer("inputs", found.index, "datatype"), detail, column=found.name)

    def _missing_rows(self, found: Found, column: Found) -> Steps[frozenset[int]]:
        """Which rows of a BYTES column are NA."""
        rows = column.shape[0]
        here = ("inputs", found.index)
        field = self.contract.inputs[self.contract.position[column.name]]
        if found.datatype != "INT32" or column.datatype != "BYTES" or not field.nullable or len(found.shape) != 1:
            detail = f"{echo(found.name)} is an INT32 tensor of row numbers, for a nullable column sent as BYTES"
            self.findings.add("wrong_datatype", pointer(*here), detail)
            return frozenset()
        if found.data_at is not None:
            self.scan.at = found.data_at - 1
            kind, value = self.scan.take()
            listed = yield from small_value(self.scan, kind, value, here)
            values = listed if isinstance(listed, list) and all(type(n) is int for n in listed) else [-1]
        elif (found.size or 0) % 4 == 0:
            numbers_ = array("i", b"")
            numbers_.frombytes(self._slice(found))
            values = list(numbers_)
        else:
            values = [-1]
        if len(values) != found.shape[0] or any(not 0 <= n < rows for n in values):
            self.findings.add(
                "wrong_shape", pointer(*here), f"expected {found.shape[0]} row numbers from 0 to {rows - 1}"
            )
        return frozenset(values)

    def _slice(self, found: Found) -> memoryview:
        return self.binary[found.binary_at : found.binary_at + (found.size or 0)]  # type: ignore[index]

    def _data(self, field: Field, found: Found, rows: int, gone: frozenset[int]) -> Steps[Buffers]:
        here = ("inputs", found.index)
        if found.data_at is None:
            if found.datatype == "BYTES":
                form = self.contract.oip_forms.get(field, "BYTES")[0]
                return (yield from texts(form, self._slice(found), rows, gone, here, self.findings))
            if found.size != rows * WIDTH[found.datatype]:
                detail = f"{rows} values of {found.datatype} are {rows * WIDTH[found.datatype]} bytes, not {found.size}"
                self.findings.add("wrong_size", pointer(*here), detail, column=field.name)
                return ()
            return (yield from numbers(field, found.datatype, self._slice(found), here, self.findings))
        form, flat, nested = self.contract.oip_forms.get(field, found.datatype)
        column = Column(form)
        self.scan.at = found.data_at
        count = yield from self.json.array(column, (*here, "data"), flat, nested if len(found.shape) == 2 else None)
        if self.scan.at != found.data_end:
            self.scan.fail("an array ends where none was expected to", self.scan.at)
        if count != rows:
            detail = f"the shape says {rows} values, the data has {count}"
            self.findings.add("wrong_shape", pointer(*here, "data"), detail, column=field.name)
        if self.findings:
            return ()
        buffers = column.buffers()
        return _without(form, buffers, gone) if gone else buffers


def one_value_per_row(contract: Contract, findings: Findings, columns: Mapping[str, Found]) -> None:
    """All shapes agree on the rows."""
    first: Found | None = None
    for found in columns.values():
        where = pointer("inputs", found.index, "shape")
        if not (len(found.shape) == 1 or (len(found.shape) == 2 and found.shape[1] == 1)) or found.shape[0] < 0:
            findings.add("wrong_shape", where, "expected [n] or [n,1], one value per row", column=found.name)
        elif first is None:
            first = found
        elif found.shape[0] != first.shape[0]:
            detail = f"{echo(found.name)} has {found.shape[0]} rows where {echo(first.name)} has {first.shape[0]}"
            findings.add("ragged_columns", where, detail, column=found.name)
    if first is None:
        return
    contract.limit(first.shape[0])
    if first.shape[0] == 0:
        findings.add("no_rows", pointer("inputs", first.index, "shape"), "there are no rows; send at least one")


def _without(form: Form, buffers: Buffers, gone: frozenset[int]) -> Buffers:
    """A text column given as JSON whose missing rows are listed besides."""
    values = unpack(form.field, buffers)
    return pack(form.field, [None if row in gone else value for row, value in enumerate(values)])
