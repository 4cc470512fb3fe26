"""compose.yaml's containers for tests: what `docker compose` and the engine below it are asked, as a user would ask them.

COMPOSE is the compose command (default `docker compose`). The engine is its first word where that is docker, else podman;
ENGINE says otherwise. Every question goes through one of the two: nothing here knows which it is.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from devkit.state import ROOT
from tests.support import eventually

#: Images are built from nothing in this time, also where two cores have other work.
BUILT_WITHIN_S = 900.0
#: A container that was started is ready in this time: R and the examples' packages load.
READY_WITHIN_S = 120.0
TESTS = Path(__file__).resolve().parent
#: Runs `urlopen` in a container that has Python.
_FETCH = "import sys, urllib.request as r; sys.stdout.write(r.urlopen(sys.argv[1], timeout=5).read().decode())"


def run(argv: Sequence[str], *, within_s: float = 120.0, send: str | None = None, check: bool = True) -> str:
    """What a command prints; fails with all it said unless `check` is False."""
    done = subprocess.run(
        argv,
        cwd=ROOT,
        stdin=subprocess.DEVNULL if send is None else None,
        input=send,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )
    assert not check or done.returncode == 0, (
        f"{shlex.join(argv)[:500]}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return done.stdout


def compose_command() -> list[str]:
    """From the environment; its first word made absolute, for a path is meant from the root of the repository."""
    first, *others = shlex.split(os.environ.get("COMPOSE", "docker compose"))
    return [str((ROOT / first).resolve()) if "/" in first else first, *others]


def engine_command() -> str:
    """docker or podman."""
    first = Path(compose_command()[0]).name
    return os.environ.get("ENGINE", first if first == "docker" else "podman")


@dataclass
class Containers:
    """The containers of one project. `up` and `down`; others are read or harmed through the engine."""

    project: str
    gateway_port: int
    entra_port: int
    _tokens: dict[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._command = compose_command()
        self.engine_name = engine_command()
        for program in (self._command[0], self.engine_name):
            assert shutil.which(program), f"{program} is not there; COMPOSE names the compose command"
        os.environ |= {
            "COMPOSE_PROJECT_NAME": self.project,
            "GATEWAY_PORT": str(self.gateway_port),
            "ENTRA_PORT": str(self.entra_port),
        }

    def compose(self, *arguments: str, within_s: float = 120.0, send: str | None = None) -> str:
        """`docker compose ARGUMENTS`."""
        return run([*self._command, *arguments], within_s=within_s, send=send)

    def engine(self, *arguments: str, within_s: float = 120.0, check: bool = True) -> str:
        """`docker ARGUMENTS` or `podman ARGUMENTS`."""
        return run([self.engine_name, *arguments], within_s=within_s, check=check)

    def up(self, *options: str) -> None:
        """Builds what has changed and starts everything at once, in no order."""
        self.compose("up", "--detach", "--build", "--no-deps", *options, within_s=BUILT_WITHIN_S)

    def down(self) -> None:
        """Everything away, what was kept included."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "2")

    @property
    def url(self) -> str:
        """Where clients on this machine call the gateway."""
        return f"http://127.0.0.1:{self.gateway_port}"

    @cached_property
    def token(self) -> str:
        """By MSAL, from the stand-in, in whose container everything for it is."""
        return eventually(self._token, within_s=READY_WITHIN_S, every_s=1, what="a token")

    def _token(self) -> str:
        return self.compose("exec", "-T", "entra", "python3", "-m", "devkit", "token", "--folder", "/entra").strip()

    # --- by container

    def left(self) -> dict[str, list[str]]:
        """What there is of the project, running or not, by kind."""
        mine = ("--filter", f"label=com.docker.compose.project={self.project}")
        return {
            "containers": self.engine("ps", "--all", "--quiet", *mine).split(),
            "networks": self.engine("network", "ls", "--quiet", *mine).split(),
            "volumes": self.engine("volume", "ls", "--quiet", *mine).split(),
        }

    def names(self, service: str) -> list[str]:
        """Running containers of a service, in order."""
        filters = [f"label=com.docker.compose.{k}={v}" for k, v in (("project", self.project), ("service", service))]
        asked = [word for one in filters for word in ("--filter", one)]
        return sorted(self.engine("ps", *asked, "--format", "{{.Names}}").split())

    def name(self, service: str) -> str:
        """The one container of a service."""
        (name,) = self.names(service)
        return name

    def inspect(self, name: str) -> dict[str, Any]:
        """Everything the engine knows of a container."""
        (found,) = json.loads(self.engine("inspect", name))
        assert isinstance(found, dict)
        return found

    def execute(self, name: str, *command: str) -> str:
        """What a command prints in a container."""
        return self.engine("exec", name, *command)

    def fetch(self, name: str, url: str) -> str:
        """A page, as a container with Python gets it."""
        return self.execute(name, "python3", "-c", _FETCH, url)

    def metric(self, name: str, port: int, metric: str, label: str = "") -> float:
        """A metric of a service, summed over the series that have the label."""
        lines = self.fetch(name, f"http://127.0.0.1:{port}/metrics").splitlines()
        found = [line.rpartition(" ") for line in lines if line.startswith(metric) and label in line]
        return sum(float(value) for series, _, value in found if series.partition("{")[0] == metric)

    def is_healthy(self, name: str) -> bool:
        """Runs the container's own HEALTHCHECK once."""
        kind, *command = self.inspect(name)["Config"]["Healthcheck"]["Test"]
        assert kind == "CMD"
        self.execute(name, *command)
        return True

    def until_healthy(self, *services: str) -> None:
        """Waits until every container of these services passes its HEALTHCHECK."""
        for service in services:
            for name in self.names(service):
                eventually(lambda name=name: self.is_healthy(name), within_s=READY_WITHIN_S, every_s=0.5, what=name)

    def once(self, image: str, *command: str, options: Sequence[str] = ()) -> str:
        """What the first word, as entry point, prints in a container of its own: no network, nothing writable but /tmp."""
        alone = ("--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", *options)
        return self.engine("run", *alone, "--entrypoint", command[0], image, *command[1:])


def say(text: str) -> None:
    """Progress, past pytest's capture."""
    print(text, file=sys.__stderr__, flush=True)
