"""What commands that run R need, installed where it is missing."""

from __future__ import annotations

import time

from devkit.commands.terminal import err, fail


def set_up(*, for_tests: bool = False) -> None:
    """Install what every command that runs R needs: programs, R packages and our own; a second time it takes milliseconds.

    Says on standard error what it installed. Ends the command where something cannot be had.
    """
    from devkit import r, system
    from devkit.installs import InstallError

    try:
        for note in system.install_missing(for_tests=for_tests):
            err.print(note, markup=False)
        began = time.monotonic()
        if r.install_library():
            err.print(
                f"installed the R package scoregate in .dev/r-lib ({time.monotonic() - began:.1f} s)", markup=False
            )
    except (system.MissingError, InstallError) as error:
        fail(str(error))
