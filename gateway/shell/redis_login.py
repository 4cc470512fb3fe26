"""Logs in to Redis as this gateway's own Entra identity: Azure Managed Redis takes an identity's object id as the user and a
token of an hour or so as the password, and closes connections that outlive their token.

A token is renewed long before it ends, in the background; `version` then grows, by which the counter store knows to open a
new connection. While Entra ID is away the last token serves until it ends. Where tokens come from is `TokenSource`; here
that is MSAL, with a workload identity's file (AKS) or a managed identity. The stored token appears in no log and no error.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msal
import requests
import structlog
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError

log = structlog.get_logger(__name__)

#: What Azure Managed Redis is called towards Entra ID, in every cloud it is in.
RESOURCE = "https://redis.azure.com"
#: Renewed when this share of its life is over; then there is time for many tries.
RENEW_AFTER = 0.6
RETRY_S = 30.0
FETCH_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Token:
    """A token and whose it is; `lasts_s` seconds from when it was got."""

    user: str
    value: str = field(repr=False)
    lasts_s: float


#: Fetches a token, blocking for as long as it takes. Raises where there is none, whatever the library raises.
TokenSource = Callable[[], Token]


class EntraLogin(CredentialProvider):
    """redis-py's credentials, from a token that is kept fresh from the first use until `aclose`. For one event loop."""

    def __init__(self, source: TokenSource, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._token: Token | None = None
        self._ends_at = 0.0
        self._fetching: asyncio.Task[Token] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self.version = 0

    def __repr__(self) -> str:
        return f"<EntraLogin: {'no token yet' if self._token is None else self._token.user}, version {self.version}>"

    async def get_credentials_async(self) -> tuple[str, str]:
        """User and password for a new connection. Raises redis' AuthenticationError where there is no token to be had.

        A caller that gives up leaves the fetch running, for the next.
        """
        token = self._token
        if token is None or self._clock() >= self._ends_at:
            try:
                token = await asyncio.shield(self._fetch())
            except Exception as error:
                raise AuthenticationError(f"Entra ID gave no token for Redis: {_told(error)}") from error
        return token.user, token.value

    def get_credentials(self) -> tuple[str, str]:
        """Not for blocking clients."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Stops renewing. A fetch that is on its way ends by itself."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
            self._keeping = None

    def _fetch(self) -> asyncio.Task[Token]:
        """The fetch that runs, or a new one: never two at once."""
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetched())
            self._fetching.add_done_callback(_looked_at)
        return self._fetching

    async def _fetched(self) -> Token:
        token = await asyncio.to_thread(self._source)
        self._token = token
        self._ends_at = self._clock() + token.lasts_s
        self.version += 1
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep())
        return token

    async def _keep(self) -> None:
        while True:
            lasts_s = self._token.lasts_s if self._token else 0.0
            await asyncio.sleep(max(lasts_s * RENEW_AFTER, 0.01))
            while True:
                try:
                    await self._fetch()
                except Exception as error:  # whatever it is: without renewal every connection ends within the hour
                    left_s = max(0.0, self._ends_at - self._clock())
                    log.warning("gateway.redis.token_not_renewed", detail=_told(error), left_s=round(left_s))
                    await asyncio.sleep(RETRY_S)
                else:
                    break


def _told(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:300]


def _looked_at(task: asyncio.Task[Token]) -> None:
    if not task.cancelled():
        task.exception()  # whoever waited may have gone


def msal_source(
    *, authority: str, tenant: str | None, client_id: str | None, token_file: str | None, http: Any = None
) -> TokenSource:
    """Tokens by MSAL: for the workload identity whose `token_file` Kubernetes keeps fresh, or else for the machine's managed
    identity, `client_id` naming one of several. `http` stands in for a requests session.

    Raises ValueError for a token file without tenant and client id.
    """
    if token_file and not (tenant and client_id):
        raise ValueError("a workload identity's token file needs AZURE_TENANT_ID and AZURE_CLIENT_ID beside it")
    if http is None:
        http = requests.Session()
        http.request = _with_timeout(http.request)
    where = f"{authority.rstrip('/')}/{tenant}"

    def assertion() -> str:
        return Path(str(token_file)).read_text(encoding="utf-8").strip()  # it changes while the pod runs

    def workload() -> Token:
        app = msal.ConfidentialClientApplication(
            client_id, authority=where, client_credential={"client_assertion": assertion}, http_client=http
        )
        return token_of(app.acquire_token_for_client([f"{RESOURCE}/.default"]))

    def managed() -> Token:
        who = (
            msal.UserAssignedManagedIdentity(client_id=client_id) if client_id else msal.SystemAssignedManagedIdentity()
        )
        return token_of(msal.ManagedIdentityClient(who, http_client=http).acquire_token_for_client(resource=RESOURCE))

    return workload if token_file else managed


def token_of(answer: Mapping[str, Any]) -> Token:
    """MSAL's answer as a Token. Raises ValueError with Entra's own words where it is none."""
    if "access_token" not in answer:
        raise ValueError(str(answer.get("error_description") or answer.get("error") or "no reason given"))
    value = str(answer["access_token"])
    lasts_s = float(answer.get("expires_in", 0))
    if lasts_s <= 0:  # kept fresh, it would be fetched without a pause
        raise ValueError("Entra ID's token has no time left (expires_in)")
    return Token(_object_id(value), value, lasts_s)


def _object_id(token: str) -> str:
    """The `oid` of a token that is ours to show, so its signature is Redis' business."""
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return str(claims["oid"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        raise ValueError("Entra ID's token names no object id (oid)") from None


def _with_timeout(send: Callable[..., Any]) -> Callable[..., Any]:
    def limited(*args: Any, **kwargs: Any) -> Any:
        return send(*args, **{"timeout": FETCH_TIMEOUT_S} | kwargs)

    return limited
