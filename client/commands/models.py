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
from client.models import Model, ModelSummary
from client.terminal import console, out
from shared.signature import Field


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


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _show_list(found: list[ModelSummary]) -> None:
    table = _table("model", "serves", "versions", "description")
    for model in found:
        versions = [name if state == "ready" else f"{name} ({state})" for name, state in model.versions.items()]
        cells = (model.name, model.default_version or "none", ", ".join(versions), model.description)
        table.add_row(*map(escape, cells))
    console().print(table if found else "no models that you may score")


def _show_model(model: Model) -> None:
    screen = console()
    screen.print(
        f"[bold]{escape(model.model)}[/bold] version {escape(model.version)}  {escape(model.description)}".rstrip()
    )
    if model.r_version:
        packages = ", ".join(f"{name} {version}" for name, version in model.packages.items())
        screen.print(f"{escape('/'.join(model.model_class))}, R {escape(model.r_version)} {escape(packages)}".rstrip())
    if model.state != "ready":
        screen.print(escape(f"{model.state}: {model.reason or 'not ready'}"))
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
    return f"{field.range[0]} … {field.range[1]}" if field.range else ""
