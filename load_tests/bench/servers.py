"""What is measured: scoregate as `./dev up` starts it, plain Plumber, HAProxy over plain Plumber, a Starlette that does nothing.

Each is a context that waits until it answers and stops what it started, also on an error or Ctrl-C. All are on the loopback
interface. The same model file, workers and rows serve all of them; R has the same libraries and threads everywhere.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from devkit import policy, r
from devkit.entra.directory import API_CLIENT_ID, APP_ID_URI
from devkit.processes import parse_listening
from devkit.state import DEV, ROOT
from load_tests.bench.line import Line
from shared.signature import Signature
from shared.store_layout import manifest_key

HERE = Path(__file__).parent
KINDS = ("rf", "lm", "ranger")
_UP_WITHIN_S = 60.0


def say(text: str) -> None:
    """Progress, on standard error: the figures alone are on standard output."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Store:
    """A model store with the three models of `models.R`."""

    folder: Path

    def manifest(self, model: str) -> dict[str, Any]:
        """What was packaged."""
        found: dict[str, Any] = json.loads((self.folder / manifest_key(model, "1")).read_text())
        return found

    def signature(self, model: str) -> Signature:
        """Its inputs and outputs."""
        return msgspec.convert(self.manifest(model)["signature"], Signature)

    def file(self, model: str) -> Path:
        """The model itself, as R saved it."""
        return self.folder / "blobs" / "sha256" / str(self.manifest(model)["files"]["model.rds"]["sha256"])


def store() -> Store:
    """Trained and published once for each content of `models.R` and of the R package; kept under .dev/bench."""
    r.install_library()
    made_of = (HERE / "models.R").read_bytes() + r.digest(r.SOURCE).encode()
    folder = DEV / "bench" / f"store-{hashlib.sha256(made_of).hexdigest()[:12]}"
    env = os.environ | r.environment()
    for kind in KINDS:
        if (folder / manifest_key(f"boston-{kind}", "1")).exists():
            continue
        say(f"training boston-{kind}")
        package = folder.with_suffix(f".{kind}")
        shutil.rmtree(package, ignore_errors=True)
        try:
            _rscript(env, str(HERE / "models.R"), kind, str(package))
            _rscript(env, *r.publishing(package, folder.as_uri()))
        finally:
            shutil.rmtree(package, ignore_errors=True)
    return Store(folder)


def _rscript(env: Mapping[str, str], *arguments: str) -> None:
    argv = ["/usr/bin/env", "Rscript", "--vanilla", *arguments]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)  # noqa: S603 - our own scripts
    if done.returncode:
        raise RuntimeError(f"Rscript {arguments[0]}: {done.stdout}{done.stderr}")


# --- scoregate


@dataclass
class Scoregate:
    """A running stack. Addresses stay; processes are asked for each time."""

    name: str
    status: dict[str, Any]
    token: str
    store: Store

    @property
    def url(self) -> str:
        """Where clients call."""
        return str(self.status["gateway_url"])

    @property
    def headers(self) -> dict[str, str]:
        """What a caller sends along."""
        return {"Authorization": f"Bearer {self.token}"}

    def inside(self) -> dict[str, Any]:
        """What the (first) scorer says of itself."""
        with urllib.request.urlopen(f"{self.status['scorer_internal_url']}/status", timeout=10) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
        return found

    def token_of(self, app: str) -> str:
        """A token of another app of the stand-in."""
        return dev("token", "--name", self.name, "--app", app).strip()

    def worker_socket(self, model: str) -> str:
        """The unix socket of one of the model's workers. Raises RuntimeError where it has none."""
        for worker in self.inside()["workers"]:
            if worker["model"] == model and worker["socket"] and worker["state"] != "starting":
                return str(worker["socket"])
        raise RuntimeError(f"no worker of {model}")

    def roles(self) -> dict[str, list[int]]:
        """Processes by what they are for."""
        found = json.loads(dev("status", "--json", "--name", self.name))["processes"]
        return {
            "gateway": found["gateway"], "scorer": found["scorer"], "R workers": found["workers"],
            "redis": found["redis"],
        }  # fmt: skip

    def entra_key(self) -> bytes:
        """The public key of the stand-in that signs the tokens, as PEM."""
        trust = ssl.create_default_context(cafile=self.status["ca_file"])
        header = json.loads(base64.urlsafe_b64decode(self.token.partition(".")[0] + "=="))
        tenant = json.loads(base64.urlsafe_b64decode(self.token.split(".")[1] + "=="))["tid"]
        url = f"{self.status['authority']}/{tenant}/discovery/v2.0/keys"
        with urllib.request.urlopen(url, context=trust, timeout=10) as answer:  # noqa: S310 - our own address
            keys = json.load(answer)["keys"]
        (key,) = [key for key in keys if key["kid"] == header["kid"]]
        e, n = (int.from_bytes(base64.urlsafe_b64decode(key[part] + "=="), "big") for part in "en")
        return (
            RSAPublicNumbers(e, n)
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )


