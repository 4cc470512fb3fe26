"""Azurite, Microsoft's own stand-in for Azure Storage, from its npm package: for the tests of `az://` stores.

It is installed into `.dev` the first time it is needed, Node and npm before it if they are missing. The package's install
scripts are not run.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from pathlib import Path

from devkit.state import DEV
from devkit.system import install_packages

VERSION = "3.33.0"


class AzuriteError(Exception):
    """Azurite could not be installed; the message ends with what npm said."""


def program() -> list[str]:
    """The command that starts its blob service. Raises AzuriteError, or MissingError where there is no Node."""
    folder = DEV / f"azurite-{VERSION}"
    script = folder / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    if shutil.which("node") is None or (not script.exists() and shutil.which("npm") is None):
        install_packages("nodejs", "npm")
    if not script.exists():
        DEV.mkdir(exist_ok=True)
        with (DEV / "azurite.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not script.exists():
                _install(folder)
    return ["node", str(script)]


def _install(folder: Path) -> None:
    building = Path(tempfile.mkdtemp(prefix="azurite-", dir=DEV))
    try:
        done = subprocess.run(
            ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save", f"azurite@{VERSION}"],
            cwd=building,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise AzuriteError(f"npm install azurite@{VERSION} failed:\n{done.stdout.strip()}")
        shutil.rmtree(folder, ignore_errors=True)  # of an install that was cut off
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
