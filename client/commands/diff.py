"""`scoregate diff`: what changes for callers between two versions, in what they send and in what they are answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from client.changes import Change, changes, signature_changes
from client.commands.options import connected
from client.connection import Connection, UsageError
from client.csvdata import read_csv
from client.models import Model
from client.oip import as_number
from client.parts import ROWS_PER_REQUEST
from client.rows import table_of
from client.terminal import out, say
from shared.signature import Type


@connected
def diff(
    connection: Connection,
    *,
    model: Annotated[str, typer.Argument(help="The model's name.")],
    old: Annotated[str, typer.Argument(metavar="OLD", help="A version, such as the one that serves now.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Another version, ready in the scorers.")],
    data: Annotated[
        Path | None, typer.Option(metavar="DATA.csv", help="Rows to score with both; without it, only signatures.")
    ] = None,
    na: Annotated[str, typer.Option(help="Text that means missing in the CSV.")] = "NA",
    examples: Annotated[int, typer.Option(min=0, help="How many rows of the largest changes to show.")] = 5,
) -> None:
    """Compare two versions: the changes of their inputs and outputs, and of their answers to the same rows.

    Both versions answer through the gateway. A number's change is relative to the older answer. Exit code 0, whatever
    is found.

    [dim]scoregate diff boston-housing 1 2 --data rows.csv --stack dev[/dim]
    """
    with connection.client() as client:
        before, after = client.model(model, old), client.model(model, new)
        lines = signature_changes(before.signature, after.signature)
        for line in lines or ["inputs and outputs are the same"]:
            out(line)
        if not after.signature.takes_all_that(before.signature):
            out(
                f"{new} does not take all that {old} takes:"
                f" it serves by default only after scoregate promote {model} {new} --store …"
            )
        if data is None:
            return
        if before.signature.is_function or after.signature.is_function:
            raise UsageError(f"{model} is a function: its answers to rows cannot be compared; leave out --data")
        say(f"scoring {data} with {old} and {new} …")
        first, second = (_scored(connection, one, data, na) for one in (before, after))
    _report(changes(first, second), old, new, examples)


def _scored(connection: Connection, model: Model, data: Path, na: str) -> Mapping[str, Sequence[Any]]:
    try:
        with data.open(encoding="utf-8-sig", newline="") as lines:
            parsed = read_csv(lines, model.signature.inputs, na=na)
    except OSError as error:
        raise UsageError(f"cannot read {data}: {error.strerror}") from error
    if not len(parsed):
        raise UsageError(f"{data} has no rows")
    at_once = ROWS_PER_REQUEST if model.batchable else len(parsed)
    columns = table_of(parsed.columns).as_columns(field.name for field in model.signature.inputs)
    with connection.client(rows_per_request=at_once) as scoring:
        answers = scoring.score_binary(model.model, columns, model.version).columns
    numbers = {field.name: field for field in model.signature.outputs if field.type in {Type.DATE, Type.DATETIME}}
    return {
        name: [None if v is None else as_number(numbers[name], v) for v in values] if name in numbers else values
        for name, values in answers.items()
    }


def _report(found: list[Change], old: str, new: str, examples: int) -> None:
    for change in found:
        out(str(change))
        for row, here, there in change.largest[:examples]:
            out(f"    row {row}: {_shown(here)} in {old}, {_shown(there)} in {new}")
    if not found:
        out("the versions have no output in common")


def _shown(value: Any) -> str:
    return "NA" if value is None or value != value else f"{value:.17g}" if isinstance(value, float) else repr(value)  # noqa: PLR0124 - NaN
