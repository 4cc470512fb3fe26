"""The contract of a function: named inputs to named outputs, each a single value or a vector of its own length.

`{"inputs":{…}}` in, `{"model","version","outputs":{…}}` out; in OIP one tensor per input, of shape [1] or [n]. A call is one row
of a frame (`shared.wire`) and is never merged with another. Reading is the rows' exact way: a call costs R far more than it.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn

import msgspec
from msgspec.structs import replace

from gateway.core.contract.answers import pieces, shown
from gateway.core.contract.compiled import Clock, Contract
from gateway.core.contract.forms import ARRAY, LONG_STRING, Buffers, RefusedError
from gateway.core.contract.oip_answer import assemble, binary_part, json_part
from gateway.core.contract.oip_reader import Found, OipReader
from gateway.core.contract.oip_request import OipRequest
from gateway.core.contract.reader import Column, Reader
from gateway.core.contract.text_forms import closest
from gateway.core.contract.tokens import OPENING, SCALARS, Steps
from gateway.core.problems import StopLookingError, echo, listing, pointer
from shared.catalogue import VersionEntry
from shared.errors import PayloadTooLargeError
from shared.signature import Field
from shared.wire import Frame, call_frame, call_values, pack, tensor_specs

_encode = msgspec.json.Encoder().encode


class FunctionContract(Contract):
    """One version of a function, ready to read calls and write answers."""

    def __init__(self, entry: VersionEntry, max_rows: int) -> None:
        super().__init__(entry, max_rows)
        self.subject = f"function {entry.model} version {entry.version}"
        #: Each output as a column of its own.
        self.output_columns = tuple((field, tensor_specs((replace(field, vector=False),))) for field in self.outputs)

    def cost_rows(self, frame: Frame) -> int:
        """The length of the longest input; at least 1."""
        return max([1, *(size for size, _ in call_values(self.inputs, frame))])

    def parse_steps(self, body: bytes, clock: Clock | None = None) -> Steps[Frame]:
        """The call of a `/v1` body; raises as `Contract.parse_steps`."""
        return (yield from CallReader(self, body, clock).read())

    def parse_v2_steps(
        self, body: bytes, header_length: int | None = None, clock: Clock | None = None
    ) -> Steps[OipRequest]:
        """The call of a `/v2` infer body; raises as `Contract.parse_steps`."""
        return (yield from OipCallReader(self, body, header_length, clock).read_request())

    def write_v1_steps(self, frame: Frame) -> Steps[bytes]:
        """The body of the answer; raises WireError where the scorer's outputs are not the signature's."""
        members = []
        for (field, specs), (size, buffers) in zip(self.output_columns, call_values(self.outputs, frame), strict=True):
            parts = []
            for piece in pieces(specs, Frame(size, buffers)):
                parts.append(_encode(shown(field, piece.buffers))[1:-1])
                yield
            values = b",".join(parts)
            members.append(b"%b:%b" % (_encode(field.name), b"[%b]" % values if field.vector else values))
        head = _encode(self.entry.model), _encode(self.entry.version)
        return b'{"model":%b,"version":%b,"outputs":{%b}}' % (*head, b",".join(members))

    def write_v2_steps(self, frame: Frame, request: OipRequest) -> Steps[tuple[int | None, bytes]]:
        """As `Contract.write_v2_steps`, each output of its own length."""
        answered = call_values(self.outputs, frame)
        data: list[list[bytes]] = []
        missing: list[array[int]] = []
        for output in request.outputs:
            (field, specs), (size, buffers) = self.output_columns[output.index], answered[output.index]
            parts, gone, at = [], array("i"), 0
            for piece in pieces(specs, Frame(size, buffers)):
                if output.binary:
                    parts.append(binary_part(field, piece.buffers, at, gone))
                else:
                    parts.append(json_part(field, piece.buffers))
                at += piece.rows
                yield
            data.append(parts)
            missing.append(gone)
        return assemble(self, request, [answered[output.index][0] for output in request.outputs], data, missing)

    def refuse_rows(self) -> NoReturn:
        """Raise PayloadTooLargeError: a longer vector than this server takes."""
        raise PayloadTooLargeError(
            f"An input has more values than the {self.max_rows} this server takes at once.", reason="too_many_rows"
        )


class _CallWords(Reader):
    """What readers of calls say otherwise than readers of rows."""

    def _unknown(self, where: tuple[str | int, ...], key: str, row: int | None = None) -> None:  # noqa: ARG002
        names = tuple(self.contract.position)
        close = closest(key, names)
        hint = f"did you mean {echo(close)}?" if close is not None else f"it takes {listing(names) or 'none'}"
        self.findings.add(
            "unknown_column", pointer(*where, key), f"the function has no input {echo(key)}; {hint}", column=key
        )


class CallReader(_CallWords):
    """One `/v1` body of a function."""

    MEMBERS: ClassVar[tuple[str, ...]] = ("inputs",)
    SHAPE: ClassVar[str] = '{"inputs":{…}}'

    def read(self) -> Steps[Frame]:
        """The call's frame; raises MalformedRequestError, InvalidDataError or PayloadTooLargeError."""
        try:
            columns = yield from self._document()
        except StopLookingError:
            self.findings.refuse(self.contract.subject, whole=False)
        if self.findings:
            self.findings.refuse(self.contract.subject)
        return call_frame(self.contract.inputs, [(column.rows, column.buffers()) for column in columns])

    def _data_of(self, key: str, kind: str, value: Any) -> Steps[list[Column]]:
        contract, scan, findings = self.contract, self.scan, self.findings
        columns = [Column(form) for form in contract.forms]
        if kind != "{":
            yield from self._instead(kind, value, pointer(key), "an object with the function's inputs")
            return columns
        seen: set[str] = set()
        kind, name = scan.take()
        while kind != "}":
            name = yield from self._key(kind, name)
            kind, value = scan.take()
            where = (key, name)
            index = contract.position.get(name)
            if name in seen:
                findings.add("duplicate_key", pointer(*where), f"{echo(name)} is given twice", column=name)
                yield from scan.value(kind, value)
            elif index is None:
                self._unknown((key,), name)
                yield from scan.value(kind, value)
            elif not contract.inputs[index].vector:
                yield from self._single(columns[index], where, kind, value)
            elif kind == "[":
                yield from self.array(columns[index], where, contract.lists[index])
            else:
                yield from self._instead(kind, value, pointer(*where), "an array, for it is a vector", column=name)
            seen.add(name)
            if findings.tick():
                yield from findings.pause()
            kind, name = self._next_member()
        for name in contract.position:
            if name not in seen:
                findings.add("missing_column", pointer(key, name), f"the input {echo(name)} is not there", column=name)
        return columns

    def _single(self, column: Column, where: tuple[str, str], kind: str, value: Any) -> Steps[None]:
        opened = kind
        if kind == LONG_STRING:
            kind, value = yield from self.scan.rest_of_string()
        elif kind not in SCALARS and kind not in OPENING:
            self.scan.unexpected(kind, "a value")
        kind = OPENING.get(kind, kind)
        try:
            checked = column.form.check(kind, value)
            if not self.findings:
                column.append(checked)
        except RefusedError as error:
            detail = (
                f"expected {column.form.takes}, got an array; it is a single value" if kind == ARRAY else error.detail
            )
            self.findings.add(error.code, pointer(*where), detail, column=where[1])
        if opened in OPENING:
            yield from self.scan.skip(opened)


class OipCallReader(_CallWords, OipReader):
    """One `/v2` infer body of a function: each tensor has a length of its own, single values have one."""

    def _check_shapes(self, columns: dict[str, Found]) -> None:
        for name, found in columns.items():
            field = self.contract.inputs[self.contract.position[name]]
            length = found.shape[0] if found.shape else -1
            if length < 0 or found.shape[1:] not in ((), (1,)) or (length != 1 and not field.vector):
                wanted = "[n] or [n,1], for it is a vector" if field.vector else "[1], for it is a single value"
                where = pointer("inputs", found.index, "shape")
                self.findings.add("wrong_shape", where, f"expected {wanted}", column=name)
            else:
                self._limit(length)

    def _data(self, field: Field, found: Found, rows: int, gone: frozenset[int]) -> Steps[Buffers]:
        buffers = yield from super()._data(field, found, rows, gone)
        return buffers if rows or self.findings else pack(field, [])

    def _frame(self, columns: dict[str, tuple[int, Buffers]]) -> Frame:
        inputs: Sequence[Field] = self.contract.inputs
        return call_frame(inputs, [columns[field.name] for field in inputs])
