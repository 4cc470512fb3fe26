"""Folders of `.dev` that a program fills once: npm's packages, R's library.

Such a folder is there whole or not at all, whatever is cut off and however many want it at once. The programs' install scripts
are not run where they can be left out.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from devkit.system import install_packages


class InstallError(Exception):
    """A program could not install what it was to; the message ends with what the program said."""


@contextmanager
def alone(lock_file: Path) -> Iterator[None]:
    """One process at a time, of those that name this file; others wait."""
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A folder to fill. Only when the block ends without an error does it take the name `folder`; otherwise it is gone."""
    building = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    try:
        yield building
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def run(argv: Sequence[str], folder: Path, environ: Mapping[str, str] | None = None) -> None:
    """Runs it in the folder, silently. Raises InstallError with all that it said where it failed."""
    done = subprocess.run(
        argv,
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InstallError(f"{' '.join(argv)} failed:\n{done.stdout.strip()}")


def npm(folder: Path, *argv: str, prepare: Callable[[Path], None] = lambda _: None) -> Path:
    """`folder`, with the node_modules that `npm ARGV` makes in what `prepare` has left there. Made once.

    Node is fetched if missing. Raises InstallError, or MissingError where there is no Node and none can be had.
    """
    if shutil.which("node") is None or (not folder.exists() and shutil.which("npm") is None):
        install_packages("nodejs", "npm")
    if not folder.exists():
        with alone(folder.parent / "npm.lock"):
            if not folder.exists():
                with whole(folder) as building:
                    prepare(building)
                    run(["npm", *argv, "--ignore-scripts", "--no-audit", "--no-fund"], building)
    return folder
