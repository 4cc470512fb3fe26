"""Starting and stopping a stack from a terminal: in the foreground, or detached with a supervisor of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
from rich.console import Console

from devkit import examples, stack
from devkit.logs import OWN, Log, read, render
from devkit.state import ROOT, Home, Options, State
from devkit.supervisor import Supervisor

_STOP_WITHIN_S = 60.0


class StillStartingError(Exception):
    """The stack has no supervisor yet that could be told to stop."""


def in_foreground(options: Options, home: Home, out: Console) -> int:
    """Runs the stack in this process, which holds its lock: progress, then addresses, then logs. The exit code."""
    ready = False

    def echo(service: str, text: str) -> None:
        if service == OWN:
            out.print(text, markup=False)
        elif ready:
            out.print(render(service, text))

    def on_ready(state: State) -> None:
        nonlocal ready
        ready = True
        out.print(f"\n{announcement(home, state)}\n\nCtrl-C stops everything. Logs follow.\n", markup=False)

    return _run(options, home, Log(home.log_file, echo), on_ready)


def detached(options: Options, home: Home, lock: int, out: Console) -> int:
    """Gives the lock to a supervisor in a session of its own and returns once the stack is ready. The exit code."""
    home.log_file.write_text("")
    said = home.folder / "supervisor.err"
    with said.open("w") as errors:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "devkit", "supervise", msgspec.json.encode(options).decode()],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            pass_fds=[lock],
            start_new_session=True,
        )
    os.close(lock)
    state: State | None = None

    def still_starting() -> bool:
        nonlocal state
        state = home.read()
        return supervisor.poll() is None and (state is None or state.phase == "starting")

    try:
        for _, text in read(home.log_file, OWN, follow=still_starting):
            out.print(text, markup=False)
    except KeyboardInterrupt:
        supervisor.terminate()
        supervisor.wait()
        return 130
    if state is None or state.phase != "ready":
        supervisor.wait()
        out.print(said.read_text(), end="", markup=False)
        return 1
    out.print(f"\n{announcement(home, state)}\n", markup=False)
    return 0


def supervise(options: Options) -> int:
    """What `detached` starts; the lock is a file descriptor that it inherited and never looks at."""
    home = Home(options.name)
    return _run(options, home, Log(home.log_file))


def stop(home: Home) -> None:
    """Returns when nothing of the stack runs: SIGTERM to its supervisor, and SIGKILL if that takes over a minute."""
    number: int = signal.SIGTERM
    told: int | None = None
    until = time.monotonic() + _STOP_WITHIN_S
    while home.is_running():
        state = home.read()
        if state is not None and told != number:
            with contextlib.suppress(ProcessLookupError):
                os.kill(state.supervisor, number)
            told = number
        if time.monotonic() > until:
            if told is None:
                raise StillStartingError(f"{home.name} is being set up by another ./dev; stop that one with Ctrl-C")
            number = signal.SIGKILL
        time.sleep(0.05)


def announcement(home: Home, state: State) -> str:
    """Where the stack is, and a request to paste: a row of the reference model's example, if the store has it."""
    bearer = f'-H "Authorization: Bearer $({home.command("token")})"'
    address = urlsplit(state.store or "")
    folder = Path(unquote(address.path)) if address.scheme == "file" else None
    row = examples.first_row(folder, examples.REFERENCE) if folder else None
    if row is None:
        request = f"curl -sS {state.gateway_url}/v1/models \\\n  {bearer}"
    else:
        body = json.dumps({"rows": [row]}, ensure_ascii=False)
        request = (
            f"curl -sS {state.gateway_url}/v1/models/{examples.REFERENCE}/score \\\n  {bearer} \\\n"
            f"  -H 'Content-Type: application/json' \\\n  -d {shlex.quote(body)}"
        )
    return f"The gateway is at {state.gateway_url}, its documentation at {state.gateway_url}/docs. Try:\n\n{request}"


def _run(options: Options, home: Home, log: Log, on_ready: stack.OnReady | None = None) -> int:
    async def run() -> int:
        return await Supervisor(home, log, partial(stack.bring_up, options, home), on_ready).run()

    try:
        return asyncio.run(run())
    finally:
        log.close()
