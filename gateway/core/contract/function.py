"""The contract of a function: named inputs to named outputs, each a single value or a vector of its own length.

`{"inputs":{…}}` in, `{"model","version","outputs":{…}}` out; in OIP one tensor per input, of shape [1] or [n]. A call is one row
of a frame (`shared.wire`) and is never merged with another. Reading is the rows' exact way: a call costs R far more than it.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import msgspec
from msgspec.structs import replace

from gateway.core.contract.answers import pieces, shown
from gateway.core.contract.compiled import Clock, Contract
from gateway.core.contract.forms import Buffers
from gateway.core.contract.json_reader import Column, JsonReader
from gateway.core.contract.oip_answer import assemble, binary_part, json_part
from gateway.core.contract.oip_reader import read_oip
from gateway.core.contract.oip_request import OipRequest
from gateway.core.contract.oip_structure import Found
from gateway.core.contract.text_forms import closest
from gateway.core.contract.tokens import Steps
from gateway.core.contract.v1_reader import read_document
from gateway.core.findings import Findings, echo, listing, pointer
from shared.catalogue import VersionEntry
from shared.errors import PayloadTooLargeError
from shared.wire import Frame, call_frame, call_values, tensor_specs

_INPUTS = "inputs"
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
        return (yield from read_oip(self, body, header_length, clock, check_shapes=_own_lengths))

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

    # --- what readers ask

    def frame_of(self, columns: Sequence[tuple[int, Buffers]]) -> Frame:
        """The frame of the call whose inputs these are."""
        return call_frame(self.inputs, columns)

    def unknown(self, key: str, problems: int) -> str:  # noqa: ARG002  a function has few inputs
        """What is said of an input that the function does not have."""
        close = closest(key, tuple(self.position))
        hint = f"it takes {listing(self.position) or 'none'}" if close is None else f"did you mean {echo(close)}?"
        return f"the function has no input {echo(key)}; {hint}"

    def refuse_rows(self) -> NoReturn:
        """Raise PayloadTooLargeError: a longer vector than this server takes."""
        raise PayloadTooLargeError(
            f"An input has more values than the {self.max_rows} that one for this function may have.",
            reason="too_many_rows",
        )


class CallReader:
    """One `/v1` body of a function."""

    def __init__(self, contract: FunctionContract, body: bytes, clock: Clock | None) -> None:
        self.contract = contract
        self.json = JsonReader(body, clock, contract.limit)

    def read(self) -> Steps[Frame]:
        """The call's frame; raises as `read_document`."""
        return read_document(self.contract, self.json, '{"inputs":{…}}', {_INPUTS: self._inputs})

    def _inputs(self, kind: str, value: Any) -> Steps[list[Column]]:
        contract, json = self.contract, self.json
        scan, findings = json.scan, json.findings
        columns = [Column(form) for form in contract.forms]
        if kind != "{":
            yield from json.instead(kind, value, pointer(_INPUTS), "an object with the function's inputs")
            return columns
        seen: set[str] = set()
        kind, name = scan.take()
        while kind != "}":
            name = yield from json.key(kind, name)
            kind, value = scan.take()
            where = (_INPUTS, name)
            index = contract.position.get(name)
            if name in seen:
                findings.add("duplicate_key", pointer(*where), f"{echo(name)} is given twice", column=name)
                yield from scan.value(kind, value)
            elif index is None:
                detail = contract.unknown(name, findings.total)
                findings.add("unknown_column", pointer(*where), detail, column=name)
                yield from scan.value(kind, value)
            elif not contract.inputs[index].vector:
                opened, kind, value = yield from scan.begun(kind, value)
                json.add_value(columns[index], where, kind, value)
                if opened:
                    yield from scan.skip(opened)
            elif kind == "[":
                yield from json.array(columns[index], where, contract.lists[index])
            else:
                yield from json.instead(kind, value, pointer(*where), "an array, for it is a vector", column=name)
            seen.add(name)
            if findings.tick():
                yield from findings.pause()
            kind, name = json.next_member()
        for name in contract.position:
            if name not in seen:
                findings.add(
                    "missing_column", pointer(_INPUTS, name), f"the input {echo(name)} is not there", column=name
                )
        return columns


def _own_lengths(contract: Contract, findings: Findings, columns: Mapping[str, Found]) -> None:
    """Each tensor has a length of its own, single values have one."""
    for name, found in columns.items():
        field = contract.inputs[contract.position[name]]
        length = found.shape[0] if found.shape else -1
        if length < 0 or found.shape[1:] not in ((), (1,)) or (length != 1 and not field.vector):
            wanted = "[n] or [n,1], for it is a vector" if field.vector else "[1], for it is a single value"
            where = pointer("inputs", found.index, "shape")
            findings.add("wrong_shape", where, f"expected {wanted}", column=name)
        else:
            contract.limit(length)
