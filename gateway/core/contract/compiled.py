"""A model version's contract: what its signature makes of a request of rows, compiled once per manifest digest.

`validate` in the flow. Bytes in, packed columns out; it never asks which caller or which pod. Everything comes as a generator
that pauses between steps of a few milliseconds, for its caller to let others run; a body of up to `STEP_BYTES` that is as it
should be is one step, a decode of about a millisecond at most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NoReturn

import msgspec

from gateway.core.contract.answers import RowWriter, answer_head, encode_v1_steps
from gateway.core.contract.forms import Buffers, Form, UnfitError
from gateway.core.contract.json_reader import CHUNK_BYTES
from gateway.core.contract.number_forms import IntegerForm, LogicalForm, NumberForm
from gateway.core.contract.oip_answer import encode_v2_steps
from gateway.core.contract.oip_fast import parse_fast
from gateway.core.contract.oip_forms import OipForms
from gateway.core.contract.oip_reader import read_oip
from gateway.core.contract.oip_request import OipRequest
from gateway.core.contract.text_forms import DateForm, DatetimeForm, LabelForm, TextForm, closest
from gateway.core.contract.tokens import Steps
from gateway.core.contract.v1_fast import V1Fast
from gateway.core.contract.v1_reader import V1Reader
from gateway.core.findings import echo, listing
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
#: Only so many problems of one request get a suggestion.
_MAX_SUGGESTIONS = 5

Clock = Callable[[], float]


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
        #: Reads usual `/v1` bodies, and chunks of large ones.
        self.fast = V1Fast(self.forms, max_rows, self.refuse_rows)

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
                return self.fast.whole(body)
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

    # --- what readers ask

    def frame_of(self, columns: Sequence[tuple[int, Buffers]]) -> Frame:
        """The frame of all columns in the signature's order, each with its number of values."""
        return Frame(columns[0][0] if columns else 0, tuple([buffer for _, buffers in columns for buffer in buffers]))

    def unknown(self, key: str, problems: int) -> str:
        """What is said of a column that the model does not have, after so many other problems: a suggestion costs time."""
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
            f"The request has more rows than the {self.max_rows} that one for this model may have; send several requests.",
            reason="too_many_rows",
        )
