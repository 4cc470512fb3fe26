"""Who is calling: what `authenticate` makes of a token, and all that later stages may know of it.

A caller is made from a verified token only. It says who calls, never what they may do: `authorise` decides that anew
for each request, so a remembered caller is never a remembered permission.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import force_setattr

#: An app calls with its own permission (client credentials); a user calls through an app, with delegated scopes.
Kind = Literal["app", "user"]


class Caller(msgspec.Struct, frozen=True, cache_hash=True):
    """An authenticated app or user. All ids are lower-case GUIDs."""

    tenant: str
    #: Entra's object id, of the service principal or the user: with the tenant, the one identity that is never reused.
    subject: str
    kind: Kind
    #: The app registration the call comes from (`azp`, in v1 tokens `appid`).
    client_app: str
    roles: frozenset[str]
    #: Empty for an app.
    scopes: frozenset[str]
    #: For logs, printable and at most 64 characters; not an identity: users can change theirs.
    name: str
    #: Seconds since 1970, without leeway.
    expires_at_s: float

    #: `tid/oid`, by which limits count. Both are GUIDs, so the separator cannot occur in either.
    key: str = ""

    def __post_init__(self) -> None:
        force_setattr(self, "key", f"{self.tenant}/{self.subject}")
