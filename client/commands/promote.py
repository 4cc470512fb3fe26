"""`scoregate promote`: which version serves those who name none."""

from __future__ import annotations

from typing import Annotated

import typer

from client.commands.options import check_version, store_at
from client.connection import UsageError
from client.terminal import out


def promote(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    version: Annotated[str | None, typer.Argument(help="The version that is to serve by default.")] = None,
    *,
    store: Annotated[
        str, typer.Option(help="The store that the scorers watch, as for publish.", envvar="SCOREGATE_STORE")
    ],
    clear: Annotated[
        bool, typer.Option("--clear", help="Instead of a version: let the rule choose again, the highest that fits.")
    ] = False,
) -> None:
    """Let a version serve by default: a new one whose inputs changed, or an older one again.

    Without a promotion the highest version serves whose inputs take all that the one before took. A promoted version
    serves until another is promoted, also when higher ones are published. Gateways follow within seconds, once every
    scorer has it ready. Requests that name a version are not touched.

    [dim]scoregate promote boston-housing 2 --store az://models[/dim]
    [dim]scoregate promote boston-housing --clear --store az://models[/dim]
    """
    if (version is None) != clear:
        raise UsageError("which version? Give its number, or --clear to let the rule choose")
    check_version(model, version)
    store_at(store).promote(model, version)
    out(
        f"{model}: "
        + (f"{version} serves by default" if version else "the highest version that fits serves by default")
    )
