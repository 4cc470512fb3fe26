"""The stand-in's folder: what it must keep over a restart, and what it tells those who may know.

`state.json` (0600) holds the address, the apps' secrets and the administrator's; `keys.json` (0600) the signing keys,
so that a stand-in that went away and came back is the same one.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import msgspec

from devkit.entra.directory import APPS, TENANT

STATE_FILE = "state.json"


class Credential(msgspec.Struct, frozen=True):
    """What an app needs to get tokens; a public client has no secret."""

    client_id: str
    secret: str | None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """A running stand-in."""

    url: str
    authority: str
    tenant: str
    ca_file: str
    admin_secret: str
    apps: dict[str, Credential]


def read(folder: Path) -> State:
    """The state of the stand-in that runs on this folder. Raises OSError if none ever did."""
    return msgspec.json.decode((folder / STATE_FILE).read_bytes(), type=State)


def write(folder: Path, url: str, ca_file: Path) -> State:
    """Secrets that exist stay; others are made."""
    try:
        old = read(folder)
    except (OSError, msgspec.DecodeError):
        old = None
    apps = {}
    for app in APPS.values():
        known = old.apps.get(app.name) if old else None
        secret = None if app.public else (known and known.secret) or secrets.token_urlsafe(32)
        apps[app.name] = Credential(app.client_id, secret)
    state = State(
        url=url,
        authority=url,
        tenant=TENANT,
        ca_file=str(ca_file.resolve()),
        admin_secret=old.admin_secret if old else secrets.token_urlsafe(32),
        apps=apps,
    )
    write_private(folder / STATE_FILE, msgspec.json.format(msgspec.json.encode(state), indent=2))
    return state


def write_private(file: Path, content: bytes) -> None:
    """Replace a file in one step; only its owner may read it."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as stream:
        stream.write(content)
    temporary.replace(file)
