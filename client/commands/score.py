"""`scoregate score`: rows from a file or stdin, scored."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from client.client import Client
from client.commands.options import connected
from client.connection import Connection, UsageError
from client.csvdata import read_csv, read_inputs, read_json
from client.models import ColumnScores, Scores
from client.rows import table_of
from client.terminal import out, say
from shared.deadline import MAX_TIMEOUT_MS, MIN_TIMEOUT_MS
from shared.signature import Signature


class Output(StrEnum):
    """Forms of the answer."""

    JSON = "json"
    CSV = "csv"


class Format(StrEnum):
    """Forms of the rows."""

    CSV = "csv"
    JSON = "json"


@connected
def score(
    connection: Connection,
    *,
    model: Annotated[str, typer.Argument(help="The model's name.")],
    data: Annotated[str, typer.Option("--data", "-d", help="rows.csv, rows.json, or - for stdin.")],
    version: Annotated[str | None, typer.Option(help="This version, not the one that serves by default.")] = None,
    output: Annotated[
        Output, typer.Option("--output", "-o", help="The server's JSON, or CSV with a header.")
    ] = Output.JSON,
    input_format: Annotated[
        Format | None,
        typer.Option(
            "--format", help="Of the rows, where the name does not say. Stdin is JSON if it begins with { or [."
        ),
    ] = None,
    na: Annotated[str, typer.Option(help="Text that means missing in a CSV.")] = "NA",
    binary: Annotated[
        bool, typer.Option("--binary", help="Send binary tensors: large files, infinite numbers.")
    ] = False,
    timeout_s: Annotated[
        float | None, typer.Option(help="The server's deadline for each request, 0.05 to 60 s.")
    ] = None,
) -> None:
    """Score rows and print R's predictions, in the rows' order; or call a function with JSON {"inputs": …}.

    CSV cells are typed by the model's signature; columns that are no inputs of the model are left out, and said so.

    [dim]scoregate score boston-housing --data rows.csv --stack dev[/dim]
    [dim]scoregate score iris-species --data - --output csv < flowers.json[/dim]
    [dim]scoregate score loan-schedule --data loan.json[/dim]
    """
    if timeout_s is not None and not MIN_TIMEOUT_MS <= timeout_s * 1000 <= MAX_TIMEOUT_MS:  # nor NaN
        raise UsageError(f"--timeout-s is from 0.05 to 60 seconds, not {timeout_s:g}")
    name, text, kind = _read(data, input_format)
    with connection.client() as client:
        if kind is Format.JSON and (inputs := read_inputs(text)) is not None:
            if binary or output is not Output.JSON:
                raise UsageError("a function's outputs have lengths of their own: they are printed as JSON only")
            answer = client.call(model, inputs, version, timeout_s)
            shown = {"model": answer.model, "version": answer.version, "outputs": answer.outputs}
            out(msgspec.json.encode(shown).decode())
            return
        signature: Signature | None = None
        rows: Any
        if kind is Format.CSV:
            described = client.model(model, version)
            signature = described.signature
            version = described.version
            if signature.is_function:
                raise UsageError(f'{model} is a function: give JSON, {{"inputs": …}}, as its /docs show')
            parsed = read_csv(io.StringIO(text, newline=""), signature.inputs, na=na)
            if parsed.ignored:
                say(f"scoregate: left out, for {model} does not take them: {', '.join(parsed.ignored)}")
            rows = parsed.columns
        else:
            rows = read_json(text)
        if not len(table_of(rows)):
            raise UsageError(f"{name} has no rows")
        if binary:
            _write_columns(client.score_binary(model, rows, version, timeout_s), output)
        else:
            _write(client, client.score(model, rows, version, timeout_s), output, signature)


def _read(data: str, kind: Format | None) -> tuple[str, str, Format]:
    """What to call it, its text, its form."""
    if data == "-":
        text = _text(sys.stdin.buffer.read(), "stdin")
        return "stdin", text, kind or (Format.JSON if text.lstrip()[:1] in {"{", "["} else Format.CSV)
    path = Path(data)
    try:
        text = _text(path.read_bytes(), data)
    except OSError as error:
        raise UsageError(f"cannot read {data}: {error.strerror}") from error
    by_name = {".csv": Format.CSV, ".json": Format.JSON}.get(path.suffix.lower())
    if not (kind or by_name):
        raise UsageError(f"is {data} CSV or JSON? Say --format csv or --format json")
    return data, text, kind or by_name or Format.CSV


def _text(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8 (byte {error.start})") from error


def _write(client: Client, scores: Scores, output: Output, signature: Signature | None) -> None:
    if output is Output.JSON:
        body = {"model": scores.model, "version": scores.version, "predictions": scores.predictions}
        out(msgspec.json.encode(body).decode())
        return
    first = next((p for p in scores.predictions if isinstance(p, dict)), None)
    if first is None:
        write_csv({"prediction": scores.predictions})
        return
    signature = signature or client.model(scores.model, scores.version).signature
    columns: dict[str, list[Any]] = {field.name: [] for field in signature.outputs}
    for prediction in scores.predictions:
        for name, column in columns.items():
            column.append(prediction.get(name) if isinstance(prediction, dict) else None)
    write_csv(columns)


def _write_columns(scores: ColumnScores, output: Output) -> None:
    columns = {name: list(values) for name, values in scores.columns.items()}
    if output is Output.CSV:
        write_csv(columns)
        return
    predictions: Any
    if len(columns) == 1:
        (predictions,) = columns.values()
    else:
        predictions = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    out(msgspec.json.encode({"model": scores.model, "version": scores.version, "predictions": predictions}).decode())


def write_csv(columns: Mapping[str, Sequence[Any]]) -> None:
    """A header and rows on stdout; doubles in the shortest form that reads back as the same double, missing as NA."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([_cell(value) for value in row])


def _cell(value: Any) -> Any:
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return "NA"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float) and value in {float("inf"), float("-inf")}:
        return "Inf" if value > 0 else "-Inf"
    return repr(value) if isinstance(value, float) else value
