"""Who may import whom: `__main__ → app → routes/middleware → shell → core → shared`; no service imports another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from devkit.state import ROOT

PACKAGES = ("gateway", "scorer", "client", "devkit", "shared")
#: Which of our packages a package may import, besides itself.
ALLOWED = {
    "gateway": {"shared"},
    "scorer": {"shared"},
    "client": {"shared"},
    "devkit": {"client", "shared"},
    "shared": set[str](),
}
#: What one place may import beyond that: what is set for the services is judged by their own settings.
ALSO = dict.fromkeys(("devkit/manifests", "devkit/settings_check"), ("gateway.settings.", "scorer.settings."))
#: The layers of a service, outermost first: a module imports from its own layer and from those after it.
LAYERS = (
    ("__main__", "command", "server"),  # processes and ports
    ("app",),  # composition: knows everything
    ("routes", "middleware", "protocol"),
    ("shell",),  # I/O
    ("settings", "metrics"),  # what the environment says, what is counted
    ("core",),  # decisions
)
#: What a decision may not touch: it takes the time as an argument and returns what is to be done.
FORBIDDEN_IN_CORE = {
    "asyncio", "logging", "structlog", "time", "socket", "subprocess", "threading", "os", "random", "starlette",
    "uvicorn", "uvloop", "httptools", "httpx", "aiohttp", "redis", "obstore", "prometheus_client", "slowapi",
}  # fmt: skip


def imports(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted module) of every import in a file, wherever it stands."""
    package = path.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def layer(dotted: str) -> int | None:
    """Which layer of its service a module is in; None for the package itself."""
    parts = dotted.split(".")
    if len(parts) < 2:
        return None
    return next((index for index, names in enumerate(LAYERS) if parts[1] in names), None)


def wrongs(root: Path) -> list[str]:
    """Every import that goes the wrong way, as `file:line: what`."""
    found = []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            where = path.relative_to(root)
            own = layer(".".join(where.with_suffix("").parts))
            for line, module in imports(path, root):
                top = module.split(".")[0]
                if module.startswith(ALSO.get(str(where.with_suffix("")), ALSO.get(str(where.parent), ("no module",)))):
                    continue
                if top in PACKAGES and top != package and top not in ALLOWED[package]:
                    found.append(f"{where}:{line}: {package} imports {module}")
                elif top == package in ("gateway", "scorer") and own is not None:
                    theirs = layer(module)
                    if theirs is not None and theirs < own:
                        found.append(f"{where}:{line}: {LAYERS[own][0]} imports {module}")
                elif top in FORBIDDEN_IN_CORE and own == len(LAYERS) - 1:
                    found.append(f"{where}:{line}: core imports {module}")
    return found


def unplaced(root: Path) -> list[str]:
    """Modules of a service that are in no layer: the list above must place them."""
    return [
        str(path.relative_to(root))
        for package in ("gateway", "scorer")
        for path in sorted((root / package).rglob("*.py"))
        if path.name != "__init__.py" and layer(".".join(path.relative_to(root).with_suffix("").parts)) is None
    ]


def test_imports_go_one_way() -> None:
    assert wrongs(ROOT) == []


def test_every_module_of_a_service_is_in_a_layer() -> None:
    assert unplaced(ROOT) == []


@pytest.mark.parametrize(
    ("file", "code", "wrong"),
    [
        ("gateway/app.py", "from scorer import app", "gateway imports scorer.app"),
        ("scorer/shell/a.py", "import gateway.core.limits", "scorer imports gateway.core.limits"),
        ("shared/a.py", "from client import Client", "shared imports client.Client"),
        ("client/a.py", "from scorer.core import cost", "client imports scorer.core.cost"),
        ("devkit/a.py", "from gateway import settings", "devkit imports gateway.settings"),
        ("gateway/core/a.py", "from gateway.shell.keys import Keys", "core imports gateway.shell.keys.Keys"),
        ("gateway/core/a.py", "from ..routes import v1", "core imports gateway.routes.v1"),
        ("gateway/core/a.py", "from gateway import app", "core imports gateway.app"),
        ("gateway/core/deep/a.py", "def f():\n    import asyncio", "core imports asyncio"),
        ("scorer/core/a.py", "from time import monotonic", "core imports time.monotonic"),
        ("gateway/shell/a.py", "import gateway.routes.v1", "shell imports gateway.routes.v1"),
        ("gateway/routes/a.py", "from gateway import app", "routes imports gateway.app"),
    ],
)  # fmt: skip
def test_a_wrong_import_is_found(tmp_path: Path, file: str, code: str, wrong: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(code)
    (found,) = wrongs(tmp_path)
    assert found.startswith(f"{file}:")
    assert found.endswith(wrong)


@pytest.mark.parametrize(
    ("file", "code"),
    [
        (
            "gateway/app.py",
            "from gateway.core import limits\nfrom gateway.shell import keys\nimport asyncio, shared.wire",
        ),
        (
            "gateway/core/a.py",
            "from gateway.core.limits import Limits\nfrom shared.errors import ForbiddenError\nimport math",
        ),
        ("gateway/__main__.py", "from gateway import app, server"),
        ("client/a.py", "from shared.signature import Type\nimport httpx"),
    ],
)
def test_a_right_import_is_left_alone(tmp_path: Path, file: str, code: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(code)
    assert wrongs(tmp_path) == []


def test_a_module_in_no_layer_is_found(tmp_path: Path) -> None:
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "helpers.py").write_text("")
    assert unplaced(tmp_path) == ["gateway/helpers.py"]
