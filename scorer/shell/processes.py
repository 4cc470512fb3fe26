"""Child processes without asyncio's: who our children are, when they die, and that none outlives us.

Facts that force what is here. Workers are forked by zygotes, twice, so they become ours (PR_SET_CHILD_SUBREAPER) and we must
wait for them. A pidfd becomes readable when its process dies: nothing polls and no signal handler is needed. Killed with
SIGKILL we can do nothing more ourselves: a guard in a session of its own holds the read end of a pipe and kills the zygote's
process group when the pipe closes, and then what had left the group (setsid in model code), known by the HOME that only this
zygote's processes have.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 4, 36
_CRASH_SIGNALS = sum(1 << (number - 1) for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL))
_PAGE = os.sysconf("SC_PAGE_SIZE")
#: Niceness: a weight of 110 where others have 1024 (sched(7)). Not the least, for who is slow for a good reason is to end, too.
YIELDING = 10
_GUARD = """
read done && exit 0
kill -s KILL -- "-$1"
for process in /proc/[0-9]*; do
  if grep -qsxzF "HOME=$2" "$process/environ"; then kill -s KILL "${process#/proc/}"; fi
done
rm -rf -- "$2"
"""


def become_subreaper() -> None:
    """Orphans among our descendants become our children. Linux only; raises OSError."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, "PR_SET_CHILD_SUBREAPER")


def become_unreadable() -> None:
    """Nobody but root reads our environment or memory any more, or traces us: R workers run model code as our own user.

    A program that we start is readable again (prctl(2)), so its environment must hold nothing of ours. Linux only; raises OSError.
    """
    _prctl(_PR_SET_DUMPABLE, 0, "PR_SET_DUMPABLE")


def _prctl(option: int, value: int, name: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({name})")


@dataclass(frozen=True, slots=True)
class Death:
    """How a process ended: its exit status, or the signal that killed it; neither if it could not be known."""

    status: int | None = None
    signal: int | None = None

    def __str__(self) -> str:
        if self.signal is not None:
            with contextlib.suppress(ValueError):
                return signal.Signals(self.signal).name
            return f"signal {self.signal}"
        return "unknown" if self.status is None else f"exit {self.status}"


class Watched:
    """A process of ours by its pid, until it dies. `on_death` is called once, in the event loop, after it was reaped."""

    def __init__(self, pid: int, on_death: Callable[[Death], None]) -> None:
        """Raises ProcessLookupError if it is gone already and somebody else waited for it."""
        self.pid = pid
        self._fd = os.pidfd_open(pid)
        self._on_death: Callable[[Death], None] | None = on_death
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._died)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; nothing happens if it is dead. Never another process: a pidfd is not reused."""
        if self._fd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._fd, number)

    @property
    def alive(self) -> bool:
        """Until its death was seen."""
        return self._fd >= 0

    def _died(self) -> None:
        death = Death()
        try:
            result = os.waitid(os.P_PIDFD, self._fd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            pass  # not ours (yet): its parent died in this very moment; the sweep reaps it
        else:
            if result is None:
                return
            killed = result.si_code in {os.CLD_KILLED, os.CLD_DUMPED}
            death = Death(signal=result.si_status) if killed else Death(status=result.si_status)
        self.forget()
        if self._on_death is not None:
            on_death, self._on_death = self._on_death, None
            on_death(death)

    def forget(self) -> None:
        """Watch no more."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


class Guard:
    """Kills a process group and removes its folder when we die, however we die. `release` when the group is gone."""

    def __init__(self, group: int, folder: Path) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", str(group), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath)},  # model code can read it
        )

    @property
    def pid(self) -> int:
        """The guard's own process."""
        return self._process.pid

    def release(self) -> None:
        """Let the guard go without killing. Waits for it: it has only to read one line."""
        pipe = self._process.stdin
        if pipe is not None and not pipe.closed:
            with contextlib.suppress(OSError):
                pipe.write(b"done\n")
                pipe.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=2)


def kill_group(group: int) -> None:
    """SIGKILL to every process of the group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


class Plight(StrEnum):
    """What a process does not get out of by itself."""

    STOPPED = "stopped"  # by a signal (SIGSTOP and the like)
    CRASHING = "crashing"  # inside the handler of a crash: the kernel blocks a signal while its handler runs


def plight_of(pid: int) -> Plight | None:
    """None if it is well, or gone. proc(5): of /proc/PID/stat the 3rd field is the state, the 32nd the blocked signals.

    Whoever blocks all signals is in no handler: the C library does that while it starts a thread, as ranger has it in each call.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    if fields[0] == b"T":
        return Plight.STOPPED
    return Plight.CRASHING if int(fields[29]) & _CRASH_SIGNALS not in (0, _CRASH_SIGNALS) else None


def yield_processor(pid: int) -> None:
    """Give all of a process's threads a tenth of the share that others have of a core they want too.

    What it forks from now on inherits that. Without privileges it cannot be taken back. Where the kernel groups by session
    (`sched_autogroup_enabled`, outside of a cgroup of its own: not in a container) it counts within the version only.
    """
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return
    for thread in threads:
        with contextlib.suppress(OSError):  # it has ended
            os.setpriority(os.PRIO_PROCESS, int(thread.name), YIELDING)


def resident_bytes(pid: int) -> int:
    """Its memory that is not swapped out, what it shares with its zygote included; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as statm:  # noqa: PTH123 - after every run: a Path takes longer
            return int(statm.read(256).split()[1]) * _PAGE
    except OSError:
        return 0


def children() -> set[int]:
    """Our own children, dead ones that nobody waited for included."""
    return children_of("self")


def children_of(pid: int | str) -> set[int]:
    """Children of a process, dead ones that it did not wait for included; none if it is gone."""
    pids: set[int] = set()
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return pids
    for task in tasks:
        with contextlib.suppress(OSError):
            pids |= {int(pid) for pid in (task / "children").read_text().split()}
    return pids


def reap(pid: int) -> bool:
    """Wait for a dead child without blocking; whether it is gone."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) is not None
    except ChildProcessError:
        return True


def kill_children(within_s: float = 1.0) -> None:
    """SIGKILL to whatever is still our child, until nothing is or the time is over: the last thing a supervisor does."""
    until = time.monotonic() + within_s
    while (left := {pid for pid in children() if not reap(pid)}) and time.monotonic() < until:
        for pid in left:
            kill(pid)
        time.sleep(0.005)


def kill(pid: int) -> None:
    """SIGKILL to one process that is our child, so the number cannot be another's."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
