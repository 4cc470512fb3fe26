"""A model version's contract: what its signature makes of a request, compiled once per manifest digest.

`validate` in the flow. Bytes in, packed columns out; it never asks which caller or which pod. Everything comes as a generator
that pauses between steps of a few milliseconds, for its caller to let others run; a body of up to `STEP_BYTES` that is as it
should be is one step, a decode of about a millisecond at most.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, NoReturn

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import astuple

from gateway.core.contract.answers import RowWriter, answer_head, encode_v1_steps
from gateway.core.contract.forms import Buffers, Form, UnfitError, colons_in, with_negative_zeros
from gateway.core.contract.json_reader import CHUNK_BYTES, decoded
from gateway.core.contract.number_forms import IntegerForm, LogicalForm, NumberForm
from gateway.core.contract.oip_answer import encode_v2_steps
from gateway.core.contract.oip_fast import parse_fast
from gateway.core.contract.oip_forms import OipForms
from gateway.core.contract.oip_reader import read_oip
from gateway.core.contract.oip_request import OipRequest
from gateway.core.contract.text_forms import DateForm, DatetimeForm, LabelForm, TextForm, closest
from gateway.core.contract.tokens import Steps
from gateway.core.contract.v1_reader import V1Reader
from gateway.core.problems import echo, listing
from shared.catalogue import VersionEntry
from shared.errors import PayloadTooLargeError
from shared.signature import Field, Type
from shared.wire import Frame, TensorSpecs, tensor_specs

#: Bodies above this are read in more than one step.
STEP_BYTES = CHUNK_BYTES
#: The form in which `/v1` takes a column.
_FORMS: dict[Type, type[Form]] = {
    Type.DOUBLE: NumberForm,
    Type.INTEGER: IntegerForm,
    Type.LOGICAL: LogicalForm,
    Type.STRING: TextForm,
    Type.FACTOR: LabelForm,
    Type.DATE: DateForm,
    Type.DATETIME: DatetimeForm,
}
_MAX_SUGGESTIONS = 5
_CODES: dict[type[Form], str] = {NumberForm: "d", IntegerForm: "i"}

Clock = Callable[[], float]


def _numbers(forms: Sequence[Form]) -> tuple[struct.Struct | None, list[tuple[int, int]]]:
    """One row of plain numbers as C packs it, and where each column's value is; None where a column is anything else."""
    codes = [_CODES.get(type(form)) for form in forms]
    if None in codes or not codes:
        return None, []
    packer = struct.Struct("<" + "".join(code for code in codes if code))
    ends = list(accumulate((struct.calcsize(f"<{code}") for code in codes), initial=0))
    return packer, list(pairwise(ends))


