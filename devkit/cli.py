"""The command `./dev`: puts the subcommands together, in the order in which `--help` lists them."""

from __future__ import annotations

import typer

from devkit.commands.code import check, lock, manifests, setup, test
from devkit.commands.measure import BENCH_HELP, bench, load
from devkit.commands.stack import down, logs, status, supervise, token, up

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Runs scoregate on this machine and tests it. Everything it makes is under .dev/ and .venv/.",
)
app.command()(up)
app.command(hidden=True)(supervise)
app.command()(status)
app.command()(logs)
app.command()(down)
app.command()(token)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(test)
app.command(help=BENCH_HELP)(bench)
app.command()(setup)
app.command()(load)
app.command()(check)
app.command()(manifests)
app.command()(lock)


def main() -> None:
    """Runs the command that the arguments name."""
    app(prog_name="./dev")
