"""Which gateway the command talks to, and as whom: from options, from the environment, or from a local stack's state.

The variables are named here; typer reads them for the command, `Connection.from_environment` for other programs.
"""

from __future__ import annotations

import hashlib
import ssl
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from client.client import Client
from client.credentials import ClientCertificate, ClientSecret, Credential, DeviceCode, StaticToken
from client.errors import ClientError, CredentialError

#: Where `python -m devkit` works: the checkout this package stands in.
CHECKOUT = Path(__file__).resolve().parent.parent
#: The variable of each option; a test holds docs/reference/cli.md against it.
VARIABLES: Mapping[str, str] = {
    name: f"SCOREGATE_{name.upper()}"
    for name in (
        "url",
        "stack",
        "token",
        "tenant",
        "client_id",
        "client_secret",
        "client_secret_file",
        "certificate_file",
        "certificate_passphrase",
        "device",
        "scope",
        "authority",
        "ca_file",
        "allow_plain_http",
        "cache_dir",
    )
}
_TRUE = frozenset({"1", "true", "yes", "on"})
DEFAULT_SCOPE = "api://scoregate/.default"
STACK_ANSWER_S = 30.0


class UsageError(ClientError):
    """Options that do not fit together, or a file that is not what it should be: exit code 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The connection options as given; None where they were not."""

    url: str | None = None
    stack: str | None = None
    app: str | None = None
    token: str | None = field(default=None, repr=False)
    tenant: str | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    client_secret_file: Path | None = None
    certificate_file: Path | None = None
    certificate_passphrase: str | None = field(default=None, repr=False)
    scope: str | None = None
    authority: str | None = None
    ca_file: Path | None = None
    cache_dir: Path = Path("~/.cache/scoregate")
    device: bool = False
    allow_plain_http: bool = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Connection:
        """The same by variables alone, for programs; empty ones count as absent."""
        given: dict[str, Any] = {name: environ[v] for name, v in VARIABLES.items() if environ.get(v)}
        for name in ("client_secret_file", "certificate_file", "ca_file", "cache_dir"):
            if name in given:
                given[name] = Path(given[name])
        for name in ("device", "allow_plain_http"):
            if name in given:
                given[name] = given[name].lower() in _TRUE
        return cls(**given)

    def client(self, credential: Credential | None = None, **options: Any) -> Client:
        """A client for these options, as `credential()` unless given. Raises UsageError that says what is missing."""
        url, verify = self.where()
        try:
            return Client(
                url,
                credential=credential or self.credential(),
                verify=verify,
                allow_plain_http=self.allow_plain_http,
                **options,
            )
        except ValueError as error:
            raise UsageError(str(error)) from error

    def where(self) -> tuple[str, ssl.SSLContext | bool]:
        """The gateway's URL and whom to trust there: the system's CAs, and `ca_file` too."""
        if self.url:
            return self.url, self.trust()
        if self.stack:
            return stack_state(self.stack).gateway_url or "", True
        raise UsageError("which gateway? Give --url (SCOREGATE_URL), or --stack dev for one started by ./dev up")

    def store(self) -> str | None:
        """The model store of a local stack, where `--stack` names one; nobody else says where theirs is."""
        return stack_state(self.stack).store if self.stack and not self.url else None

    def trust(self) -> ssl.SSLContext | bool:
        """The system's CAs and `ca_file`'s. Raises UsageError for a file that has none."""
        if self.ca_file is None:
            return True
        context = ssl.create_default_context()
        try:
            context.load_verify_locations(self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"{self.ca_file} cannot be used as a CA file: {error}") from error
        return context

    def credential(self) -> Credential:
        """Who asks. A token given goes first, then a local stack's, then a secret, a certificate, a person."""
        if self.token:
            return StaticToken(self.token.strip())
        if self.stack:
            return StackToken(self.stack, self.app)
        if not self.tenant or not self.client_id:
            raise UsageError(
                "as whom? Give --tenant and --client-id with a secret (SCOREGATE_CLIENT_SECRET or "
                "--client-secret-file), a certificate, or --device to log in yourself; or a token (SCOREGATE_TOKEN)"
            )
        options: dict[str, Any] = {"authority": self.authority}
        if self.ca_file and self.authority and not _is_microsoft(self.authority):
            options["verify"] = str(self.ca_file)  # a private authority; Microsoft's own needs no CA of ours
        secret = self._secret()
        try:
            if secret and not self.device:
                return ClientSecret(self.tenant, self.client_id, secret, self._scope(), **options)
            if self.certificate_file and not self.device:
                return ClientCertificate(
                    self.tenant,
                    self.client_id,
                    self.certificate_file,
                    self._scope(),
                    passphrase=self.certificate_passphrase,
                    **options,
                )
            return DeviceCode(
                self.tenant,
                self.client_id,
                self._scope("api://scoregate/Models.Score"),
                cache_file=self._cache_file(),
                interactive=self.device or sys.stderr.isatty(),
                **options,
            )
        except ValueError as error:
            raise UsageError(str(error)) from error

    def _scope(self, default: str = DEFAULT_SCOPE) -> str:
        return self.scope or default

    def _secret(self) -> str | None:
        if self.client_secret_file is None:
            return self.client_secret
        try:
            return self.client_secret_file.read_text("utf-8").strip()
        except OSError as error:
            raise UsageError(f"cannot read the secret: {error.strerror}: {self.client_secret_file}") from error

    def _cache_file(self) -> Path:
        """One file for each way to log in, so that two authorities on one host are not taken for one."""
        who = "\n".join((self.authority or "", self.tenant or "", self.client_id or "", self.scope or ""))
        return self.cache_dir.expanduser() / f"tokens-{hashlib.sha256(who.encode()).hexdigest()[:16]}.json"


