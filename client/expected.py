"""R's own answers on this machine, for `verify`: rows go to R and answers come back as the doubles' very bytes, never
as text.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from client import r
from client.errors import ClientError
from client.oip import as_number
from shared.frames import cut, join
from shared.signature import Field, Signature, Type
from shared.wire import Frame, WireError, pack_frame, tensor_specs, unpack_frame

_NUMBERS = frozenset({Type.DOUBLE, Type.DATE, Type.DATETIME})


def expected_columns(package: Path, signature: Signature, columns: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """One column per output. Runs the R package's scripts/expected.R. Raises RError with R's reason."""
    with tempfile.TemporaryDirectory(prefix="scoregate-verify-") as temporary:
        rows_file, answers_file = Path(temporary) / "rows.bin", Path(temporary) / "answers.bin"
        try:
            frame = pack_frame(signature.inputs, [_numbers(f, columns[f.name]) for f in signature.inputs])
        except (WireError, ValueError) as error:
            raise ClientError(str(error)) from error
        rows_file.write_bytes(struct.pack("<i", frame.rows) + join(frame))
        r.run(["--vanilla", r.script("expected.R"), str(package.resolve()), str(rows_file), str(answers_file)])
        answers = _answers(signature.outputs, answers_file.read_bytes(), frame.rows)
    return dict(zip((f.name for f in signature.outputs), unpack_frame(signature.outputs, answers), strict=True))


def _numbers(field: Field, values: Sequence[Any]) -> list[Any]:
    """Dates and datetimes, which are text by now, as R's numbers."""
    if field.type not in _NUMBERS:
        return list(values)
    return [None if value is None else as_number(field, value) for value in values]


def _answers(fields: Sequence[Field], body: bytes, rows: int) -> Frame:
    """What R wrote: a frame, and before it how many rows it has (INT32). Raises ClientError unless there are `rows`."""
    if body[:4] != struct.pack("<i", rows):
        raise ClientError(f"R did not answer {rows} rows")
    try:
        return cut(tensor_specs(fields), rows, body[4:])
    except WireError as error:
        raise ClientError(str(error)) from error
