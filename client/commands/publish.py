"""`scoregate publish`: a model package into a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from client.commands.options import store_at
from client.store import sign_package
from client.terminal import out, say


def publish(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A model package: the folder that package_model() made.")
    ],
    store: Annotated[
        str,
        typer.Option(
            help="file:///models, az://container/models, s3://…, gs://…, or a folder.", envvar="SCOREGATE_STORE"
        ),
    ],
    sign_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Sign it first, as `scoregate sign` does, with this Ed25519 private key."),
    ] = None,
) -> None:
    """Publish a model package. Scorers that watch the store load it and serve it by themselves.

    Files go by their digest; the manifest goes last and only if that version is not there, so a version never changes
    and is never seen half done. Doing it twice is harmless. Write access to a store is the right to run code in its
    scorers. Credentials are those that obstore finds (AZURE_STORAGE_…).

    [dim]scoregate publish boston-housing-1/ --store file:///srv/models[/dim]
    [dim]scoregate publish boston-housing-1/ --store az://models[/dim]
    """
    if sign_key is not None:
        sign_package(folder, sign_key)
    to = store_at(store, make=True)
    published = to.publish(folder)
    what = "published" if published.created else "already there, the same"
    sent = f"{published.uploaded_bytes} bytes sent, sha256 {published.digest[:12]}"
    if published.signed_by:
        sent += f", signed by {', '.join(published.signed_by)}"
    out(f"{published.name} {published.version}: {what} ({sent})")
    if to.is_new:
        say(f"{to.url} was not there and is a new store: a scorer reads it if its SCORER_STORE_URL says so")
    if published.promoted not in {None, published.version}:
        say(
            f"{published.promoted} was promoted and goes on serving by default: scoregate promote {published.name} … --store …"
        )
