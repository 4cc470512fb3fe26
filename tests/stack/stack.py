"""A whole stack for tests, started and stopped through devkit as a user would: real R, real Redis, real MSAL, real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[2]
UP_WITHIN_S = 300


def devkit(*arguments: str, within_s: float = 60, **environment: str) -> str:
    """What `./dev ARGUMENTS` prints; fails with all it said."""
    done = subprocess.run(
        [sys.executable, "-m", "devkit", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )
    assert done.returncode == 0, f"./dev {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass
class Stack:
    """A running stack. `close` stops it; nothing of it is left."""

    name: str
    _tokens: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def up(cls, *options: str, **environment: str) -> Stack:
        """A new stack on a free port, with the examples unless `--store` says otherwise."""
        name = f"t-{uuid.uuid4().hex[:8]}"
        devkit("up", "--detach", "--name", name, "--port", "0", *options, within_s=UP_WITHIN_S, **environment)
        return cls(name)

    def close(self) -> None:
        """Stop it and remove what it kept."""
        devkit("down", "--name", self.name, "--remove")

    def status(self) -> dict[str, Any]:
        """`./dev status --json`."""
        found: dict[str, Any] = json.loads(devkit("status", "--json", "--name", self.name))
        return found

    @cached_property
    def addresses(self) -> dict[str, Any]:
        """`status`, as it was when first asked for: addresses stay, processes may not."""
        return self.status()

    @property
    def gateway_url(self) -> str:
        """Where clients call."""
        return str(self.addresses["gateway_url"])

    def token(self, app: str = "all") -> str:
        """A token through MSAL; the same for the life of the stack."""
        if app not in self._tokens:
            self._tokens[app] = devkit("token", "--name", self.name, "--app", app).strip()
        return self._tokens[app]

    def logged(self, service: str) -> list[str]:
        """Every line of a service's log."""
        return devkit("logs", service, "--name", self.name).splitlines()

    def errors_logged(self, service: str) -> list[str]:
        """Those at level error or worse."""
        return [line for line in self.logged(service) if any(w in line.split()[:4] for w in ("error", "critical"))]

    @property
    def store(self) -> Path:
        """The model store's folder."""
        return Path(unquote(urlsplit(self.addresses["store"]).path))

    def published(self, model: str, version: str = "1") -> tuple[dict[str, Any], Path]:
        """A version's manifest, and its model.rds in the store."""
        manifest = json.loads((self.store / "models" / model / version / "manifest.json").read_text())
        return manifest, self.store / "blobs" / "sha256" / manifest["files"]["model.rds"]["sha256"]


def rscript(*arguments: str | Path, within_s: float = 120, env: dict[str, str] | None = None) -> str:
    """What an R session of its own prints."""
    done = subprocess.run(
        ["Rscript", "--vanilla", *map(str, arguments)],
        env=env,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
