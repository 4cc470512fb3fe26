"""`scoregate models`: what there is to score, and what one model takes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from client.commands.options import connected
from client.connection import Connection
from client.models import Model
from client.terminal import console, out
from shared.signature import Field, Type


class Output(StrEnum):
    """Forms of the answer."""

    TABLE = "table"
    JSON = "json"


@connected
def models(
    connection: Connection,
    *,
    name: Annotated[str | None, typer.Argument(help="A model: shows its columns, types, levels and outputs.")] = None,
    version: Annotated[str | None, typer.Option(help="Of this version, not the one that serves by default.")] = None,
    output: Annotated[Output, typer.Option(help="A table, or JSON for programs.")] = Output.TABLE,
) -> None:
    """The models you may score; with a NAME, what that one takes and gives.

    [dim]scoregate models --stack dev[/dim]
    [dim]scoregate models boston-housing --stack dev[/dim]
    """
    with connection.client() as client:
        found = client.model(name, version) if name else client.models()
    if output is Output.JSON:
        out(msgspec.json.format(msgspec.json.encode(found)).decode())
    elif isinstance(found, Model):
        _show_model(found)
    else:
        _show_list(found)


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)  # a name is to be copied
    for heading in others:
        table.add_column(heading, overflow="fold")
    return table


def _show_list(found: list[Model]) -> None:
    table = _table("model", "version", "inputs", "answers", "others", "description")
    for model in found:
        answers = "a value" if model.signature.kind == "vector" else _some([f.name for f in model.signature.outputs])
        others = [v for v in model.versions if v != model.version] + [f"{v} (unavailable)" for v in model.unavailable]
        state = "" if model.state == "ready" else f" ({model.state})"
        inputs = str(len(model.signature.inputs))
        cells = (model.model, model.version + state, inputs, answers, ", ".join(others), model.description)
        table.add_row(*map(escape, cells))
    console().print(table if found else "no models that you may score")


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} more"


def _show_model(model: Model) -> None:
    screen = console()
    screen.print(
        f"[bold]{escape(model.model)}[/bold] version {escape(model.version)}  {escape(model.description)}".rstrip()
    )
    if model.r_version:
        packages = ", ".join(f"{name} {version}" for name, version in model.packages.items())
        screen.print(f"{escape('/'.join(model.model_class))}, R {escape(model.r_version)} {escape(packages)}".rstrip())
    for number, reason in model.unavailable.items():
        screen.print(escape(f"version {number} is unavailable: {reason}"))
    if not model.batchable:
        screen.print(f"scored request by request: {escape(model.batchable_reason or 'not batchable')}")
    takes = _table("input", "type", "missing", "levels or range seen")
    for field in model.signature.inputs:
        takes.add_row(
            *map(escape, (field.name, field.type, "may be missing" if field.nullable else "", _domain(field)))
        )
    screen.print(takes)
    gives = _table("output", "type", "levels")
    for field in model.signature.outputs:
        gives.add_row(*map(escape, (field.name, field.type, _domain(field))))
    screen.print(gives)


def _domain(field: Field) -> str:
    if field.levels:
        return (" < " if field.ordered else ", ").join(field.levels)
    return " … ".join(_bound(field, bound) for bound in field.range) if field.range else ""


def _bound(field: Field, bound: float | str) -> str:
    return str(int(bound)) if field.type is Type.INTEGER and isinstance(bound, float) else str(bound)
