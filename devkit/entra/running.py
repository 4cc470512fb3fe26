"""A stand-in in a process of its own, for as long as a test needs it."""

from __future__ import annotations

import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devkit.entra.admin import EntraAdmin

ROOT = Path(__file__).resolve().parent.parent.parent
START_WITHIN_S = 30.0


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[EntraAdmin]:
    """Starts `python -m devkit.entra` on a folder, waits until it listens, and stops it in the end.

    Raises RuntimeError if it does not listen in time; what it says on standard error is not caught.
    """
    argv = [sys.executable, "-m", "devkit.entra", "--state", str(folder), *arguments]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            ready = process.stdout and select.select([process.stdout], [], [], START_WITHIN_S)[0]
            if not ready or b'"listening"' not in ready[0].readline():
                raise RuntimeError("the stand-in for Entra ID did not start")
            with EntraAdmin(folder) as admin:
                yield admin
        finally:
            process.kill()
            process.wait()
