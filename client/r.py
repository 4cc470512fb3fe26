"""R on this machine, for packaging and verifying: the program, its environment, the library that has the R package.

The environment is the scorer's (reference BLAS, one thread, UTC, UTF-8), so that R here and R there can agree to the
last bit. In a checkout ./dev's library is used, and brought up to date first; elsewhere whatever R itself finds.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

import msgspec

from client.connection import CHECKOUT, UsageError
from client.errors import ClientError
from shared.r_environment import same_answers

_ASK_DEVKIT = """
import json, sys
from devkit import r
r.install_library()
json.dump(r.environment(), sys.stdout)
"""
#: The status of our scripts for arguments that cannot be used.
_USAGE = 2


class RError(ClientError):
    """R is missing, or what it was asked to do failed: R's own last lines."""


@functools.cache
def environment() -> Mapping[str, str]:
    """Variables to run R with, on top of this process' own. In a checkout this installs the R package if it has
    changed.
    """
    if (CHECKOUT / "devkit" / "r.py").exists() and (CHECKOUT / "scorer" / "r").is_dir():
        asked = subprocess.run(
            [sys.executable, "-c", _ASK_DEVKIT], cwd=CHECKOUT, capture_output=True, text=True, check=False
        )
        if asked.returncode:
            raise RError(f"the R package could not be installed: {_last_lines(asked.stderr)}")
        return msgspec.json.decode(asked.stdout, type=dict[str, str])
    return same_answers()


def rscript() -> str:
    """The program; raises RError that says how to get it."""
    found = shutil.which("Rscript")
    if found is None:
        raise RError(
            "Rscript is not on the PATH; install R (apt-get install r-base-core, or https://cran.r-project.org)"
        )
    return found


def run(arguments: Sequence[str], *, show: bool = False) -> str:
    """Runs Rscript and gives its stdout; with `show`, its stderr is passed on line by line as it comes.

    Raises RError with R's reason, UsageError where our scripts say that their arguments cannot be used. An interrupt ends
    R too.
    """
    with subprocess.Popen(
        [rscript(), *arguments],
        env=os.environ | environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        said: list[str] = []
        printed: list[str] = []
        reader = threading.Thread(target=lambda: printed.append(process.stdout.read() if process.stdout else ""))
        reader.start()
        try:
            for line in process.stderr or ():
                said.append(line)
                if show and not _is_reason(line):
                    sys.stderr.write(line)
            process.wait()
        except BaseException:
            process.terminate()
            raise
        finally:
            reader.join()
    if process.returncode:
        usage = process.returncode == _USAGE and any(line.startswith("Usage: ") for line in said)
        raise (UsageError if usage else RError)(_reason("".join(said) or "".join(printed)))
    return "".join(printed)


def script(name: str) -> str:
    """Path of a script of the installed R package; raises RError where the package is not installed."""
    found = run(["-e", 'cat(system.file("scripts", commandArgs(TRUE)[1], package = "scoregate"))', name]).strip()
    if not found:
        raise RError(f"R has no package scoregate with {name}; R CMD INSTALL scorer/r, and set R_LIBS to its library")
    return found


def _is_reason(line: str) -> bool:
    return line.startswith(("Error: ", "Usage: "))


def _reason(text: str) -> str:
    """The line that says why, which our scripts begin with Error; else R's last lines."""
    lines = [line.strip() for line in text.strip().splitlines()]
    for index, line in enumerate(lines):
        if _is_reason(line):
            return " ".join([line.partition(": ")[2], *lines[index + 1 :]])
    return f"R stopped: {_last_lines(text)}"


def _last_lines(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip() and not line.startswith("Calls:")]
    lines = [line for line in lines if line != "Execution halted"]
    return " ".join(lines[-4:]) or "it gave no reason"
