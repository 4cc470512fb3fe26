"""Access tokens for the gateway, through MSAL's public interface. MSAL keeps them and fetches the next one five minutes
before one runs out (or when Entra asks for it sooner); this module adds one lock, so that many threads cause one
request, and readable errors.

Each credential fetches its authority's metadata on first use, not when it is made. Nothing here logs, and no `repr`
shows a secret. MSAL's options: https://msal-python.readthedocs.io/en/latest/
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from client.errors import CredentialError

DEFAULT_AUTHORITY = "https://login.microsoftonline.com"
#: For one request to the identity provider.
IDENTITY_TIMEOUT_S = 10.0
_PEM_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


class Credential(Protocol):
    """Where a client has its access tokens from. Both methods may block on the network and may be called from many
    threads.
    """

    def token(self) -> str:
        """A token that is good now. Raises CredentialError."""
        ...

    def renew(self, stale: str) -> str | None:
        """Another token than `stale`, which the server called expired; None if there cannot be one. Raises
        CredentialError.
        """
        ...


@dataclass(frozen=True, slots=True)
class StaticToken:
    """A token got elsewhere (`az account get-access-token`, a test). It is sent as it is and never renewed."""

    value: str = field(repr=False)

    def token(self) -> str:
        """The token."""
        return self.value

    def renew(self, stale: str) -> str | None:  # noqa: ARG002
        """There is no other."""
        return None


class MsalCredential:
    """What the MSAL credentials share: an application made on first use, one request at a time, CredentialErrors.

    `authority` is `https://host` (the tenant is added), a whole authority URL, or contains `{tenant}`.
    `oidc_authority` is for providers that are not Entra. For a host that is not Microsoft's, MSAL's instance
    discovery (a question to Microsoft about the host) is off unless asked for. `verify` is a CA file, or False for
    none, as in requests.
    """

    def __init__(
        self,
        tenant: str,
        client_id: str,
        *,
        authority: str | None = None,
        oidc_authority: str | None = None,
        instance_discovery: bool | None = None,
        verify: str | Path | bool = True,
        timeout_s: float = IDENTITY_TIMEOUT_S,
    ) -> None:
        """Makes no request. Raises ValueError for an authority that is not https or given twice."""
        if authority and oidc_authority:
            raise ValueError("give authority or oidc_authority, not both")
        url = oidc_authority or authority_url(authority or DEFAULT_AUTHORITY, tenant)
        if urlsplit(url).scheme != "https" or not urlsplit(url).hostname:
            raise ValueError(f"authority must be an https URL, not {url!r}")
        self.tenant = tenant
        self.client_id = client_id
        self.authority = url
        self._oidc = oidc_authority is not None
        self._instance_discovery = instance_discovery
        self._verify = str(verify) if isinstance(verify, Path) else verify
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._app: Any = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(client_id={self.client_id!r}, authority={self.authority!r})"

    def token(self) -> str:
        """A token from MSAL's cache, or a new one. Raises CredentialError."""
        with self._lock, _as_credential_errors(self.authority):
            return _token_of(self._acquire(self._application()))

    def renew(self, stale: str) -> str | None:
        """A token other than `stale`: what MSAL has by now, else a new one. Raises CredentialError."""
        with self._lock, _as_credential_errors(self.authority):
            token = _token_of(self._acquire(self._application()))
            if token == stale:
                token = _token_of(self._acquire_again(self._application()))
            return token if token != stale else None

    def _application(self) -> Any:
        if self._app is None:
            self._app = self._build(self._options())
        return self._app

    def _options(self) -> dict[str, Any]:
        from msal.authority import WELL_KNOWN_AUTHORITY_HOSTS  # noqa: PLC0415 - msal takes 0.3 s to import

        discovery = self._instance_discovery
        if discovery is None and urlsplit(self.authority).hostname not in WELL_KNOWN_AUTHORITY_HOSTS:
            discovery = False
        return {
            "oidc_authority" if self._oidc else "authority": self.authority,
            "instance_discovery": discovery,
            "http_client": _session(self._verify, self._timeout_s),
            "app_name": "scoregate",
        }

    def _build(self, options: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _acquire(self, app: Any) -> Mapping[str, Any]:
        raise NotImplementedError

    def _acquire_again(self, app: Any) -> Mapping[str, Any]:
        raise NotImplementedError


class _Confidential(MsalCredential):
    """An application with its own identity (client credentials grant)."""

    def __init__(self, tenant: str, client_id: str, scope: str, **options: Any) -> None:
        super().__init__(tenant, client_id, **options)
        self.scope = scope

    def _client_credential(self) -> str | dict[str, Any]:
        raise NotImplementedError

    def _build(self, options: dict[str, Any]) -> Any:
        import msal  # noqa: PLC0415

        return msal.ConfidentialClientApplication(
            self.client_id, client_credential=self._client_credential(), **options
        )

    def _acquire(self, app: Any) -> Mapping[str, Any]:
        found: Mapping[str, Any] = app.acquire_token_for_client([self.scope])
        return found

    def _acquire_again(self, app: Any) -> Mapping[str, Any]:
        app.remove_tokens_for_client()
        return self._acquire(app)


class ClientSecret(_Confidential):
    """An application that proves itself by a secret. `scope` is `{App ID URI}/.default`, as Entra wants it for
    applications.
    """

    def __init__(self, tenant: str, client_id: str, secret: str, scope: str, **options: Any) -> None:
        """Options are those of `MsalCredential`."""
        super().__init__(tenant, client_id, scope, **options)
        self._secret = secret

    def _client_credential(self) -> str:
        return self._secret


class ClientCertificate(_Confidential):
    """An application that proves itself by a certificate: a .pfx file, or a PEM file with the private key and the
    certificate.
    """

    def __init__(
        self,
        tenant: str,
        client_id: str,
        certificate_file: str | Path,
        scope: str,
        *,
        passphrase: str | None = None,
        **options: Any,
    ) -> None:
        """The file is read on first use; options are those of `MsalCredential`."""
        super().__init__(tenant, client_id, scope, **options)
        self.certificate_file = Path(certificate_file)
        self._passphrase = passphrase

    def _client_credential(self) -> dict[str, Any]:
        passphrase = {"passphrase": self._passphrase} if self._passphrase else {}
        if self.certificate_file.suffix.lower() in {".pfx", ".p12"}:
            return {"private_key_pfx_path": str(self.certificate_file), **passphrase}
        blocks = {m[1]: m[0] for m in _PEM_BLOCK.finditer(self.certificate_file.read_text("ascii"))}
        key = next((text for kind, text in blocks.items() if kind.endswith("PRIVATE KEY")), None)
        if key is None or "CERTIFICATE" not in blocks:
            raise CredentialError(
                f"{self.certificate_file} needs a private key and a certificate, both as PEM, or must be a .pfx"
            )
        return {"private_key": key, "public_certificate": blocks["CERTIFICATE"], **passphrase}


class DeviceCode(MsalCredential):
    """A person, who opens a page elsewhere and types a code. `prompt` gets Entra's words for that (default: to stderr).

    Tokens, the refresh token among them, are kept in `cache_file` (mode 0600, replaced whole), so the next process
    asks nobody. With `interactive=False` only the cache is used, and CredentialError says to log in.
    """

    def __init__(
        self,
        tenant: str,
        client_id: str,
        scope: str,
        *,
        cache_file: str | Path | None = None,
        prompt: Callable[[str], None] | None = None,
        interactive: bool = True,
        **options: Any,
    ) -> None:
        """`scope` is one delegated scope, as `api://scoregate/Models.Score`; options are those of `MsalCredential`."""
        super().__init__(tenant, client_id, **options)
        self.scope = scope
        self.cache_file = Path(cache_file) if cache_file else None
        self._prompt = prompt or _to_stderr
        self._interactive = interactive
        self._cache: Any = None

    def _build(self, options: dict[str, Any]) -> Any:
        import msal  # noqa: PLC0415

        self._cache = msal.SerializableTokenCache()
        if self.cache_file:
            self._cache.deserialize(_read_cache(self.cache_file))
        return msal.PublicClientApplication(self.client_id, token_cache=self._cache, **options)

    def _acquire(self, app: Any, *, force: bool = False) -> Mapping[str, Any]:
        found: Mapping[str, Any] | None = None
        for account in app.get_accounts():
            found = app.acquire_token_silent([self.scope], account, force_refresh=force)
            if found:
                break
        if not found:
            found = self._ask(app)
        if self.cache_file and self._cache.has_state_changed:
            write_private(self.cache_file, self._cache.serialize())
        return found

    def _acquire_again(self, app: Any) -> Mapping[str, Any]:
        return self._acquire(app, force=True)

    def _ask(self, app: Any) -> Mapping[str, Any]:
        if not self._interactive:
            raise CredentialError("nobody is logged in; run `scoregate token --device` once")
        flow = app.initiate_device_flow([self.scope])
        if "user_code" not in flow:
            return dict(flow)
        self._prompt(str(flow["message"]))
        answer: Mapping[str, Any] = app.acquire_token_by_device_flow(flow)
        return answer


def _session(verify: str | bool, timeout_s: float) -> Any:
    """What MSAL would make for itself, but for one thing: `verify` is heard.

    requests lets REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE win over a session's `verify`, so where those are set a CA file
    given to MSAL is not used. Proxies are taken from the environment as usual.
    """
    import requests  # noqa: PLC0415
    from requests.adapters import HTTPAdapter  # noqa: PLC0415

    class Session(requests.Session):
        def merge_environment_settings(self, *arguments: Any, **named: Any) -> Any:
            settings = super().merge_environment_settings(*arguments, **named)
            return {**settings, "verify": verify} if verify is not True else settings

        def request(self, *arguments: Any, **named: Any) -> requests.Response:
            return super().request(*arguments, **{"timeout": timeout_s, **named})

    session = Session()
    session.mount("https://", HTTPAdapter(max_retries=1))
    return session


def authority_url(authority: str, tenant: str) -> str:
    """The authority of a tenant: `{tenant}` filled in, or the tenant added where the URL has no path."""
    if "{tenant}" in authority:
        return authority.replace("{tenant}", tenant)
    return authority if urlsplit(authority).path.strip("/") else f"{authority.rstrip('/')}/{tenant}"


def write_private(path: Path, text: str) -> None:
    """Replaces a file whole, readable by its owner alone (0600, in a folder made 0700 if it is new)."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _read_cache(path: Path) -> str:
    """The cache as text, or nothing if it is not there or damaged: it then only has to be filled again."""
    try:
        text = path.read_text("utf-8")
        return text if isinstance(json.loads(text), dict) else ""
    except (OSError, ValueError):
        return ""


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _token_of(answer: Mapping[str, Any] | None) -> str:
    if answer and "access_token" in answer:
        return str(answer["access_token"])
    error = (answer or {}).get("error", "no answer")
    description = str((answer or {}).get("error_description", "")).splitlines()
    raise CredentialError(f"no token: {error}{': ' + description[0] if description else ''}")


@contextlib.contextmanager
def _as_credential_errors(authority: str) -> Any:
    """MSAL lets requests' exceptions, its own and those of half an answer through; all are "no token" here."""
    try:
        yield
    except CredentialError:
        raise
    except Exception as error:
        from msal.exceptions import MsalError  # noqa: PLC0415

        if not isinstance(error, (MsalError, OSError, ValueError, KeyError, AttributeError)):  # requests' are OSErrors
            raise
        first = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise CredentialError(f"no token from {authority}: {first}") from error
