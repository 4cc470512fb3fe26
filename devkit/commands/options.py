"""The option that says which stack a command is about, and what it names."""

from __future__ import annotations

from typing import Annotated

import typer

from devkit.commands.terminal import fail
from devkit.state import Home, State, running

NameOption = Annotated[str, typer.Option("--name", help="Which stack: several run side by side under their own names.")]


def named_home(name: str) -> Home:
    """The stack's folder; ends the command where no stack can have that name."""
    try:
        return Home(name)
    except ValueError as error:
        fail(str(error))


def running_state(name: str) -> State:
    """What a stack that is ready says of itself; ends the command with what to do where it is not."""
    home = named_home(name)
    state = home.read()
    if state is None:
        fail(not_running(home))
    if state.phase != "ready":
        fail(f"{name} is {state.phase} and takes no requests")
    return state


def not_running(home: Home) -> str:
    """What is said of a stack that does not run."""
    others = ", ".join(other.name for other in running()) or "none"
    return f"{home.name} is not running (running: {others}). Start it with: {home.command('up')}"
