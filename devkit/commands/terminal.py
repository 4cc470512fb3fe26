"""How every command of `./dev` speaks: to standard output what was asked for, to standard error the rest."""

from __future__ import annotations

from typing import NoReturn

import typer
from rich.console import Console

out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)


def fail(message: str) -> NoReturn:
    """Say what is wrong and end the command with exit code 1."""
    err.print(message, markup=False)
    raise typer.Exit(1)
