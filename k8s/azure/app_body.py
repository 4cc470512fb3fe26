"""`python3 app_body.py [MODEL …] <application.json`: what must be changed in the API's app registration, as a Graph PATCH body.

Prints nothing if it is as it should be. It adds and mends; it takes nothing away, since a role that someone holds must not
vanish because a list was shorter this time. Ids of roles that are there are kept: assignments refer to them. Only the
standard library, so that any Python will do. https://learn.microsoft.com/graph/api/resources/application
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Sequence
from typing import Any

ALL_MODELS = "Models.Score.All"
ONE_MODEL = "Models.Score."
SCOPE = "Models.Score"


def wanted_role(app_id: str, model: str | None) -> dict[str, Any]:
    """The app role to score one model, or (None) all of them. Its id follows from app and value, so it is the same again."""
    value = ALL_MODELS if model is None else ONE_MODEL + model
    what = "all models" if model is None else f"the model {model}"
    return {
        "id": _id(app_id, value),
        "allowedMemberTypes": ["Application", "User"],
        "description": f"Score rows with {what}.",
        "displayName": f"Score {what}",
        "isEnabled": True,
        "value": value,
    }


def wanted_scope(app_id: str) -> dict[str, Any]:
    """The delegated scope: an app scores for a user who is signed in."""
    return {
        "id": _id(app_id, "scope:" + SCOPE),
        "type": "User",
        "value": SCOPE,
        "isEnabled": True,
        "adminConsentDisplayName": "Score models",
        "adminConsentDescription": "Score rows with the models that the signed-in user may score.",
        "userConsentDisplayName": "Score models for you",
        "userConsentDescription": "Score rows with the models that you may score.",
    }


def changes(application: dict[str, Any], models: Sequence[str]) -> dict[str, Any]:
    """The PATCH body; empty if nothing is to be changed. Raises ValueError for a model's name that cannot be in a role."""
    for model in models:
        if not model or not all(c.isascii() and (c.isalnum() or c in "-_") for c in model):
            raise ValueError(f"{model!r} is no model's name: letters, digits, - and _")
    app_id = application["appId"]
    api = application.get("api") or {}
    body: dict[str, Any] = {}

    roles = list(application.get("appRoles") or [])
    missing = [
        role
        for role in (wanted_role(app_id, model) for model in (None, *dict.fromkeys(models)))
        if role["value"] not in {known["value"] for known in roles}
    ]
    if missing:
        body["appRoles"] = roles + missing

    new_api: dict[str, Any] = {}
    if api.get("requestedAccessTokenVersion") != 2:
        new_api["requestedAccessTokenVersion"] = 2
    scopes = list(api.get("oauth2PermissionScopes") or [])
    if SCOPE not in {scope["value"] for scope in scopes}:
        new_api["oauth2PermissionScopes"] = [*scopes, wanted_scope(app_id)]
    if new_api:
        body["api"] = api | new_api

    uris = list(application.get("identifierUris") or [])
    if f"api://{app_id}" not in uris:
        body["identifierUris"] = [*uris, f"api://{app_id}"]
    return body


def _id(app_id: str, value: str) -> str:
    return str(uuid.uuid5(uuid.UUID(app_id), value))


if __name__ == "__main__":
    try:
        patch = changes(json.load(sys.stdin), sys.argv[1:])
    except ValueError as problem:
        sys.exit(f"app_body.py: {problem}")
    if patch:
        print(json.dumps(patch))
