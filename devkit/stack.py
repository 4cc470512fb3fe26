"""What a stack is made of and in which order it comes up: Entra stand-in, Redis, example models, scorer, gateway.

Each service gets its address from the operating system (port 0) and says it in a line on standard output; only the
gateway's public port is chosen. Nothing here watches or stops anything: that is `supervisor`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from devkit import examples, internal_key, policy, r, settings_check
from devkit.entra.directory import API_CLIENT_ID, APP_ID_URI, TENANT
from devkit.processes import Processes
from devkit.state import ROOT, Home, Options, State
from devkit.status import reasons
from devkit.supervisor import StackError

_READY_WITHIN_S = 120.0

Say = Callable[[str], None]
OnReady = Callable[[State], None]


async def bring_up(options: Options, home: Home, processes: Processes, state: State, say: Say) -> None:
    """Starts everything and returns once it is ready, having written to `state` where things are.

    Raises ProcessEndedError if a process ends; StackError after two minutes without readiness, and at once for settings of the
    services that cannot be used.
    """
    if mistakes := settings_check.mistakes(os.environ):
        raise StackError("settings: " + "; ".join(mistakes))
    private, public = home.folder / "internal.key.pem", home.folder / "internal.pub.pem"
    internal_key.ensure(private, public)
    state.store = options.store or (home.folder / "store").as_uri()
    async with asyncio.TaskGroup() as first:
        first.create_task(_entra(home, processes, state, say))
        first.create_task(_redis(home, processes, state, say))
        first.create_task(examples.publish(state.store, processes, say, only_if_empty=options.store is not None))
    # The gateway last: the first catalogue that it sees then has every model.
    async with asyncio.TaskGroup() as pods:
        scorers = [
            pods.create_task(_scorer(options, home, processes, state, public, number, say))
            for number in range(1, options.scorers + 1)
        ]
    listening = [scorer.result() for scorer in scorers]
    state.scorer_urls = [line["url"] for line in listening]
    state.scorer_internal_urls = [line["internal_url"] for line in listening]
    state.scorer_url, state.scorer_internal_url = state.scorer_urls[0], state.scorer_internal_urls[0]
    await _gateway(options, home, processes, state, private, say)


async def _entra(home: Home, processes: Processes, state: State, say: Say) -> None:
    env = os.environ | {"ENTRA_FOLDER": str(home.entra)}
    process = processes.start("entra", [sys.executable, "-m", "devkit.entra"], env, ROOT)
    (line,) = await process.listening()
    state.entra_url, state.authority, state.ca_file = line["url"], line["authority"], line["ca_file"]
    say(f"identity  {state.authority}  (stand-in for Entra ID)")


async def _redis(home: Home, processes: Processes, state: State, say: Say) -> None:
    if given := os.environ.get("GATEWAY_REDIS_URL"):
        state.redis_url = given
        say(f"redis     {given.rpartition('@')[2]}  (GATEWAY_REDIS_URL)")
        return
    program = shutil.which("redis-server")
    if program is None:
        say("redis     not installed: the gateway counts in memory, each of its processes for itself")
        return
    socket = home.run_dir / "redis.sock"
    socket.unlink(missing_ok=True)
    argv = [program, "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"]
    argv += ["--save", "", "--appendonly", "no", "--dir", str(home.run_dir), "--daemonize", "no"]
    process = processes.start("redis", argv, os.environ, ROOT)
    await process.unless_ended(_accepts(socket))
    state.redis_url = f"unix://{socket}"
    say(f"redis     {state.redis_url}")


async def _scorer(
    options: Options, home: Home, processes: Processes, state: State, public: Path, number: int, say: Say
) -> dict[str, str]:
    """Starts one of them, numbered from 1; the line in which it said where it listens."""
    name = scorer_name(number)
    env = os.environ | r.environment()
    env |= {
        "SCORER_PORT": "0",
        "SCORER_INTERNAL_PORT": "0",
        "SCORER_STORE_URL": str(state.store),
        "SCORER_GATEWAY_KEYS_FILE": str(public),
        "SCORER_CACHE_DIR": str(home.folder / ("cache" if number == 1 else f"cache-{number}")),
        "SCORER_RUN_DIR": str(home.run_dir),
        "SCORER_R_LIBS": str(r.LIBRARY.resolve()),
        "SCORER_POLL_S": os.environ.get("SCORER_POLL_S", "2"),
    }
    if options.scorers > 1:
        env["SCORER_POD_NAME"] = name
    if options.scorer_workers is not None:
        env["SCORER_WORKERS"] = str(options.scorer_workers)
    process = processes.start(name, [sys.executable, "-m", "scorer"], env, ROOT)
    (line,) = await process.listening()
    await process.unless_ended(_ready(name, [line["internal_url"]], say))
    say(f"{name:<9} {line['url']}  (internal port {line['internal_url']})")
    return line


def scorer_name(number: int) -> str:
    """What the scorer of this number, from 1, is called among the processes and in the log."""
    return "scorer" if number == 1 else f"scorer-{number}"


async def _gateway(options: Options, home: Home, processes: Processes, state: State, private: Path, say: Say) -> None:
    env = os.environ | {
        "GATEWAY_PORT": str(options.port),
        "GATEWAY_INTERNAL_PORT": "0",
        "GATEWAY_WORKERS": str(options.gateway_workers),
        "GATEWAY_SCORER_URLS": ",".join(state.scorer_urls),
        "GATEWAY_INTERNAL_KEY_FILE": str(private),
        "GATEWAY_POLICY_FILE": os.environ.get("GATEWAY_POLICY_FILE")
        or str(policy.for_stack(home.folder, options.rate)),
        "GATEWAY_TENANTS": TENANT,
        "GATEWAY_AUDIENCES": f"{APP_ID_URI},{API_CLIENT_ID}",
        "GATEWAY_AUTHORITY": str(state.authority),
        "GATEWAY_CA_FILE": str(state.ca_file),
        "GATEWAY_REDIS_URL": state.redis_url or "",
        "GATEWAY_DRAIN_S": os.environ.get("GATEWAY_DRAIN_S", "5"),
    }
    process = processes.start("gateway", [sys.executable, "-m", "gateway"], env, ROOT)
    lines = await process.listening(options.gateway_workers)
    state.gateway_url = lines[0]["url"]
    state.gateway_internal_urls = [line["internal_url"] for line in lines]
    await process.unless_ended(_ready("gateway", state.gateway_internal_urls, say))
    say(f"gateway   {state.gateway_url}" + (f"  ({len(lines)} processes)" if len(lines) > 1 else ""))


async def _accepts(socket: Path) -> None:
    """Waits until something listens on a unix socket."""
    while True:
        try:
            _, writer = await asyncio.open_unix_connection(str(socket))
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return


async def _ready(name: str, internal_urls: list[str], say: Say) -> None:
    """Waits until `/readyz` is 200 on every one, saying every few seconds what it waits for, the same thing more rarely."""
    began = said = time.monotonic()
    last = ""
    async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
        for url in internal_urls:
            while True:
                try:
                    answer = await http.get(f"{url}/readyz")
                    if answer.status_code == httpx.codes.OK:
                        break
                    reason = reasons(answer)
                except httpx.HTTPError as error:
                    reason = str(error) or type(error).__name__
                now = time.monotonic()
                if now - began > _READY_WITHIN_S:
                    raise StackError(f"{name} was not ready within {_READY_WITHIN_S:.0f} s: {reason}")
                if now - said > (3 if reason != last else 30):
                    said, last = now, reason
                    say(f"{name:<9} not ready yet: {reason}")
                await asyncio.sleep(0.05)
