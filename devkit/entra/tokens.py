"""A token from a running stand-in, got as any client would: by MSAL, through its public options only.

MSAL is handed a session of our own where `verify=` alone would be simpler: `requests` lets REQUESTS_CA_BUNDLE and
CURL_CA_BUNDLE win over a session's `verify`, so on a machine that sets them `verify=` is not heard.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msal
import requests

from devkit.entra.directory import APP_ID_URI, APPS, SCOPE
from devkit.entra.state import State, read


class NoTokenError(Exception):
    """The stand-in gave no token."""


def get_token(folder: Path, app: str = "all", *, say: Callable[[str], None] | None = None) -> str:
    """An access token for the API. Apps: see `directory.APPS`; `user` signs in by device code, told through `say`.

    Raises NoTokenError, with what MSAL says, and OSError if no stand-in ran on the folder or it cannot be reached.
    """
    if app not in APPS:
        raise NoTokenError(f"there is no app {app!r}; there are {', '.join(APPS)}")
    state = read(folder)
    with _session(state) as session:
        if APPS[app].public:
            answer = _by_device_code(state, app, session, say or (lambda message: print(message, file=sys.stderr)))
        else:
            answer = _by_secret(state, app, session)
    if "access_token" not in answer:
        raise NoTokenError(answer.get("error_description") or answer.get("error") or "no access token in the answer")
    return str(answer["access_token"])


@contextmanager
def _session(state: State) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.verify = state.ca_file
        session.trust_env = False
        yield session


def _by_secret(state: State, app: str, session: requests.Session) -> dict[str, Any]:
    client = msal.ConfidentialClientApplication(
        state.apps[app].client_id,
        client_credential=state.apps[app].secret,
        authority=f"{state.authority}/{state.tenant}",
        instance_discovery=False,
        http_client=session,
    )
    return dict(client.acquire_token_for_client([f"{APP_ID_URI}/.default"]))


def _by_device_code(state: State, app: str, session: requests.Session, say: Callable[[str], None]) -> dict[str, Any]:
    client = msal.PublicClientApplication(
        state.apps[app].client_id,
        authority=f"{state.authority}/{state.tenant}",
        instance_discovery=False,
        http_client=session,
    )
    flow = client.initiate_device_flow([f"{APP_ID_URI}/{SCOPE}"])
    if "user_code" not in flow:
        return dict(flow)
    say(flow["message"])
    return dict(client.acquire_token_by_device_flow(flow))
