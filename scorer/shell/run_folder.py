"""The folder of one run: sockets, workers' files, the cache unless it has a place of its own. Removed when the run ends.

A supervisor that was killed cannot remove it. Zygotes' guards remove what is theirs at once (`processes.Guard`); the rest goes
when the next scorer starts beside it: a folder that no living process has locked, and that is not just being made.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

_PREFIX = "sg-"
_BEING_MADE_S = 60.0


class RunFolder:
    """A new private folder (mode 0700) in `root`, locked for as long as this process lives."""

    def __init__(self, root: str) -> None:
        """`root` is made if need be; empty: /tmp, which keeps socket paths short. Raises OSError if it cannot be used."""
        parent = Path(root or "/tmp").absolute()  # noqa: S108 - private by mkdtemp
        if root:
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_abandoned(parent)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Remove it with all there is in it. Repeats change nothing."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            status = folder.lstat()
            if status.st_uid != os.getuid() or time.time() - status.st_mtime < _BEING_MADE_S:
                continue
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass  # a living scorer's
        finally:
            os.close(fd)
