"""docs/how-to/call-from-python.md names what there is, and its code is Python."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import client

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "how-to" / "call-from-python.md").read_text("utf-8")


def test_every_class_the_guide_names_can_be_imported() -> None:
    named = set(re.findall(r"\b[A-Z][A-Za-z]+(?:Error|Client|Secret|Certificate|Code|Token|Policy)\b|NO_RETRY", GUIDE))
    assert len(named) > 15
    assert named <= set(client.__all__), named - set(client.__all__)


def test_every_exception_is_in_the_guide() -> None:
    errors = [name for name in client.__all__ if name.endswith("Error")]
    assert [name for name in errors if name not in GUIDE] == []


def test_the_guides_code_is_python_and_calls_methods_that_exist() -> None:
    for block in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "client":
                assert hasattr(client.Client, node.attr), node.attr
            if isinstance(node, ast.ImportFrom):
                assert node.module == "client"
                assert {name.name for name in node.names} <= set(client.__all__)