class Contract:
    """One model version, ready to read requests and write answers. Immutable; safe to share between requests."""

    def __init__(self, entry: VersionEntry, max_rows: int) -> None:
        self.entry = entry
        self.max_rows = max_rows
        self.inputs: tuple[Field, ...] = entry.signature.inputs
        self.outputs: tuple[Field, ...] = entry.signature.outputs
        self.input_specs: TensorSpecs = tensor_specs(self.inputs)
        self.output_specs: TensorSpecs = tensor_specs(self.outputs)
        self.subject = f"model {entry.model} version {entry.version}"
        self.forms = tuple(_FORMS[field.type](field) for field in self.inputs)
        self.oip_forms = OipForms()
        self.output_position = {field.name: index for index, field in enumerate(self.outputs)}
        #: Where each output's buffers begin in a frame, and where the last one's end.
        self.output_starts = tuple(accumulate((2 if f.type is Type.STRING else 1 for f in self.outputs), initial=0))
        #: How each `/v1` answer begins.
        self.answer_head = answer_head(entry.model, entry.version)
        self.row_writer = RowWriter(self.outputs, entry.signature.kind)
        self.position = {field.name: index for index, field in enumerate(self.inputs)}
        self.lists: tuple[Callable[[bytes], list[Any]], ...] = tuple(
            msgspec.json.Decoder(form.list_type).decode for form in self.forms
        )
        #: Decodes a JSON array of rows; None where a column's name cannot be a struct's (it holds a quote or backslash).
        self.row_list: Callable[[bytes], list[Any]] | None = None
        self._request: Callable[[bytes], Any] | None = None
        self._numeric = any(form.numeric for form in self.forms)
        self._colon_forms = tuple((i, form) for i, form in enumerate(self.forms) if form.may_hold_colons)
        self._keys = sum(1 + field.name.count(":") for field in self.inputs)
        self._numbers, self._spans = _numbers(self.forms)
        self._compile()

    def _compile(self) -> None:
        names = {f"c{index}": field.name for index, field in enumerate(self.inputs)}
        options: dict[str, Any] = {"forbid_unknown_fields": True, "gc": False, "rename": names}
        try:
            row = msgspec.defstruct("Row", [(f"c{i}", form.json_type) for i, form in enumerate(self.forms)], **options)
            whole = msgspec.defstruct(
                "Columns", [(f"c{i}", form.list_type) for i, form in enumerate(self.forms)], **options
            )
        except ValueError:
            return
        self.row_list = msgspec.json.Decoder(list[row]).decode  # type: ignore[valid-type]
        request = msgspec.defstruct(
            "Request",
            [("rows", list[row] | UnsetType, UNSET), ("columns", whole | UnsetType, UNSET)],  # type: ignore[valid-type]
            forbid_unknown_fields=True,
            gc=False,
        )
        self._request = msgspec.json.Decoder(request).decode

    def cost_rows(self, frame: Frame) -> int:
        """How many rows a request counts against its caller's limits."""
        return frame.rows

    # --- out

    def write_v1_steps(self, frame: Frame) -> Steps[bytes]:
        """The body of a `/v1` answer; see `encode_v1_steps`."""
        return encode_v1_steps(self, frame)

    def write_v2_steps(self, frame: Frame, request: OipRequest) -> Steps[tuple[int | None, bytes]]:
        """The body of a `/v2` answer; see `encode_v2_steps`."""
        return encode_v2_steps(self, frame, request)

    # --- in

    def parse_steps(self, body: bytes, clock: Clock | None = None) -> Steps[Frame]:
        """The rows of a `/v1` body, in steps of a few milliseconds: the generator pauses between them and returns the frame.

        Raises MalformedRequestError (not JSON, not UTF-8), InvalidDataError (with every problem) and PayloadTooLargeError
        (more than `max_rows` rows). `clock` times the steps and the search for further problems, nothing else.
        """
        chunk_bytes = STEP_BYTES
        if len(body) <= STEP_BYTES:
            try:
                return self._parse_whole(body)
            except UnfitError:
                chunk_bytes = 0
        return (yield from V1Reader(self, body, clock, chunk_bytes).read())

    def parse_v2_steps(
        self, body: bytes, header_length: int | None = None, clock: Clock | None = None
    ) -> Steps[OipRequest]:
        """A `/v2` infer body, as `parse_steps`; `header_length` is `Inference-Header-Content-Length`, None without that header."""
        if len(body) <= STEP_BYTES:
            try:
                return parse_fast(self, body, header_length)
            except UnfitError:
                pass
        return (yield from read_oip(self, body, header_length, clock))

    def _parse_whole(self, body: bytes) -> Frame:
        if self._request is None:
            raise UnfitError
        text = with_negative_zeros(body) if self._numeric else body
        request = decoded(self._request, text)
        if (rows := request.rows) is not UNSET:
            if not rows or request.columns is not UNSET:
                raise UnfitError
            if len(rows) > self.max_rows:
                self.refuse_rows()
            if len(rows) == 1 and (buffers := self._one_row(astuple(rows[0]))) is not None:
                self._once((), text, 1 + self._keys)
                return Frame(1, buffers)
            columns: Sequence[Sequence[Any]] = list(zip(*map(astuple, rows), strict=True))
            self._once(columns, text, 1 + len(rows) * self._keys)
        elif request.columns is UNSET:
            raise UnfitError
        else:
            columns = astuple(request.columns)
            self._once(columns, text, 1 + self._keys)
        lengths = set(map(len, columns))
        if len(lengths) != 1 or 0 in lengths:
            raise UnfitError
        (count,) = lengths
        if count > self.max_rows:
            self.refuse_rows()
        return Frame(
            count, tuple([b for form, column in zip(self.forms, columns, strict=True) for b in form.pack(column)])
        )

    def _one_row(self, values: Sequence[Any]) -> Buffers | None:
        """The buffers of one row of plain numbers, packed at once; None where the columns have to be packed one by one."""
        if self._numbers is None:
            return None
        try:
            packed = self._numbers.pack(*values)
        except struct.error:  # a missing value, or an integer written as 5.0
            return None
        return tuple([packed[at:end] for at, end in self._spans])

    def pack_rows(self, array: bytes, before: int) -> tuple[int, list[Buffers]]:
        """How many rows this JSON array holds, and their columns; `before`: rows of the request that came before it.

        Raises UnfitError where it must be read the exact way, PayloadTooLargeError.
        """
        if self.row_list is None:
            raise UnfitError
        text = with_negative_zeros(array) if self._numeric else array
        rows = decoded(self.row_list, text)
        if before + len(rows) > self.max_rows:
            self.refuse_rows()
        columns = list(zip(*map(astuple, rows), strict=True))
        self._once(columns, text, len(rows) * self._keys)
        return len(rows), [form.pack(column) for form, column in zip(self.forms, columns, strict=True)]

    def _once(self, columns: Sequence[Sequence[Any]], text: bytes, colons: int) -> None:
        """No key stands twice, which msgspec does not see: then there is a colon that nothing explains.

        Every colon of a JSON text follows a key or stands inside a text, as it is or escaped: so all of them are counted.
        """
        for index, form in self._colon_forms:
            colons += form.colons(columns[index])
        if colons_in(text) != colons:
            raise UnfitError

    # --- what readers ask

    def frame_of(self, columns: Sequence[tuple[int, Buffers]]) -> Frame:
        """The frame of all columns in the signature's order, each with its number of values."""
        return Frame(columns[0][0] if columns else 0, tuple([buffer for _, buffers in columns for buffer in buffers]))

    def unknown(self, key: str, problems: int) -> str:
        """What is said of a column that the model does not have; only the first `problems` of a request get a suggestion."""
        close = closest(key, tuple(self.position)) if problems < _MAX_SUGGESTIONS else None
        hint = f"the model takes {listing(self.position)}" if close is None else f"did you mean {echo(close)}?"
        return f"the model has no column {echo(key)}; {hint}"

    def limit(self, rows: int) -> None:
        """Raise PayloadTooLargeError where this is more rows than the server takes."""
        if rows > self.max_rows:
            self.refuse_rows()

    def refuse_rows(self) -> NoReturn:
        """Raise PayloadTooLargeError: more rows than this server takes."""
        raise PayloadTooLargeError(
            f"The request has more rows than the {self.max_rows} this server takes at once; send several requests.",
            reason="too_many_rows",
        )
