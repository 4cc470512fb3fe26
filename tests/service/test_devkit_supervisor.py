"""A supervisor with real processes that only pretend to be services: start, readiness, every way to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devkit import launch, logs
from devkit.state import Home
from devkit.status import family
from tests.support import eventually

# Two services, whose code the test gives. The first has a child of its own, as a gateway with several processes has.
_STACK = """
import asyncio, os, sys
from pathlib import Path
from devkit.logs import Log
from devkit.state import Home
from devkit.supervisor import Supervisor

LISTEN = "import json; print(json.dumps(dict(event='listening', url='http://x')), flush=True);"
FOREVER = "import signal; signal.pause()"
CHILD = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']);"

async def bring_up(processes, state, say):
    first = processes.start("first", [sys.executable, "-uc", {first}], os.environ, Path.cwd())
    await first.listening()
    second = processes.start("second", [sys.executable, "-uc", {second}], os.environ, Path.cwd())
    await second.listening()
    say("both listen")

home = Home("test", Path(sys.argv[1]))
home.lock()

async def main():
    return await Supervisor(home, Log(home.log_file), bring_up).run()

sys.exit(asyncio.run(main()))
"""


class Running:
    """A supervisor process and what it says of itself."""

    def __init__(self, dev: Path, first: str, second: str) -> None:
        self.home = Home("test", dev)
        code = _STACK.format(first=first, second=second)
        self.process = subprocess.Popen([sys.executable, "-c", code, str(dev)], start_new_session=True)

    def members(self) -> set[int]:
        """Every living process that it has started, children of children too."""
        state = self.home.read()
        assert state is not None
        assert state.phase == "ready"
        return {pid for first in state.sessions.values() for pid in family(first)}

    def said(self) -> list[str]:
        return [text for _, text in logs.read(self.home.log_file, logs.OWN)]


def _none_alive(pids: set[int]) -> bool:
    return not any(pid in family(pid) for pid in pids)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[object]:
    started: list[Running] = []

    def start(first: str = "LISTEN + CHILD + FOREVER", second: str = "LISTEN + FOREVER") -> Running:
        started.append(Running(tmp_path, first, second))
        return started[-1]

    yield start
    for running in started:
        running.process.kill()
        running.process.wait()
        running.home.remove()


def _up(running: Running) -> set[int]:
    return eventually(lambda: len(running.members()) == 3 and running.members(), what="three processes")  # type: ignore[return-value]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_services_last_one_first(start, number: int) -> None:
    says = (
        "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: (print('bye', flush=True), sys.exit())); LISTEN "
    )
    says = f"{says!r}.replace('LISTEN', LISTEN) + CHILD + FOREVER"
    running = start(first=says, second=says.replace("CHILD", "''"))
    pids = _up(running)
    running.process.send_signal(number)
    assert running.process.wait(20) == 0
    assert _none_alive(pids)
    assert [who for who, text in logs.read(running.home.log_file) if text == "bye"] == ["second", "first"]
    assert running.said()[-2:] == ["stopping", "stopped"]


def test_a_second_signal_kills_what_does_not_stop(start) -> None:
    deaf = "'import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);' + LISTEN + '\\nwhile True: signal.pause()'"
    running = start(second=deaf)
    pids = _up(running)
    running.process.send_signal(signal.SIGINT)
    eventually(lambda: "stopping" in running.said(), what="the first signal is taken")
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(8) == 0, "sooner than the grace of 10 s"
    assert _none_alive(pids)


def test_nothing_outlives_a_supervisor_that_is_killed(start) -> None:
    running = start()
    pids = _up(running)
    running.process.kill()
    running.process.wait()
    eventually(lambda: _none_alive(pids), what="all are gone")
    assert not running.home.is_running()


def test_a_service_that_dies_at_start_is_shown_with_its_last_words_and_everything_is_stopped(start) -> None:
    running = start(second="'import sys; print(5 * 5, flush=True); sys.exit(\"no such port\")'")
    assert running.process.wait(20) == 1
    said = running.said()
    assert "  second | 25" in said
    assert "  second | no such port" in said
    assert any(line.startswith("second ended with code 1. All it said: ") for line in said)
    assert not running.home.is_running()


def test_a_service_that_dies_later_is_reported_and_the_others_go_on(start) -> None:
    running = start()
    pids = _up(running)
    state = running.home.read()
    os.kill(state.sessions["second"], signal.SIGKILL)
    eventually(lambda: any("second was ended by signal 9; the others go on" in text for text in running.said()))
    assert running.members() == pids - {state.sessions["second"]}
    assert running.process.poll() is None


def test_down_stops_a_stack_and_waits_until_it_is_gone(start) -> None:
    running = start()
    pids = _up(running)
    launch.stop(running.home)
    assert not running.home.is_running()
    assert running.process.wait(10) == 0
    assert _none_alive(pids)


def test_a_stop_during_the_start_ends_it(start) -> None:
    running = start(second="FOREVER")
    eventually(lambda: running.home.read() and any(who == "first" for who, _ in logs.read(running.home.log_file)))
    launch.stop(running.home)
    assert running.process.wait(10) == 0
