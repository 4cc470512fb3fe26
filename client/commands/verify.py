"""`scoregate verify`: whether the gateway's answer is R's answer, to the last bit."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from client.client import Client
from client.commands.options import connected
from client.compare import Comparison, compare
from client.connection import Connection, UsageError
from client.csvdata import read_csv
from client.expected import expected_columns
from client.models import Model
from client.oip import as_number
from client.parts import ROWS_PER_REQUEST
from client.rows import table_of
from client.store import Store, read_package
from client.terminal import Exit, out, say
from shared.signature import Field, Type


@connected
def verify(
    connection: Connection,
    *,
    model: Annotated[str, typer.Argument(help="The model's name.")],
    data: Annotated[Path, typer.Argument(metavar="DATA.csv", help="Rows to score, here and there.")],
    store: Annotated[
        str | None,
        typer.Option(
            help="The store to fetch the model package from; with --stack, by default that stack's.",
            envvar="SCOREGATE_STORE",
        ),
    ] = None,
    package: Annotated[Path | None, typer.Option(metavar="DIR", help="Or the model package itself.")] = None,
    version: Annotated[str | None, typer.Option(help="This version, not the one that serves by default.")] = None,
    through_json: Annotated[
        bool, typer.Option("--json", help="Through /v1 as JSON; otherwise through /v2 as binary tensors.")
    ] = False,
    na: Annotated[str, typer.Option(help="Text that means missing in the CSV.")] = "NA",
) -> None:
    """Score rows with R here and through the gateway, and compare the answers row by row, bit by bit.

    Exit code 1 if anything differs; the first differing values are shown. R's NA and NaN count as the same.

    [dim]scoregate verify boston-housing rows.csv --stack dev[/dim]
    [dim]scoregate verify boston-housing rows.csv --store file:///srv/models[/dim]
    [dim]scoregate verify boston-housing rows.csv --package boston-housing-1/ --json[/dim]
    """
    if package is None:
        store = store or connection.store()
    if (store is None) == (package is None):
        raise UsageError("where is the model package? Give either --store URL or --package DIR")
    try:
        lines = data.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise UsageError(f"cannot read {data}: {error.strerror}") from error
    with lines, tempfile.TemporaryDirectory(prefix="scoregate-verify-") as temporary, connection.client() as client:
        described = client.model(model, version)
        if described.signature.is_function:
            raise UsageError(f"{model} is a function: it has no rows to verify; call it with scoregate score")
        if package is None:
            package = Store(store or "", make=False).fetch(model, described.version, Path(temporary) / "package")
        _check_package(package, described)
        parsed = read_csv(lines, described.signature.inputs, na=na)
        if not len(parsed):
            raise UsageError(f"{data} has no rows")
        columns = table_of(parsed.columns).as_columns(f.name for f in described.signature.inputs)
        say(f"{len(parsed)} rows: R here …")
        here = expected_columns(package, described.signature, columns)
        # An answer that depends on the other rows is only the same if all of them go together.
        at_once = ROWS_PER_REQUEST if described.batchable else len(parsed)
        with connection.client(rows_per_request=at_once) as scoring:
            say(f"and {scoring.url}, through {'/v1 as JSON' if through_json else '/v2 as binary tensors'} …")
            there = _scored(scoring, described, columns, through_json=through_json)
    there = {field.name: as_r_has_it(field, there[field.name]) for field in described.signature.outputs}
    result = compare(here, there, through_json=through_json)
    _report(result, described)
    if result.values_differing:
        raise typer.Exit(Exit.FAILED)


def _check_package(package: Path, described: Model) -> None:
    manifest, _ = read_package(package)
    if (manifest.name, manifest.version) != (described.model, described.version):
        raise UsageError(
            f"{package} is {manifest.name} {manifest.version}, "
            f"the gateway serves {described.model} {described.version}; choose with --version"
        )


def _scored(
    client: Client, model: Model, columns: Mapping[str, list[Any]], *, through_json: bool
) -> dict[str, Sequence[Any]]:
    if not through_json:
        return dict(client.score_binary(model.model, columns, model.version).columns)
    predictions: Sequence[Any] = client.score(model.model, columns, model.version).predictions
    outputs = model.signature.outputs
    if model.signature.kind == "vector":
        return {outputs[0].name: predictions}
    return {field.name: [row[field.name] for row in predictions] for field in outputs}


def as_r_has_it(field: Field, values: Sequence[Any]) -> Sequence[Any]:
    """Dates and datetimes, which come as text, as R's numbers; other columns as they are."""
    if field.type not in {Type.DATE, Type.DATETIME}:
        return values
    return [None if value is None else as_number(field, value) for value in values]


def _report(result: Comparison, model: Model) -> None:
    for difference in result.first:
        out(str(difference))
    if result.values_differing > len(result.first):
        out(f"… and {result.values_differing - len(result.first)} more values")
    verdict = f"{result.rows:,} rows, {result.bits:,} bits differ"
    if result.values_differing:
        verdict += f" (in {result.values_differing:,} of {result.values:,} values, {result.rows_differing:,} rows)"
    out(f"{model.model} {model.version}: {verdict}")
