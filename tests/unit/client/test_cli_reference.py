"""docs/reference/cli.md says everything the command takes, and nothing it does not."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
import typer.main

from client.cli import app
from client.connection import VARIABLES
from client.terminal import Exit

REFERENCE = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "cli.md").read_text("utf-8")
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_in_the_reference(name: str) -> None:
    command: click.Command = COMMANDS[name]
    assert f"| `{name} " in REFERENCE or f"| `{name}`" in REFERENCE
    for parameter in command.params:
        options = [option for option in parameter.opts if option.startswith("--") and option != "--help"]
        if not getattr(parameter, "hidden", False):
            assert not options or any(f"`{option}" in REFERENCE for option in options), options


def test_every_variable_is_in_the_reference_and_no_other() -> None:
    named = set(re.findall(r"SCOREGATE_[A-Z_]+", REFERENCE))
    assert named == {*VARIABLES.values(), "SCOREGATE_STORE"}


def test_every_exit_code_is_in_the_reference() -> None:
    codes = re.findall(r"^\| (\d+) \|", REFERENCE, re.MULTILINE)
    assert codes == [*(str(int(code)) for code in Exit), "130"]


def test_no_option_of_the_reference_is_made_up() -> None:
    taken = {option for command in COMMANDS.values() for p in command.params for option in p.opts}
    for option in re.findall(r"`(--[a-z-]+)", REFERENCE):
        assert option in taken | {"--help"}, option


@pytest.mark.parametrize("name", COMMANDS)
def test_help_flows_and_its_examples_fit_on_a_terminals_lines(name: str) -> None:
    for paragraph in (COMMANDS[name].help or "").split("\n\n"):
        for line in paragraph.splitlines():
            example = re.fullmatch(r"\[dim\](.*)\[/dim\]", line.strip())
            assert len(example[1]) <= 78 if example else line == paragraph, line


def test_a_secret_cannot_be_given_as_an_option_in_help() -> None:
    for command in COMMANDS.values():
        context = click.Context(command, info_name="x")
        assert "--client-secret " not in command.get_help(context)
