"""`scoregate sign`: an Ed25519 signature beside a model package's manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from client.store import sign_package
from client.terminal import out
from shared.signing import FILE


def sign(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A model package.")],
    key: Annotated[Path, typer.Option(metavar="FILE", help="An Ed25519 private key in PEM, without a passphrase.")],
) -> None:
    """Sign a model package, for scorers that serve only what a trusted key has signed (SCORER_TRUSTED_KEYS).

    The signature goes into manifest.json.sig; publish takes it along. A version that is published already is signed by
    signing its package and publishing it again.

    [dim]openssl genpkey -algorithm ed25519 -out release.pem[/dim]
    [dim]scoregate sign boston-housing-1/ --key release.pem[/dim]
    """
    signed = sign_package(folder, key)
    out(f"{folder / FILE}: signed by key {signed.key_id}")
