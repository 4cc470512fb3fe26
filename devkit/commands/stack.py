"""`./dev up`, `status`, `logs`, `down` and `token`: a stack on this machine."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from devkit.commands.options import NameOption, named_home, not_running, running_state
from devkit.commands.prepare import set_up
from devkit.commands.terminal import err, fail, out
from devkit.state import DEFAULT_NAME, Options, running


def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return once all is ready; `./dev down` stops it.")
    ] = False,
    name: NameOption = DEFAULT_NAME,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The gateway's port on 127.0.0.1; 0 picks a free one.")
    ] = 8080,
    gateway_workers: Annotated[int, typer.Option(min=1, max=64, help="Gateway processes on that port.")] = 1,
    scorers: Annotated[
        int, typer.Option(min=1, max=16, help="Scorer processes behind the gateway, as pods would be.")
    ] = 1,
    scorer_workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="R predictions at once in each; by default one per core.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="Model store, a folder or a URL; by default .dev/NAME/store. An empty one gets the examples."
        ),
    ] = None,
    rate: Annotated[
        str | None, typer.Option(metavar="N/minute", help="Calls per caller, instead of the policy's default rate.")
    ] = None,
) -> None:
    """
    Start everything: Entra stand-in, Redis, scorer and gateway, with the example models.

    Trains and publishes the examples if they are not there. Installs what is missing (with apt, when root or sudo is
    at hand), waits until all is ready, prints addresses and a request to paste, then shows the logs. Ctrl-C stops
    everything; a second Ctrl-C kills what is left.
    """
    from devkit import launch

    options = Options(
        name=name,
        port=port,
        gateway_workers=gateway_workers,
        scorers=scorers,
        scorer_workers=scorer_workers,
        store=_store_url(store),
        rate=_rate(rate),
    )
    home = named_home(name)
    if (state := home.read()) is not None:
        where = state.gateway_url or state.phase
        fail(f"{name} is running already: {where}. Stop it with: {home.command('down')}")
    _check_port(port)
    set_up()
    fd = home.lock()
    if fd is None:
        fail(f"{name} is being started or stopped by another ./dev")
    raise typer.Exit(launch.detached(options, home, fd, out) if detach else launch.in_foreground(options, home, out))


def _store_url(store: str | None) -> str | None:
    return Path(store).resolve().as_uri() if store is not None and "://" not in store else store


def _rate(rate: str | None) -> str | None:
    from devkit.policy import RATE

    if rate is not None and not RATE.fullmatch(rate):
        fail(f"--rate {rate}: a number per second, minute, hour or day, such as 100/minute")
    return rate


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            fail(f"port {port} cannot be had ({error.strerror}); --port chooses another, 0 picks a free one")


def supervise(options: str) -> None:
    """Own a stack until told to stop: what `up --detach` leaves behind."""
    from devkit import launch

    raise typer.Exit(launch.supervise(msgspec.json.decode(options, type=Options)))


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as one JSON object.")] = False,
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Show where a running stack is: addresses, process ids by role, model versions. Exit code 3 if it does not run."""
    from devkit.status import collect, described

    home = named_home(name)
    found = collect(home)
    if found is None:
        err.print(not_running(home), markup=False)
        raise typer.Exit(3)
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    for label, text in described(found):
        out.print(f"{label:<16} {text}", markup=False)


def logs(
    service: Annotated[
        str | None, typer.Argument(help="gateway, scorer, redis, entra, examples or dev; all of them if not given.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on showing lines until Ctrl-C or the stack's end.")
    ] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Lines as the services wrote them (JSON).")] = False,
    name: NameOption = DEFAULT_NAME,
) -> None:
    """Show what the services of a stack have written since it was started last."""
    from devkit.logs import SERVICES, read, render

    home = named_home(name)
    if service is not None and service.partition("-")[0] not in SERVICES:
        fail(f"there is no service {service}; there are {', '.join(SERVICES)}")
    if not home.log_file.exists():
        fail(f"{name} has never been started")
    try:
        for who, text in read(home.log_file, service, follow=home.is_running if follow else None):
            if raw:
                out.print(text, markup=False)
            else:
                out.print(render(who, text))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def down(
    name: NameOption = DEFAULT_NAME,
    all_of_them: Annotated[bool, typer.Option("--all", help="Every stack of this checkout.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove its folder, too: store, keys, logs.")] = False,
) -> None:
    """Stop a stack and everything it started; returns when nothing of it runs. Its store and logs stay."""
    from devkit import launch

    homes = running() if all_of_them else [home for home in [named_home(name)] if home.is_running()]
    if not homes:
        out.print("nothing is running" if all_of_them else f"{name} is not running", markup=False)
    for home in homes:
        try:
            launch.stop(home)
        except launch.StillStartingError as error:
            fail(str(error))
        out.print(f"{home.name} is stopped", markup=False)
    if remove:
        for home in homes or [named_home(name)]:
            home.remove()


def token(
    as_app: Annotated[
        str,
        typer.Option(
            "--app",
            metavar="all|one-model|no-role|disallowed|user|all-v1",
            help="Whose: an app with every role, one that may score boston-housing only, one without a role, one that "
            "the policy does not admit, a user (by device code), or `all` in the form of Entra's v1 tokens.",
        ),
    ] = "all",
    name: NameOption = DEFAULT_NAME,
    folder: Annotated[
        Path | None,
        typer.Option(help="The stand-in's own folder, where it was not started by ./dev up (in containers)."),
    ] = None,
) -> None:
    """Print an access token for the gateway, got with MSAL from the stack's stand-in for Entra ID."""
    from devkit.entra.tokens import NoTokenError, get_token

    if folder is None:
        running_state(name)
        folder = named_home(name).entra
    try:
        sys.stdout.write(get_token(folder, as_app) + "\n")
    except (NoTokenError, OSError) as error:
        fail(f"no token: {error}")
