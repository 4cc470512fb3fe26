"""Who exists in the stand-in's tenant: one API, a few apps, one user. Ids are fixed; secrets are made at run time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TENANT = "11111111-1111-4111-8111-111111111111"
API_CLIENT_ID = "22222222-2222-4222-8222-222222222222"
APP_ID_URI = "api://scoregate"
#: What the API defines: application roles for apps, one delegated scope for users.
ROLE_ALL = "Models.Score.All"
SCOPE = "Models.Score"

Version = Literal[1, 2]


@dataclass(frozen=True, slots=True)
class App:
    """An app registration with its service principal. `version` is the form of the tokens it is given for the API.

    (In Entra ID the API's manifest decides the version, by `accessTokenAcceptedVersion`; here the app does, to have
    both.)
    """

    name: str
    client_id: str
    object_id: str
    roles: tuple[str, ...] = ()
    version: Version = 2
    #: A public client has no secret: it signs users in.
    public: bool = False


@dataclass(frozen=True, slots=True)
class User:
    """Someone who can sign in, through any public app."""

    object_id: str
    name: str
    username: str
    scopes: tuple[str, ...]


def _app(number: int, name: str, *roles: str, version: Version = 2, public: bool = False) -> App:
    tail = f"0000-4000-8000-{number:012}"
    return App(name, f"33333333-{tail}", f"44444444-{tail}", roles, version, public)


APPS = {
    app.name: app
    for app in (
        _app(1, "all", ROLE_ALL),
        _app(2, "one-model", "Models.Score.boston-housing"),
        _app(3, "no-role"),
        _app(4, "disallowed", ROLE_ALL),  # a good token, but the policy does not list the app
        _app(5, "user", public=True),
        _app(6, "all-v1", ROLE_ALL, version=1),
    )
}
USER = User("55555555-0000-4000-8000-000000000001", "Ada Example", "ada@example.com", (SCOPE,))


def by_client_id(client_id: str) -> App | None:
    """The app of a client id."""
    return next((app for app in APPS.values() if app.client_id == client_id), None)
