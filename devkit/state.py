"""Where a stack keeps what it knows about itself: the folder `.dev/<name>/`, its lock and its state file.

The lock says whether a stack runs: the supervisor holds it for as long as it lives, and the kernel lets go of it
whatever ended the supervisor. The state file says where things are; it is worth reading only while the lock is held.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shlex
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent
DEV = ROOT / ".dev"
DEFAULT_NAME = "dev"
_NO_NAMES = frozenset({"packages", "r-lib", "r-libs"})  # other folders beside the stacks
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
#: Unix socket paths end at 108 bytes; the scorer's own names below its run folder need some of them.
_LONGEST_RUN_DIR = 60


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What `./dev up` was asked for. `store` is a URL, `rate` is N/second, minute, hour or day."""

    name: str = DEFAULT_NAME
    port: int = 8080
    gateway_workers: int = 1
    scorers: int = 1
    scorer_workers: int | None = None
    store: str | None = None
    rate: str | None = None


class State(msgspec.Struct, kw_only=True):
    """A running stack, as its supervisor wrote it. `sessions`: each service's first process, its session's id."""

    name: str
    phase: str  # "starting", "ready" or "stopping"
    supervisor: int
    sessions: dict[str, int] = {}
    gateway_url: str | None = None
    gateway_internal_urls: list[str] = []
    scorer_url: str | None = None
    scorer_internal_url: str | None = None
    #: Of all scorers, the first among them.
    scorer_urls: list[str] = []
    scorer_internal_urls: list[str] = []
    entra_url: str | None = None
    authority: str | None = None
    ca_file: str | None = None
    redis_url: str | None = None
    store: str | None = None


@dataclass(frozen=True, slots=True)
class Home:
    """One stack's folder. Making a Home touches nothing."""

    name: str
    dev: Path = DEV

    def __post_init__(self) -> None:
        """A name is part of paths and URLs."""
        if not NAME.fullmatch(self.name) or self.name in _NO_NAMES:
            raise ValueError(f"{self.name!r} is not a name for a stack: small letters, digits and dashes, at most 32")

    @property
    def folder(self) -> Path:
        """`.dev/<name>`, 0700 once made."""
        return self.dev / self.name

    def command(self, *words: str) -> str:
        """A command line for this stack that can be pasted into a shell in any folder."""
        named = () if self.name == DEFAULT_NAME else ("--name", self.name)
        return shlex.join([str(ROOT / "dev"), *words, *named])

    @property
    def log_file(self) -> Path:
        """Every line of every service, each behind its service's name and a tab."""
        return self.folder / "log"

    @property
    def state_file(self) -> Path:
        """JSON of `State`."""
        return self.folder / "state.json"

    @property
    def entra(self) -> Path:
        """The stand-in's folder: its keys, the apps' secrets, its certificate authority."""
        return self.folder / "entra"

    @property
    def run_dir(self) -> Path:
        """For sockets: under the folder, or under the temporary folder if that would be too long a path."""
        inside = self.folder / "run"
        if len(os.fsencode(inside)) <= _LONGEST_RUN_DIR:
            return inside
        short = hashlib.sha256(os.fsencode(inside)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"scoregate-{os.getuid()}-{short}"

    def make(self) -> None:
        """The folder and the one for sockets, for nobody else to read. Raises PermissionError if they are not ours."""
        self.dev.mkdir(exist_ok=True)
        for folder in (self.folder, self.run_dir):
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.stat().st_uid != os.getuid():
                raise PermissionError(f"{folder} belongs to another user")
            folder.chmod(0o700)

    def remove(self) -> None:
        """Deletes all that the stack keeps; nothing if there is none. It must not run."""
        for folder in (self.folder, self.run_dir):
            if folder.exists():
                shutil.rmtree(folder)

    def lock(self, within_s: float = 0.5) -> int | None:
        """An inheritable file descriptor that holds the lock, or None if the stack runs.

        It tries for `within_s` seconds, because a look by `is_running` holds the lock for a moment.
        """
        self.make()
        fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until = time.monotonic() + within_s
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < until:
                    time.sleep(0.02)
                    continue
                os.close(fd)
                return None
            return fd

    def is_running(self) -> bool:
        """Whether a supervisor holds the lock."""
        try:
            fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(fd)

    def read(self) -> State | None:
        """The state of a running stack; None if it does not run or has not written one yet."""
        if not self.is_running():
            return None
        try:
            return msgspec.json.decode(self.state_file.read_bytes(), type=State)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def write(self, state: State) -> None:
        """Replaces the state file whole, so that a reader never sees half of one."""
        new = self.state_file.with_suffix(".new")
        new.write_bytes(msgspec.json.format(msgspec.json.encode(state)) + b"\n")
        new.replace(self.state_file)


def running(dev: Path = DEV) -> list[Home]:
    """Every stack that runs from this checkout, by name."""
    names = [lock.parent.name for lock in sorted(dev.glob("*/lock"))]
    homes = [Home(name, dev) for name in names if NAME.fullmatch(name) and name not in _NO_NAMES]
    return [home for home in homes if home.is_running()]
