"""What must be on the machine besides Python, and installing it with apt where we may.

A Redis that the system runs is never used, and installing ours never starts one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from devkit.state import DEV

R_PACKAGES = (
    "plumber", "httpuv", "jsonlite", "curl", "sodium",  # what scorer/r imports
    "MASS", "nnet", "rpart", "randomForest", "ranger",  # what the examples are made with
    "testthat", "lintr",
)  # fmt: skip
#: Whose models the tests fit, beside those: one package per model class. No stack needs them.
TEST_R_PACKAGES = (
    "survival", "mgcv", "glmnet", "gbm", "e1071", "kernlab", "earth", "partykit", "caret",
)  # fmt: skip


def _debian(r_packages: tuple[str, ...]) -> list[str]:
    return [f"r-cran-{name.lower()}" for name in r_packages]


#: Debian's packages; the same names on Ubuntu.
APT_PACKAGES = (
    "r-base-core", *_debian(R_PACKAGES), "libblas3", "liblapack3", "redis-server",
)  # fmt: skip

_PROGRAMS = {"nodejs": "node", "prometheus": "promtool", "g++": "cc"}

# Nothing it installs may start a service: that is what policy-rc.d says, and it is gone again afterwards.
_INSTALL = """
set -e
if [ ! -e /usr/sbin/policy-rc.d ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@"
"""


class MissingError(Exception):
    """Something that cannot be done without is missing and could not be installed; `lines` say what to do."""

    def __init__(self, lines: list[str]) -> None:
        """One line for each thing."""
        self.lines = lines
        super().__init__("\n".join(lines))


@dataclass(frozen=True, slots=True)
class Lack:
    """Something that is not there: `what` for people, `package` for apt, and whether a stack can do without."""

    what: str
    package: str
    needed: bool = True


def install_missing(*, for_tests: bool = False) -> list[str]:
    """Installs what is missing if it can. Returns notes on what a stack can do without; raises MissingError.

    `for_tests` asks for the R packages of every model class too.
    """
    further = TEST_R_PACKAGES if for_tests else ()
    if _dpkg_has_all(*_debian(further)):
        return []
    lacking = _lacking(further)
    if lacking and (root := _as_root()) is not None:
        packages = [lack.package for lack in lacking]
        print(f"installing with apt (some minutes): {' '.join(packages)}", file=sys.stderr, flush=True)
        _install([*root, "/bin/sh", "-c", _INSTALL, "sh", *packages])
        lacking = _lacking(further)
    if missing := [lack for lack in lacking if lack.needed]:
        lines = [f"{lack.what} is missing: sudo apt-get install {lack.package}" for lack in missing]
        if len(missing) > 1:
            lines.append(f"all of it: sudo apt-get install {' '.join(lack.package for lack in missing)}")
        raise MissingError(lines)
    return [f"{lack.what} is missing (sudo apt-get install {lack.package})" for lack in lacking]


def install_packages(*packages: str) -> None:
    """Installs those that are missing with apt if it can; what only some need, and no stack. Raises MissingError."""
    packages = tuple(package for package in packages if shutil.which(_PROGRAMS.get(package, package)) is None)
    root = _as_root()
    if packages and root is not None:
        print(f"installing with apt (some minutes): {' '.join(packages)}", file=sys.stderr, flush=True)
        _install([*root, "/bin/sh", "-c", _INSTALL, "sh", *packages])
    missing = [package for package in packages if shutil.which(_PROGRAMS.get(package, package)) is None]
    if missing:
        raise MissingError([f"{package} is missing: sudo apt-get install {package}" for package in missing])


def _install(argv: list[str]) -> None:
    """apt says very much; it is shown only if it fails. (sudo asks for a password on the terminal itself.)"""
    log = DEV / "apt.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as said:
        code = subprocess.run(argv, stdout=said, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        print(f"apt failed; the end of {log}:", *log.read_text().splitlines()[-5:], sep="\n  ", file=sys.stderr)


def _dpkg_has_all(*further: str) -> bool:
    """The quick look, in milliseconds: all from the distribution's packages, as on a machine that this has set up."""
    if shutil.which("dpkg-query") is None:
        return False
    asked = subprocess.run(
        ["dpkg-query", "-W", "-f=${db:Status-Status}\n", *APT_PACKAGES, *further],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.returncode == 0 and set(asked.stdout.split()) == {"installed"}


def _lacking(further: tuple[str, ...]) -> list[Lack]:
    """The true look: a program or R package may well have come another way than by apt."""
    if shutil.which("Rscript") is None:
        packages = [*APT_PACKAGES, *_debian(further)]
        lacking = [Lack("R", package) for package in packages if package.startswith("r-")]
    else:
        missing = _missing_r_packages(*R_PACKAGES, *further)
        lacking = [Lack(f"the R package {name}", f"r-cran-{name.lower()}") for name in missing]
    for library in ("blas", "lapack"):
        if not any(Path("/usr/lib").glob(f"*/{library}/lib{library}.so.3")):
            lacking.append(Lack(f"the reference {library.upper()}", f"lib{library}3", needed=False))
    if shutil.which("redis-server") is None:
        lacking.append(Lack("Redis", "redis-server", needed=False))
    return lacking


def _missing_r_packages(*wanted: str) -> list[str]:
    ask = "for (p in commandArgs(TRUE)) if (!nzchar(system.file(package = p))) cat(p, '\\n')"
    asked = subprocess.run(["Rscript", "-e", ask, *wanted], capture_output=True, text=True, check=False)
    return asked.stdout.split() if asked.returncode == 0 else list(wanted)


def _as_root() -> list[str] | None:
    """What to put before a command that root must run: nothing, sudo, or None where there is neither (or no apt)."""
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    silent = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    return ["sudo"] if silent or sys.stdin.isatty() else None
