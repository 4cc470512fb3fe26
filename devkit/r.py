"""R on this machine: the environment every R of ours runs in, and the package `scorer/r` installed where it finds it."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from pathlib import Path

from devkit import installs
from devkit.state import DEV, ROOT
from shared.r_environment import same_answers

SOURCE = ROOT / "scorer" / "r"
_PUBLISH = "a <- commandArgs(TRUE); invisible(scoregate::publish_model(a[[1L]], a[[2L]]))"
#: Where R finds it: a link to the folder of the content that was installed last.
LIBRARY = DEV / "r-lib"
#: A stack that runs may still need an old one.
_KEPT_S = 7 * 86_400


def environment() -> dict[str, str]:
    """Variables to run R with; on top of the caller's own environment."""
    return {
        "R_LIBS": str(LIBRARY),
        **same_answers(),
        # `scoregate` (publishing to a store that is not a folder) and the Python it belongs to
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '/usr/bin:/bin')}",
    }


def publishing(package: Path, store_url: str) -> list[str]:
    """What to give Rscript, after options of its own, to publish a model package."""
    return ["-e", _PUBLISH, str(package), store_url]


def digest(*folders: Path) -> str:
    """SHA-256 over the names and contents of all files below the folders, without what R leaves behind when it runs."""
    total = hashlib.sha256()
    for folder in folders:
        for path in sorted(
            p for p in folder.rglob("*") if p.is_file() and p.suffix not in {".o", ".so", ".Rout", ".rds"}
        ):
            content = path.read_bytes()
            total.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode())
            total.update(content)
    return total.hexdigest()


def install_library() -> bool:
    """Installs `scorer/r` unless this very content is installed already; says whether it did. Raises InstallError.

    Each content has a folder of its own and `.dev/r-lib` is a link to it, since R reads an installed package lazily: a
    stack that runs keeps the one it started with.
    """
    home = LIBRARY.with_name("r-libs")
    wanted = home / digest(SOURCE)[:16]
    if wanted.exists() and LIBRARY.exists() and LIBRARY.resolve() == wanted:
        return False
    with installs.alone(home / "lock"):
        if not wanted.exists():
            _install_into(wanted)
        link = LIBRARY.with_name("r-lib.new")
        link.unlink(missing_ok=True)
        link.symlink_to(wanted.relative_to(LIBRARY.parent))
        if LIBRARY.is_dir() and not LIBRARY.is_symlink():
            shutil.rmtree(LIBRARY)
        link.replace(LIBRARY)
        os.utime(wanted)
        for folder in home.iterdir():
            if folder.is_dir() and time.time() - folder.stat().st_mtime > _KEPT_S:
                shutil.rmtree(folder, ignore_errors=True)
    return True


def _install_into(wanted: Path) -> None:
    with installs.whole(wanted) as building:
        installs.run(
            ["R", "CMD", "INSTALL", "--no-docs", "--no-test-load", "-l", str(building), str(SOURCE)],
            building,
            os.environ | environment() | {"R_LIBS": str(building)},
        )
