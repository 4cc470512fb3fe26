"""`python -m devkit.reload [--first COMMAND] FOLDER… -- COMMAND…`: runs a service, and starts it again when its source changes.

For compose.yaml's `dev` profile, where the source is mounted: standard library only. A look at modification times twice a
second sees changes on every kind of mount, where inotify does not. `--first` is a shell command that runs before each start;
if it fails, the next change is waited for. A service that ends by itself is started again two seconds later.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

_EVERY_S = 0.5
_STOP_S = 10.0
_AGAIN_S = 2.0
_SOURCES = frozenset({".py", ".R", ".lua", ".html", ".css", ".js", ".yaml"})


def stamps(folders: Sequence[Path]) -> dict[Path, int]:
    """When each source file was changed last, in ns."""
    found = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.suffix in _SOURCES:
                try:
                    found[path] = path.stat().st_mtime_ns
                except OSError:
                    continue  # gone since
    return found


class Reloader:
    """Owns the service's process. `run` until `stop`."""

    def __init__(self, command: Sequence[str], folders: Sequence[Path], first: str | None) -> None:
        self._command = command
        self._folders = folders
        self._first = first
        self._stop = threading.Event()

    def stop(self, *_: object) -> None:
        """End the service, then `run`; a signal handler."""
        self._stop.set()

    def run(self) -> int:
        """The exit code."""
        while not self._stop.is_set():
            seen = stamps(self._folders)
            process = self._start()
            while not self._stop.wait(_EVERY_S):
                if stamps(self._folders) != seen:
                    print("reload: source changed", file=sys.stderr)
                    break
                if process is not None and process.poll() is not None:
                    self._stop.wait(_AGAIN_S)
                    break
            if process is not None:
                _end(process)
        return 0

    def _start(self) -> subprocess.Popen[bytes] | None:
        if self._first is not None and subprocess.run(["/bin/sh", "-c", self._first], check=False).returncode:
            print("reload: the first command failed; waiting for a change", file=sys.stderr)
            return None
        return subprocess.Popen(self._command)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> int:
    """Until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m devkit.reload", description=__doc__)
    parser.add_argument("--first", help="shell command before each start")
    parser.add_argument("folders", nargs="+", type=Path, help="watched, with all below")
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options, command = parser.parse_args(sys.argv[1:at]), sys.argv[at + 1 :]
    if not command:
        parser.error("after --, the command to run")
    reloader = Reloader(command, options.folders, options.first)
    signal.signal(signal.SIGTERM, reloader.stop)
    signal.signal(signal.SIGINT, reloader.stop)
    return reloader.run()


if __name__ == "__main__":
    sys.exit(main())
