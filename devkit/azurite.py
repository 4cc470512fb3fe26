"""Azurite, Microsoft's own stand-in for Azure Storage, from its npm package: for the tests of `az://` stores.

It is installed into `.dev` the first time it is needed, Node and npm before it if they are missing.
"""

from __future__ import annotations

from devkit import installs
from devkit.state import DEV

VERSION = "3.33.0"


def program() -> list[str]:
    """The command that starts its blob service. Raises InstallError, or MissingError where there is no Node."""
    folder = installs.npm(DEV / f"azurite-{VERSION}", "install", "--no-save", f"azurite@{VERSION}")
    return ["node", str(folder / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js")]
