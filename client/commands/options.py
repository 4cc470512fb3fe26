"""The options every command that talks to a gateway has, added by one decorator, so they are the same everywhere."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from client.connection import VARIABLES, Connection, UsageError
from client.store import Store
from shared.store_layout import MODEL_NAME

PANEL = "Connection"
GatewaysOption = Annotated[
    list[str] | None, typer.Option("--gateway", help="A gateway's internal address (port 9090); repeat for several.")
]
ScorersOption = Annotated[
    list[str] | None, typer.Option("--scorer", help="A scorer pod's internal address (port 9091); repeat for several.")
]

_VERSION = re.compile(r"[0-9][A-Za-z0-9._-]*")


def store_at(url: str, *, make: bool = False) -> Store:
    """The store that an option names; `make`: a folder that is not there, too. Raises UsageError for none, StoreError."""
    if not url.strip():
        raise UsageError(
            "which store? --store takes file:///models, az://container/models, s3://…, gs://…, or a folder"
        )
    return Store(url, make=make)


def check_version(model: str, version: str | None) -> None:
    """Raises UsageError unless they may name a version of a store. One that could not be published today may be there."""
    if not MODEL_NAME.fullmatch(model):
        raise UsageError(f"{model!r} is not a model name: small letters, digits and dashes, at most 63")
    if version is not None and not _VERSION.fullmatch(version):
        raise UsageError(f"{version!r} is not a version: N[.N[.N]][-suffix]")


def _option(*names: str, text: str, env: str | None = None, **more: Any) -> Any:
    return typer.Option(*names, help=text, envvar=env, rich_help_panel=PANEL, show_default=False, **more)


def _connection_options(
    *,
    url: Annotated[
        str | None, _option("--url", text="The gateway, as https://scoring.example.com.", env=VARIABLES["url"])
    ] = None,
    stack: Annotated[
        str | None,
        _option("--stack", text="A local stack started by ./dev up; its default name is dev.", env=VARIABLES["stack"]),
    ] = None,
    app: Annotated[
        str | None, _option("--app", text="With --stack: which of its applications asks (all, one-model, no-role, …).")
    ] = None,
    token: Annotated[
        str | None,
        _option(
            "--token",
            text="An access token got elsewhere. Others on this machine can see options: prefer the variable.",
            env=VARIABLES["token"],
        ),
    ] = None,
    tenant: Annotated[str | None, _option("--tenant", text="Entra tenant id.", env=VARIABLES["tenant"])] = None,
    client_id: Annotated[
        str | None, _option("--client-id", text="Your application's client id.", env=VARIABLES["client_id"])
    ] = None,
    client_secret: Annotated[
        str | None,
        _option("--client-secret", text="Its secret; only as a variable.", env=VARIABLES["client_secret"], hidden=True),
    ] = None,
    client_secret_file: Annotated[
        Path | None,
        _option(
            "--client-secret-file",
            text="A file with its secret (or set SCOREGATE_CLIENT_SECRET).",
            env=VARIABLES["client_secret_file"],
        ),
    ] = None,
    certificate_file: Annotated[
        Path | None,
        _option(
            "--certificate-file",
            text="Its certificate with the private key, .pfx or PEM.",
            env=VARIABLES["certificate_file"],
        ),
    ] = None,
    certificate_passphrase: Annotated[
        str | None,
        _option(
            "--certificate-passphrase",
            text="Of the private key; only as a variable.",
            env=VARIABLES["certificate_passphrase"],
            hidden=True,
        ),
    ] = None,
    device: Annotated[
        bool, _option("--device", text="Log in yourself, by a code typed on another page.", env=VARIABLES["device"])
    ] = False,
    scope: Annotated[
        str | None,
        _option("--scope", text="The API's scope; default api://scoregate/.default.", env=VARIABLES["scope"]),
    ] = None,
    authority: Annotated[
        str | None,
        _option(
            "--authority", text="Entra's address, if not https://login.microsoftonline.com.", env=VARIABLES["authority"]
        ),
    ] = None,
    ca_file: Annotated[
        Path | None,
        _option("--ca-file", text="The CA to trust, PEM, if the system does not know it.", env=VARIABLES["ca_file"]),
    ] = None,
    allow_plain_http: Annotated[
        bool,
        _option(
            "--allow-plain-http",
            text="Send the token over http to another host: only inside a network you trust.",
            env=VARIABLES["allow_plain_http"],
        ),
    ] = False,
    cache_dir: Annotated[
        Path,
        _option(
            "--cache-dir",
            text="Where tokens of --device are kept (0600); default ~/.cache/scoregate.",
            env=VARIABLES["cache_dir"],
        ),
    ] = Path("~/.cache/scoregate"),
) -> None:
    """Only its parameters are used."""


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the connection options in exchange for its parameter `connection`."""
    names = list(inspect.signature(_connection_options).parameters)

    @functools.wraps(command)
    def run(**arguments: Any) -> None:
        connection = Connection(**{name: arguments.pop(name) for name in names})
        command(connection=connection, **arguments)

    own = [p for p in inspect.signature(command).parameters.values() if p.name != "connection"]
    theirs = list(inspect.signature(_connection_options).parameters.values())
    hints = get_type_hints(command, include_extras=True) | get_type_hints(_connection_options, include_extras=True)
    parameters = [p.replace(kind=p.KEYWORD_ONLY, annotation=hints[p.name]) for p in (*own, *theirs)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    del run.__wrapped__
    return run
