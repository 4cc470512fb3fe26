"""What the tests read off Bicep files by their text: parameters, modules, outputs. No parser: those are lines of their own."""

from __future__ import annotations

import re
from pathlib import Path


def parameters_of(file: Path) -> dict[str, bool]:
    """Each parameter, and whether it has a default."""
    return {
        name: default == "="
        for name, default in re.findall(r"^param (\w+) [\w\[\]]+ ?(=?)", file.read_text(), re.MULTILINE)
    }


def outputs_of(file: Path) -> set[str]:
    """Each output."""
    return set(re.findall(r"^output (\w+) ", file.read_text(), re.MULTILINE))


def modules_of(file: Path) -> dict[str, tuple[Path, dict[str, str]]]:
    """Each module by its symbol: its file, and the arguments it is given."""
    found = {}
    for symbol, path, body in re.findall(
        r"^module (\w+) '([^']+)' = \{\n(.*?)^\}", file.read_text(), re.MULTILINE | re.DOTALL
    ):
        found[symbol] = (file.parent / path, dict(re.findall(r"^    (\w+): (.+)$", body, re.MULTILINE)))
    return found