def _is_microsoft(authority: str) -> bool:
    from msal.authority import WELL_KNOWN_AUTHORITY_HOSTS  # noqa: PLC0415

    return urlsplit(authority).hostname in WELL_KNOWN_AUTHORITY_HOSTS


# --- a stack on this machine


class StackState(msgspec.Struct):
    """What is read of `python -m devkit status --json`."""

    gateway_url: str | None = None
    gateway_internal_urls: list[str] = []
    scorer_internal_urls: list[str] = []
    store: str | None = None


def is_checkout() -> bool:
    """Whether this runs from one; an installed client has a devkit beside it, but no ./dev."""
    return (CHECKOUT / "devkit").is_dir() and CHECKOUT.name not in {"site-packages", "dist-packages"}


def devkit(*arguments: str) -> list[str]:
    """The command line of `./dev …` for the Python that runs this."""
    return [sys.executable, "-m", "devkit", *arguments]


def _run_devkit(*arguments: str) -> str:
    if not is_checkout():
        raise UsageError("--stack needs a checkout of scoregate (it runs ./dev); use --url elsewhere")
    try:
        done = subprocess.run(
            devkit(*arguments), cwd=CHECKOUT, capture_output=True, text=True, timeout=STACK_ANSWER_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ClientError(f"./dev {arguments[0]} gave no answer in {STACK_ANSWER_S:g} s") from error
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no reason given"]
        raise UsageError(f"./dev {' '.join(arguments)}: {last[0]}")
    return done.stdout


def stack_state(name: str) -> StackState:
    """Where a local stack is. Raises UsageError if it does not run."""
    try:
        state = msgspec.json.decode(_run_devkit("status", "--json", "--name", name), type=StackState)
    except msgspec.MsgspecError as error:
        raise ClientError(f"./dev status --json --name {name} did not answer with JSON") from error
    if not state.gateway_url:
        raise UsageError(f"no stack {name!r} runs here; start it with: ./dev up --detach --name {name}")
    return state


class StackToken:
    """Tokens of a local stack's identity stand-in, got through MSAL by `./dev token`."""

    def __init__(self, stack: str, app: str | None = None) -> None:
        """`app` is one of the stand-in's applications; None is the one with every role."""
        self._lock = threading.Lock()
        self._arguments = ("token", "--name", stack, *(("--app", app) if app else ()))
        self._token: str | None = None

    def __repr__(self) -> str:
        return f"StackToken({' '.join(self._arguments[1:])})"

    def token(self) -> str:
        """The token, got once."""
        with self._lock:
            if self._token is None:
                self._token = self._fetch()
            return self._token

    def renew(self, stale: str) -> str | None:
        """A new one."""
        with self._lock:
            if self._token == stale:
                self._token = self._fetch()
            return self._token

    def _fetch(self) -> str:
        try:
            return _run_devkit(*self._arguments).strip().splitlines()[-1]
        except (UsageError, IndexError) as error:
            raise CredentialError(str(error) or "./dev token printed nothing") from error
