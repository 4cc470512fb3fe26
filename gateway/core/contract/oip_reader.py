"""Reads any Open Inference Protocol v2 request, JSON or with binary tensors, exactly and in steps, and lists its problems.

It passes over each tensor's `data` first, since its datatype may stand after it.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.core.contract.forms import LONG_STRING, NULL, STRING, Buffers, Form
from gateway.core.contract.oip import ACCEPTED, MISSING_PREFIX
from gateway.core.contract.oip_binary import WIDTH, numbers, texts
from gateway.core.contract.oip_request import MAX_ID, OipRequest, Requested
from gateway.core.contract.reader import CHUNK_BYTES, Column, Reader
from gateway.core.contract.tokens import Scanner, Steps
from gateway.core.problems import StopLookingError, echo, listing, pointer
from shared.errors import MalformedRequestError
from shared.signature import Field
from shared.wire import Frame, pack, unpack

if TYPE_CHECKING:
    from gateway.core.contract.compiled import Clock, Contract

#: Most bytes of one small member (a shape, parameters, the outputs asked for).
_MAX_SMALL = 64 * 1024
_TEXT = rb'"(?:[^"\\]++|\\.)*+"'
_FLAT = rb"(?>(?:[^\"\[\]]++|" + _TEXT + rb"){0,20000})"  # a turn takes a hundred bytes of memory
#: How far ahead an element's end is looked for.
_MOST_AHEAD = 2 * 1024 * 1024
_DATA = re.compile(rb"(?>(?:[^\"\[\]]++|" + _TEXT + rb"|\[" + _FLAT + rb"\])*)", re.DOTALL)
_META = frozenset({"model_name", "model_version"})
#: Parameters of Triton's by which an output would come in another form, or elsewhere.
_NOT_OFFERED = ("classification", "shared_memory_region")


@dataclass(slots=True)
class Found:
    """A tensor as the request describes it. `data_at`: where its JSON data begins, after the bracket."""

    index: int
    name: str = ""
    datatype: str = ""
    shape: tuple[int, ...] = ()
    data_at: int | None = None
    data_end: int = 0
    size: int | None = None
    binary_at: int = 0


class OipReader(Reader):
    """One request, read in steps."""

    def __init__(
        self,
        contract: Contract,
        body: bytes,
        header_length: int | None,
        clock: Clock | None,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        if header_length is not None and not 0 <= header_length <= len(body):
            raise MalformedRequestError(
                f"Inference-Header-Content-Length is {header_length}, but the body has {len(body)} bytes."
            )
        super().__init__(contract, body if header_length is None else body[:header_length], clock, chunk_bytes)
        self.binary = None if header_length is None else memoryview(body)[header_length:]
        self.id: str | None = None
        self.binary_output = False
        self.outputs_asked: Any = None

    def read_request(self) -> Steps[OipRequest]:
        """The request; raises MalformedRequestError, InvalidDataError or PayloadTooLargeError."""
        try:
            tensors = yield from self._request()
            if self.findings and not tensors:
                self.findings.refuse(self.contract.subject)
            outputs = yield from self._outputs()
            columns = yield from self._tensors(tensors)
        except StopLookingError:
            self.findings.refuse(self.contract.subject, whole=False)
        if self.findings:
            self.findings.refuse(self.contract.subject)
        return OipRequest(self._frame(columns), self.id, outputs)

    def _frame(self, columns: dict[str, tuple[int, Buffers]]) -> Frame:
        rows = next(iter(columns.values()))[0] if columns else 0
        return Frame(rows, tuple(buffer for field in self.contract.inputs for buffer in columns[field.name][1]))

    # structure

    def _request(self) -> Steps[list[Found]]:
        scan, findings = self.scan, self.findings
        tensors: list[Found] = []
        kind, value = scan.take()
        if kind != "{":
            yield from self._instead(kind, value, "", 'an object, {"inputs":[…]}')
            scan.end()
            return tensors
        seen: set[str] = set()
        kind, key = scan.take()
        while kind != "}":
            key = yield from self._key(kind, key)
            kind, value = scan.take()
            if key in seen:
                findings.add("duplicate_key", pointer(key), f"{echo(key)} is given twice")
                yield from scan.value(kind, value)
            elif key == "inputs" and kind == "[":
                tensors = yield from self._inputs()
            elif key in ("id", "outputs", "parameters"):
                yield from self._member(key, kind, value)
            elif key == "inputs":
                yield from self._instead(kind, value, "/inputs", "an array of tensors")
            else:
                if key not in _META:
                    detail = f"{echo(key)} is not taken here; a request has inputs, outputs, id and parameters"
                    findings.add("unknown_member", pointer(key), detail)
                yield from scan.value(kind, value)
            seen.add(key)
            if findings.tick():
                yield from findings.pause()
            kind, key = self._next_member()
        scan.end()
        if "inputs" not in seen:
            findings.add("missing_member", "/inputs", "give one tensor per column as inputs")
        return tensors

    def _member(self, key: str, kind: str, value: Any) -> Steps[None]:
        found = yield from self._small(kind, value, (key,))
        if found is None:
            return
        if key == "id":
            if isinstance(found, str) and len(found) <= MAX_ID:
                self.id = found
            else:
                self.findings.add("wrong_type", "/id", f"expected a text of at most {MAX_ID} characters")
        elif key == "outputs":
            self.outputs_asked = found
        elif not isinstance(found, dict):
            self.findings.add("wrong_type", "/parameters", "expected an object")
        else:
            self.binary_output = self._flag(found, "binary_data_output", "/parameters")

    def _flag(self, parameters: dict[str, Any], name: str, where: str, *, default: bool = False) -> bool:
        value = parameters.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.findings.add("wrong_type", f"{where}/{name}", "expected true or false")
            return default
        return value

    def _small(self, kind: str, value: Any, where: tuple[str | int, ...]) -> Steps[Any]:
        """A value of any kind, as Python has it. Numbers come as int, where they are whole, or float."""
        scan = self.scan
        start = scan.at - 1
        if kind not in ("{", "["):
            kind, value = yield from scan.value(kind, value)
            return value if kind != "number" else _number(value)
        yield from scan.skip(kind, _MAX_SMALL)
        return (yield from self._tree(Scanner(self.body[start : scan.at], self.findings), where))

    def _tree(self, scan: Scanner, where: tuple[str | int, ...]) -> Steps[Any]:
        """The value a small text holds; its depth was bounded when it was passed over."""
        kind, value = scan.take()
        if kind == "{":
            found: dict[str, Any] = {}
            kind, key = scan.take()
            while kind != "}":
                if kind == ",":
                    kind, key = scan.take()
                if kind == LONG_STRING:
                    _, key = yield from scan.rest_of_string()
                if key in found:
                    self.findings.add("duplicate_key", pointer(*where, key), f"{echo(key)} is given twice")
                scan.take()
                found[key] = yield from self._tree(scan, (*where, key))
                kind, key = scan.take()
            return found
        if kind == "[":
            items: list[Any] = []
            at = scan.at
            kind, _ = scan.take()
            while kind != "]":
                if kind != ",":
                    scan.at = at
                items.append((yield from self._tree(scan, (*where, len(items)))))
                kind, _ = scan.take()
            return items
        if self.findings.tick():
            yield from self.findings.pause()
        if kind == LONG_STRING:
            kind, value = yield from scan.rest_of_string()
        return _number(value) if kind == "number" else value

    def _inputs(self) -> Steps[list[Found]]:
        scan, findings = self.scan, self.findings
        tensors: list[Found] = []
        if self._peek() == "]":
            scan.take()
            return tensors
        while True:
            kind, value = scan.take()
            found = Found(len(tensors))
            tensors.append(found)
            if found.index > 2 * len(self.contract.inputs) + 8:
                findings.add("unknown_column", "/inputs", "more tensors than the model has columns")
                raise StopLookingError
            if kind == "{":
                yield from self._tensor(found)
            else:
                yield from self._instead(kind, value, pointer("inputs", found.index), "an object, a tensor")
            if findings.tick():
                yield from findings.pause()
            if not self._next_element():
                return tensors

    def _tensor(self, found: Found) -> Steps[None]:
        scan, findings = self.scan, self.findings
        here = ("inputs", found.index)
        seen: set[str] = set()
        kind, key = scan.take()
        while kind != "}":
            key = yield from self._key(kind, key)
            kind, value = scan.take()
            if key in seen:
                findings.add("duplicate_key", pointer(*here, key), f"{echo(key)} is given twice")
                yield from scan.value(kind, value)
            elif key == "data" and kind == "[":
                found.data_at = scan.at
                yield from self._pass_over((*here, key))
                found.data_end = scan.at
            elif key in ("name", "datatype") and kind == STRING:
                setattr(found, key, value)
                if not value:
                    findings.add("wrong_type", pointer(*here, key), f"the tensor's {key} is empty")
            elif key in ("name", "datatype") or (key == "data" and kind != NULL):
                wanted = "an array" if key == "data" else "a text"
                yield from self._instead(kind, value, pointer(*here, key), wanted)
            elif key in ("shape", "parameters"):
                self._describes(found, key, (yield from self._small(kind, value, (*here, key))))
            elif key != "data":
                detail = f"{echo(key)} is not taken here; a tensor has name, datatype, shape, data and parameters"
                findings.add("unknown_member", pointer(*here, key), detail)
                yield from scan.value(kind, value)
            seen.add(key)
            if findings.tick():
                yield from findings.pause()
            kind, key = self._next_member()
        for member in ("name", "datatype", "shape"):
            if member not in seen:
                findings.add("missing_member", pointer(*here, member), f"the tensor's {member} is not there")

    def _describes(self, found: Found, key: str, value: Any) -> None:
        """Take a tensor's shape or parameters."""
        where = pointer("inputs", found.index, key)
        if key == "shape":
            if isinstance(value, list) and all(type(n) is int for n in value):
                found.shape = tuple(value)
            return
        if value is None:
            return
        if not isinstance(value, dict):
            self.findings.add("wrong_type", where, "expected an object")
            return
        size = value.get("binary_data_size")
        if type(size) is int and size >= 0:
            found.size = size
        elif size is not None:
            self.findings.add("wrong_type", f"{where}/binary_data_size", "expected a number of bytes")

    def _pass_over(self, where: tuple[str | int, ...]) -> Steps[None]:
        """Go to the end of an array of scalars, or of arrays of them; what is in it is read later, and then strictly."""
        scan, body = self.scan, self.body
        start, size = scan.at, CHUNK_BYTES
        while size <= _MOST_AHEAD:
            match = _DATA.match(body, scan.at, min(len(body), scan.at + size))
            end = match.end() if match else scan.at
            if body[end : end + 1] == b"]":
                scan.at = end + 1
                return
            if end > scan.at:
                size = CHUNK_BYTES
            elif end + size >= len(body):
                break
            else:
                size *= 2
            scan.at = end
            yield from self.findings.pause()
        # Deeper than a tensor's data can be, or not JSON: token by token.
        if body[scan.at : scan.at + 1] == b"[":
            self.findings.add("wrong_shape", pointer(*where), "expected an array of values, or of arrays of one value")
        scan.at = start
        yield from scan.skip("[")

    # outputs asked for

    def _outputs(self) -> Steps[tuple[Requested, ...]]:
        contract, findings = self.contract, self.findings
        asked = self.outputs_asked
        if not isinstance(asked, list):
            if asked is not None:
                findings.add("wrong_type", "/outputs", "expected an array of objects")
            asked = []
        chosen: dict[int, Requested] = {}
        for number, output in enumerate(asked):
            if findings.tick():
                yield from findings.pause()
            where = pointer("outputs", number)
            name = output.get("name") if isinstance(output, dict) else None
            if not isinstance(name, str):
                findings.add("wrong_type", where, 'expected an object with a name, as {"name":"prediction"}')
                continue
            index = contract.output_position.get(name)
            if index is None:
                detail = f"the model has no output {echo(name)}; it has {listing(contract.output_position)}"
                findings.add("unknown_column", f"{where}/name", detail)
                continue
            if index in chosen:
                findings.add("duplicate_key", f"{where}/name", f"{echo(name)} is asked for twice")
                continue
            parameters = output.get("parameters")
            if parameters is None:
                parameters = {}
            if not isinstance(parameters, dict):
                findings.add("wrong_type", f"{where}/parameters", "expected an object")
                continue
            for extension in _NOT_OFFERED:
                if parameters.get(extension):  # otherwise the client would look for its answer where none is
                    findings.add("unknown_member", f"{where}/parameters/{extension}", "this is not offered")
            binary = self._flag(parameters, "binary_data", f"{where}/parameters", default=self.binary_output)
            chosen[index] = Requested(index, binary)
        return tuple(chosen.values()) or tuple(Requested(i, self.binary_output) for i in range(len(contract.outputs)))

    # data

    def _tensors(self, tensors: list[Found]) -> Steps[dict[str, tuple[int, Buffers]]]:
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
                self._unknown(("inputs", found.index), found.name)
        for name in contract.position:
            if name not in columns:
                findings.add("missing_column", "/inputs", f"there is no tensor {echo(name)}", column=name)
        if self.binary is not None and binary_at < len(self.binary):
            findings.add(
                "wrong_size", "/inputs", f"the body has {len(self.binary) - binary_at} bytes after the last tensor"
            )
        self._check_shapes(columns)
        if findings:
            return {}
        gone: dict[str, frozenset[int]] = {}
        for name, found in missing.items():
            column = name[len(MISSING_PREFIX) :]
            gone[column] = yield from self._missing_rows(found, columns[column])
        taken: dict[str, tuple[int, Buffers]] = {}
        for field in contract.inputs:
            found = columns[field.name]
            buffers = yield from self._data(field, found, found.shape[0], gone.get(field.name, frozenset()))
            taken[field.name] = found.shape[0], buffers
        return taken

    def _datatype(self, found: Found) -> None:
        field = self.contract.inputs[self.contract.position[found.name]]
        if found.datatype and found.datatype not in ACCEPTED[field.type]:
            detail = f"a {field.type.value} column takes {', '.join(ACCEPTED[field.type])}, not {echo(found.datatype)}"
            self.findings.add("wrong_datatype", pointer("inputs", found.index, "datatype"), detail, column=found.name)

    def _check_shapes(self, columns: dict[str, Found]) -> None:
        """All shapes agree on the rows."""
        first: Found | None = None
        for found in columns.values():
            where = pointer("inputs", found.index, "shape")
            if not (len(found.shape) == 1 or (len(found.shape) == 2 and found.shape[1] == 1)) or found.shape[0] < 0:
                self.findings.add("wrong_shape", where, "expected [n] or [n,1], one value per row", column=found.name)
            elif first is None:
                first = found
            elif found.shape[0] != first.shape[0]:
                detail = f"{echo(found.name)} has {found.shape[0]} rows where {echo(first.name)} has {first.shape[0]}"
                self.findings.add("ragged_columns", where, detail, column=found.name)
        if first is None:
            return
        self._limit(first.shape[0])
        if first.shape[0] == 0:
            self.findings.add(
                "no_rows", pointer("inputs", first.index, "shape"), "there are no rows; send at least one"
            )

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
            listed = yield from self._small(kind, value, here)
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
        count = yield from self.array(column, (*here, "data"), flat, nested if len(found.shape) == 2 else None)
        if self.scan.at != found.data_end:
            self.scan.fail("an array ends where none was expected to", self.scan.at)
        if count != rows:
            detail = f"the shape says {rows} values, the data has {count}"
            self.findings.add("wrong_shape", pointer(*here, "data"), detail, column=field.name)
        if self.findings:
            return ()
        buffers = column.buffers()
        return _without(form, buffers, gone) if gone else buffers


def _without(form: Form, buffers: Buffers, gone: frozenset[int]) -> Buffers:
    """A text column given as JSON whose missing rows are listed besides."""
    values = unpack(form.field, buffers)
    return pack(form.field, [None if row in gone else value for row, value in enumerate(values)])


def _number(token: bytes) -> int | float:
    if token.lstrip(b"-").isdigit() and len(token) < 20:
        return int(token)
    try:
        return float(token)
    except ValueError:
        return 0.0
