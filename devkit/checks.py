"""`./dev check` and `./dev test`: every tool that judges the code, with the arguments it is judged by."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile

from devkit import r
from devkit.state import ROOT

PYTEST_PARTS = ("unit", "service", "stack")
#: Builds and runs compose.yaml: only when it is named, for it needs containers.
COMPOSE_PART = "compose"
_TESTTHAT = (
    "testthat::test_dir('scorer/r/tests/testthat', package = 'scoregate', load_package = 'installed',"
    " reporter = 'summary', stop_on_failure = TRUE)"
)
_LINTR = (
    "options(lintr.linter_file = normalizePath('scorer/r/.lintr'));"
    "found <- lapply(c('scorer/r', 'examples'), lintr::lint_dir);"
    "for (one in found) print(one);"
    "quit(status = as.integer(sum(lengths(found)) > 0))"
)


@dataclass(frozen=True, slots=True)
class Check:
    """A tool and how to call it, from the root of the repository."""

    name: str
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check said, and whether it was content."""

    name: str
    passed: bool
    output: str
    took_s: float


def checks() -> list[Check]:
    """Every check that this machine can run; shellcheck is left out where it is not installed."""
    python = sys.executable
    found = [
        Check("format", (python, "-m", "ruff", "format", "--check", ".")),
        Check("lint", (python, "-m", "ruff", "check", ".")),
        Check("types", (python, "-m", "mypy")),
        Check("lint R", ("Rscript", "-e", _LINTR)),
    ]
    if shutil.which("shellcheck"):
        found.append(Check("lint shell", ("shellcheck", "-x", *shell_scripts())))
    return found


def shell_scripts() -> list[str]:
    """Every shell script of the repository, relative to its root: those with a name that says so, and the two without."""
    return ["dev", ".ci/run", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("k8s/**/*.sh"))]


def judge(wanted: Sequence[Check]) -> list[Verdict]:
    """Runs them, as many at once as there are cores; in the order given."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(_judge, wanted))


def _judge(check: Check) -> Verdict:
    began = time.monotonic()
    done = subprocess.run(
        check.argv,
        cwd=ROOT,
        env=os.environ | r.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Verdict(check.name, done.returncode == 0, done.stdout.strip(), time.monotonic() - began)


def run_testthat() -> int:
    """testthat over the installed R package; its exit code."""
    return _run(["Rscript", "-e", _TESTTHAT], os.environ | r.environment())


def paths(arguments: Sequence[str]) -> list[str]:
    """The files, folders or single tests that pytest's arguments begin with."""
    return list(takewhile(lambda one: not one.startswith("-"), arguments))


def pytest_argv(parts: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """pytest over these parts, or over the paths in the arguments; over all but compose where neither is named."""
    folders = [f"tests/{part}" for part in parts or (() if paths(arguments) else PYTEST_PARTS)]
    return [sys.executable, "-m", "pytest", *folders, *arguments]


def run_pytest(parts: Sequence[str], arguments: Sequence[str]) -> int:
    """Runs it; its exit code."""
    return _run(pytest_argv(parts, arguments), os.environ | r.environment())


def _run(argv: Sequence[str], env: Mapping[str, str]) -> int:
    return subprocess.run(argv, cwd=ROOT, env=env, check=False).returncode
