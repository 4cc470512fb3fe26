"""`scoregate try`: a fitted model, served on this machine by one command."""

from __future__ import annotations

import contextlib
import json
import secrets
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import msgspec
import typer

from client.commands.package import make_package, name_of
from client.connection import CHECKOUT, UsageError, devkit, is_checkout, stack_state
from client.errors import ClientError
from client.examples import example_inputs, example_rows
from client.store import Store, read_package
from client.terminal import out, say
from shared.signature import Signature

_STOP_WITHIN_S = 60.0
_SHOWN_ROWS = 2


class _Packaged(msgspec.Struct):
    version: str
    signature: Signature
    example: dict[str, dict[str, list[Any]]] = {}


def try_model(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL", help="A fitted model, saved by saveRDS(); or the folder of a packaged model or function."
        ),
    ],
    sample: Annotated[
        Path | None, typer.Option(help="A CSV of rows like those the model was fitted on; not with a folder.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="By default made of the file's name; not with a folder.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The gateway's port; 0 picks a free one.")] = 0,
) -> None:
    """Serve a fitted model here, at once: package it, start a whole stack, print its address and a request to paste.

    A function is packaged in R, by package_function(), and its folder given here. Ctrl-C stops the stack and removes
    everything it made. Needs a checkout of scoregate, and R.

    [dim]scoregate try boston.rds --sample boston.csv[/dim]
    [dim]scoregate try loan-payment/[/dim]
    """
    if not is_checkout():
        raise UsageError("try runs a local stack and needs a checkout of scoregate; package and publish work without")
    if model.is_dir():
        if sample is not None or name is not None:
            raise UsageError(
                f"{model} is a folder: what was packaged has its name and its example; leave out --sample and --name"
            )
        name = read_package(model)[0].name
    elif sample is None:
        raise UsageError("give rows like those the model was fitted on: --sample FILE.csv")
    name = name or name_of(model)
    stack = f"try-{name[:16].rstrip('-')}-{secrets.token_hex(3)}"
    with _terminated_as_interrupted(), tempfile.TemporaryDirectory(prefix="scoregate-try-") as temporary:
        package = model
        if sample is not None:
            say(f"packaging {model.name} …")
            package = Path(temporary) / "package"
            make_package(model, sample, name, "1", package, more=["--quiet"])
        store = (Path(temporary) / "store").as_uri()
        Store(store).publish(package)
        packaged = msgspec.json.decode((package / "manifest.json").read_bytes(), type=_Packaged)
        inputs, example = packaged.signature.inputs, packaged.example.get("inputs", {})
        body: dict[str, Any] = (
            {"inputs": example_inputs(inputs, example)}
            if packaged.signature.is_function
            else {"rows": example_rows(inputs, example, at_most=_SHOWN_ROWS)}
        )
        # A version with a suffix never serves by default.
        path = f"{name}/versions/{packaged.version}" if "-" in packaged.version else name
        with _stack(stack, store, port) as url:
            out(f"\n{url} serves {name}; {url}/docs describes it. Try it:\n")
            out(curl(url, stack, path, body) + "\n")
            dev = shlex.quote(str(CHECKOUT / "dev"))
            say(f"Ctrl-C stops it and removes everything it made. Its logs: {dev} logs --follow --name {stack}")
            _until_it_ends(stack)


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM and SIGHUP end this like Ctrl-C, so what was started is stopped. An interrupt while serving is no
    error.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _stack(stack: str, store: str, port: int) -> Iterator[str]:
    """A running stack of that name, as its gateway's URL; stopped and its folder removed at the end, whatever
    happened.
    """
    say(f"starting the stack {stack} …")
    try:
        _start("up", "--detach", "--name", stack, "--port", str(port), "--store", store)
        yield stack_state(stack).gateway_url or ""
    finally:
        before = {
            number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        say("stopping …")
        try:
            stopped = _popen("down", "--name", stack, stdout=subprocess.DEVNULL)
            if stopped.wait(_STOP_WITHIN_S) == 0:
                shutil.rmtree(CHECKOUT / ".dev" / stack, ignore_errors=True)
            else:
                say(f"it may still run: {shlex.quote(str(CHECKOUT / 'dev'))} down --name {stack}")
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _popen(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    # In a session of its own, so that Ctrl-C reaches this process alone, which then stops things in order.
    return subprocess.Popen(
        devkit(*arguments), cwd=CHECKOUT, stdin=subprocess.DEVNULL, start_new_session=True, text=True, **options
    )


def _start(*arguments: str) -> None:
    with _popen(*arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as starting:
        try:
            printed = starting.communicate()[0]
        except KeyboardInterrupt:
            starting.send_signal(signal.SIGINT)
            starting.wait(_STOP_WITHIN_S)
            raise
    if starting.returncode:
        raise ClientError("the stack did not start:\n  " + "\n  ".join(printed.strip().splitlines()[-8:]))


def _until_it_ends(stack: str) -> None:
    """Returns at Ctrl-C; raises ClientError if the stack has ended by itself, which its log tells first."""
    with _popen("logs", "--follow", "--name", stack, stdout=subprocess.DEVNULL) as logs:
        try:
            logs.wait()
        except KeyboardInterrupt:
            logs.terminate()
            return
    raise ClientError(f"the stack {stack} has ended by itself")


def curl(url: str, stack: str, path: str, body: dict[str, Any]) -> str:
    """A request that works when pasted into a shell, from any folder."""
    token = f"$({shlex.quote(str(CHECKOUT / 'dev'))} token --name {stack})"
    return (
        f'curl -sS {url}/v1/models/{path}/score \\\n  -H "Authorization: Bearer {token}" \\\n'
        f"  -H 'Content-Type: application/json' \\\n  -d {shlex.quote(json.dumps(body, ensure_ascii=False))}"
    )
