"""Pins pyproject.toml's dependencies in requirements/*.txt: one per extra and dev.txt for all, with hashes."""

from __future__ import annotations

import shutil
import subprocess

from devkit.state import ROOT

EXTRAS = ("gateway", "scorer", "client", "otel", "devkit")


class LockError(Exception):
    """The requirements could not be pinned; the message says why."""


def lock() -> None:
    """Replaces every file. Raises LockError without uv, or if a dependency cannot be resolved."""
    uv = shutil.which("uv")
    if uv is None:
        raise LockError("uv is needed to pin requirements: pipx install uv")
    for extra in (*EXTRAS, "dev"):
        choice = ["--all-extras"] if extra == "dev" else ["--extra", extra]
        argv = [uv, "pip", "compile", "pyproject.toml", *choice, "--generate-hashes", "--no-emit-index-url"]
        argv += ["--no-annotate", "--no-header", "--python-version", "3.11", "--universal"]
        argv += ["--quiet", "-o", f"requirements/{extra}.txt"]
        if subprocess.run(argv, cwd=ROOT, check=False).returncode:
            raise LockError(f"requirements/{extra}.txt could not be made; uv's message is above")