def dev(*arguments: str, **environment: str) -> str:
    """`./dev`, as a user would. Raises RuntimeError with what it said."""
    argv = [sys.executable, "-m", "devkit", *arguments]
    done = subprocess.run(  # noqa: S603 - our own command
        argv, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"./dev {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


@contextmanager
def scoregate(
    models: Store,
    *,
    workers: int = 2,
    options: Sequence[str] = (),
    beside: int = 0,
    coalesce: str = "shared",
    **settings: str,
) -> Iterator[Scoregate]:
    """A stack of our own. Every limit is on (calls, rows, concurrent, quota) and so high that no load here reaches it.

    `beside`: a number that tells stacks of this process that run at the same time apart.
    """
    name = f"bench-{os.getpid()}" + (f"-{beside}" if beside else "")
    rules = DEV / "bench" / f"{name}.policy.yaml"
    document = yaml.safe_load(policy.FILE.read_text(encoding="utf-8"))
    document["defaults"] |= {
        "rate": "100000000/minute", "rows": "900000000/minute", "concurrent": 100_000, "quota": "900000000000 rows/day",
    }  # fmt: skip
    document["models"]["*"]["coalesce"] = coalesce
    rules.write_text(yaml.safe_dump(document), encoding="utf-8")
    given = (
        "--detach",
        "--name",
        name,
        "--port",
        "0",
        "--store",
        models.folder.as_uri(),
        "--scorer-workers",
        str(workers),
    )
    say(f"starting scoregate ({workers} workers)")
    try:
        dev("up", *given, *options, **{"GATEWAY_POLICY_FILE": str(rules)} | settings)
        status = json.loads(dev("status", "--json", "--name", name))
        yield Scoregate(name, status, dev("token", "--name", name).strip(), models)
    finally:
        dev("down", "--name", name, "--remove")
        rules.unlink(missing_ok=True)


@contextmanager
def without(gate: Scoregate, guards: Sequence[str], folder: Path) -> Iterator[Other]:
    """Another gateway process before the same scorer, with some of its guards off (`load_tests.bench.without`)."""
    say(f"starting a gateway without {', '.join(guards) or 'nothing'}")
    log = folder / f"without-{'-'.join(guards)}.log"
    argv = [sys.executable, "-m", "load_tests.bench.without", *guards, "--like", str(gate.roles()["gateway"][0])]
    with _running(argv, os.environ, log) as one:
        until = time.monotonic() + _UP_WITHIN_S
        while not (lines := [line for text in log.read_text().splitlines() if (line := parse_listening(text))]):
            if one.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the gateway did not come up: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        other = Other(lines[0]["url"], {"gateway": [one]})
        _wait_until_ready(lines[0]["internal_url"], until)
        yield other


def _wait_until_ready(internal_url: str, until: float) -> None:
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{internal_url}/readyz", timeout=5):  # noqa: S310
            return
        if time.monotonic() > until:
            raise RuntimeError(f"{internal_url} did not become ready")
        time.sleep(0.05)


# --- what it is compared with


@dataclass
class Other:
    """A running server that is not ours, and its processes by role."""

    url: str
    processes: dict[str, list[subprocess.Popen[bytes]]] = field(default_factory=dict)

    def roles(self) -> dict[str, list[int]]:
        """Processes by what they are for."""
        return {role: [one.pid for one in running] for role, running in self.processes.items()}


@contextmanager
def plumber(models: Store, model: str, processes: int, folder: Path) -> Iterator[list[Other]]:
    """So many plain Plumber processes with the model, each on a TCP port of its own."""
    say(f"starting {processes} plain Plumber")
    env = os.environ | r.environment() | {"MODEL": str(models.file(model))}
    run = "a <- commandArgs(TRUE); plumber::pr_run(plumber::pr(a[[1L]]), port = as.integer(a[[2L]]), quiet = TRUE)"
    with contextlib.ExitStack() as stack:
        started = []
        for _ in range(processes):
            port = _free_port()
            argv = ["/usr/bin/env", "Rscript", "--vanilla", "-e", run, str(HERE / "plain" / "plumber.R"), str(port)]
            one = stack.enter_context(_running(argv, env, folder / f"plumber-{port}.log"))
            started.append(Other(f"http://127.0.0.1:{port}", {"plumber": [one]}))
        for other in started:
            _wait_for(other, "/ready")
        yield started


@contextmanager
def haproxy(backends: Sequence[Other], key: bytes, folder: Path) -> Iterator[Other]:
    """HAProxy that checks the token (RS256, time, audience), limits the caller's rate and has one call at a server at a time."""
    say("starting HAProxy")
    port = _free_port()
    (folder / "entra.pem").write_bytes(key)
    servers = "\n".join(
        f"    server r{n} {one.url.removeprefix('http://')} maxconn 1" for n, one in enumerate(backends)
    )
    text = (HERE / "plain" / "haproxy.cfg").read_text(encoding="utf-8")
    file = folder / "haproxy.cfg"
    file.write_text(
        text.replace("@PORT@", str(port))
        .replace("@KEY@", str(folder / "entra.pem"))
        .replace("@AUDIENCES@", f"{APP_ID_URI} {API_CLIENT_ID}")
        .replace("@SERVERS@", servers),
        encoding="utf-8",
    )
    with _running(["/usr/bin/env", "haproxy", "-db", "-f", str(file)], os.environ, folder / "haproxy.log") as one:
        other = Other(f"http://127.0.0.1:{port}", {"haproxy": [one]} | _together(backends))
        _wait_for(other, "/")
        yield other


@contextmanager
def noop(folder: Path) -> Iterator[Other]:
    """Starlette on uvicorn with one route that does nothing, in a process of its own."""
    say("starting a bare Starlette")
    port = _free_port()
    argv = [sys.executable, "-m", "load_tests.bench.noop", str(port)]
    with _running(argv, os.environ, folder / "noop.log") as one:
        other = Other(f"http://127.0.0.1:{port}", {"starlette": [one]})
        _wait_for(other, "/")
        yield other


def _together(backends: Sequence[Other]) -> dict[str, list[subprocess.Popen[bytes]]]:
    found: dict[str, list[subprocess.Popen[bytes]]] = {}
    for other in backends:
        for role, running in other.processes.items():
            found.setdefault(role, []).extend(running)
    return found


@contextmanager
def _running(argv: Sequence[str], env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as said:
        mine = {**env, "TMPDIR": str(log.parent)}  # R that is killed leaves a folder
        one = subprocess.Popen(argv, env=mine, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=said, stderr=said)  # noqa: S603
    try:
        yield one
    finally:
        one.terminate()
        try:
            one.wait(5)
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait()


def _wait_for(other: Other, path: str) -> None:
    """Until it answers anything at all. Raises RuntimeError after a minute, or if it has ended."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    until = time.monotonic() + _UP_WITHIN_S
    while True:
        with contextlib.suppress(OSError, ValueError), Line(other.url, timeout_s=5) as line:
            line.ask(request)
            return
        ended = [role for role, running in other.processes.items() for one in running if one.poll() is not None]
        if ended or time.monotonic() > until:
            raise RuntimeError(f"{ended or list(other.processes)} did not come up at {other.url}")
        time.sleep(0.05)


def _free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
