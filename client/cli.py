"""The `scoregate` command: puts the subcommands together and turns errors into a line and an exit code."""

from __future__ import annotations

import inspect
import sys

import typer

from client.commands.capacity import capacity
from client.commands.diff import diff
from client.commands.models import models
from client.commands.package import package
from client.commands.promote import promote
from client.commands.publish import publish
from client.commands.retract import retract
from client.commands.score import score
from client.commands.sign import sign
from client.commands.token import token
from client.commands.top import top
from client.commands.try_model import try_model
from client.commands.verify import verify
from client.errors import ClientError
from client.terminal import report

app = typer.Typer(
    name="scoregate",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,  # they may hold tokens and rows
    help="Score rows with R models behind a scoregate gateway, and bring models there.\n\n"
    "[bold]With a gateway:[/bold] models, score, token, verify, diff, capacity. [bold]With R:[/bold] package, try, verify. "
    "[bold]With a store:[/bold] sign, publish, promote, retract. [bold]With internal ports:[/bold] top.\n\n"
    "Connection options may be variables: SCOREGATE_URL, SCOREGATE_TENANT, SCOREGATE_CLIENT_ID, "
    "SCOREGATE_CLIENT_SECRET (or _FILE), SCOREGATE_SCOPE, SCOREGATE_AUTHORITY, SCOREGATE_CA_FILE, SCOREGATE_TOKEN; "
    "for a local stack of ./dev up, SCOREGATE_STACK.\n\n"
    "[dim]scoregate try model.rds --sample rows.csv[/dim]\n\n"
    "[dim]scoregate score boston-housing --data rows.csv --stack dev[/dim]\n\n"
    "[dim]scoregate verify boston-housing rows.csv --stack dev[/dim]",
    epilog="Exit codes: 0 done, 1 failed or differs, 2 usage, 3 refused by the server, 4 unavailable, 5 no token.",
)


def _flowing(docstring: str) -> str:
    """A docstring as help: Typer keeps every line end of it, which only the examples mean."""
    paragraphs = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(p if p.startswith("[dim]") else " ".join(p.split()) for p in paragraphs)


for command in (
    models, score, token, package, sign, publish, promote, retract, try_model, verify, diff, top, capacity
):  # fmt: skip
    app.command(command.__name__.removesuffix("_model"), help=_flowing(command.__doc__ or ""))(command)


def main() -> None:
    """The entry point: exits with a code of `client.terminal.Exit`, or 130 after Ctrl-C."""
    try:
        app()
    except ClientError as error:
        sys.exit(report(error))
    except KeyboardInterrupt:
        sys.exit(130)
