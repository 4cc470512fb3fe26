"""`scoregate retract`: no scorer serves this version any more."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer

from client.commands.options import check_version, store_at
from client.terminal import out


def retract(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    version: Annotated[str, typer.Argument(help="The version.")],
    *,
    store: Annotated[
        str, typer.Option(help="The store that the scorers watch, as for publish.", envvar="SCOREGATE_STORE")
    ],
    reason: Annotated[str, typer.Option(help="Kept in the store, for whoever asks later.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Serve it again.")] = False,
) -> None:
    """Take a version out of service. What was published stays as it is, and --undo brings it back.

    Gateways follow within seconds; if it served by default, another version does. A request that names it is answered 404.

    [dim]scoregate retract boston-housing 2 --reason "wrong year" --store az://models[/dim]
    """
    check_version(model, version)
    if undo:
        store_at(store).restore(model, version)
        out(f"{model} {version}: served again")
        return
    store_at(store).retract(model, version, reason, dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))
    out(f"{model} {version}: retracted")
