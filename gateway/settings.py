"""The gateway's settings: the only reader of its environment. docs/reference/settings.md is held against this file by a test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from shared.settings import Doc, refuse
from shared.tracing_settings import (
    OtelCertificate,
    OtelEndpoint,
    OtelSampler,
    OtelSamplerRatio,
    OtelServiceName,
    endpoint_mistakes,
)

PREFIX = "GATEWAY_"
Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=3600)]
Count = Annotated[int, Meta(ge=1)]
_HOST = r"(?:[A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?"
_SCORER_URL = re.compile(rf"https?://{_HOST}/?")
_REDIS_URL = re.compile(rf"rediss?(?:\+cluster)?://(?:.*@)?{_HOST}(?:/[0-9]*)?(?:\?.*)?|unix://(?:.*@)?/[^?]+(?:\?.*)?")
_RATE = re.compile(r"[1-9][0-9]*/(?:second|minute|hour|day)")


class GatewaySettings(Struct, frozen=True, kw_only=True):
    """Every setting, in the order of the reference. Paths are read at start.

    Secrets are in files, but for the password that `redis_url` may hold: a user and a password show in no `repr`.
    """

    host: Annotated[str, Doc("Address of the public port.")] = "127.0.0.1"
    port: Annotated[Port, Doc("Public port; 0 picks a free one.")] = 8080
    internal_host: Annotated[str, Doc("Address of the internal port: /healthz, /readyz, /metrics.")] = "127.0.0.1"
    internal_port: Annotated[Port, Doc("Internal port; 0 picks a free one. Further processes always pick one.")] = 9090
    workers: Annotated[Annotated[int, Meta(ge=1, le=64)], Doc("Processes on the public port (SO_REUSEPORT).")] = 1
    reuse_port: Annotated[bool, Doc("Share the public port with other gateway processes of this machine.")] = False

    scorer_urls: Annotated[
        tuple[str, ...], Doc("Scorers, comma-separated; every address behind a name is a pod of its own.")
    ]
    internal_key_file: Annotated[str, Doc("PEM file with the Ed25519 private key that signs calls to the scorer.")]
    policy_file: Annotated[str, Doc("The policy: who may score what, and how much of it (YAML).")]
    catalogue_poll_s: Annotated[Seconds, Doc("How often each pod is asked for its model versions, in seconds.")] = 2.0

    tenants: Annotated[tuple[str, ...], Doc("Entra tenant ids whose tokens are taken, comma-separated.")]
    audiences: Annotated[tuple[str, ...], Doc("Audiences taken: the App ID URI and the client id, comma-separated.")]
    authority: Annotated[str, Doc("Entra's address: discovery and keys.")] = "https://login.microsoftonline.com"
    issuers: Annotated[
        tuple[str, ...], Doc("Issuer templates with {tid}; none means both forms of `authority`'s cloud.")
    ] = ()
    ca_file: Annotated[
        str | None, Doc("PEM file of the CA that signed the authority's certificate, if not public.")
    ] = None

    redis_url: Annotated[
        str | None,
        Doc("Where limits are counted; none counts in each process' own memory, which is not exact for several."),
    ] = None
    redis_password_file: Annotated[
        str | None, Doc("File with Redis' password, so that the URL need not hold it; a user's name stays there.")
    ] = None
    redis_credentials: Annotated[
        Literal["url", "entra"],
        Doc(
            "url: as the URL and the password file say; entra: as this gateway's own Entra identity (Azure Managed Redis)."
        ),
    ] = "url"
    redis_ca_file: Annotated[
        str | None, Doc("PEM file of the CA that signed Redis' certificate, if not public; with `rediss://` only.")
    ] = None
    azure_client_id: Annotated[
        str | None, Doc("That identity's client id. AKS sets this and the next three in a pod.", env="AZURE_CLIENT_ID")
    ] = None
    azure_tenant_id: Annotated[str | None, Doc("Its tenant.", env="AZURE_TENANT_ID")] = None
    azure_federated_token_file: Annotated[
        str | None,
        Doc("A workload identity's file; none: the machine's managed identity.", env="AZURE_FEDERATED_TOKEN_FILE"),
    ] = None
    azure_authority_host: Annotated[str, Doc("Entra's address for it.", env="AZURE_AUTHORITY_HOST")] = (
        "https://login.microsoftonline.com/"
    )
    trusted_proxies: Annotated[tuple[str, ...], Doc("Networks (CIDR) whose X-Forwarded-For is believed.")] = ()
    failed_logins: Annotated[
        str, Doc("Failed authentications per address before 429, as N/second, minute, hour or day.")
    ] = "600/minute"
    public_pages: Annotated[str, Doc("Requests for the docs page per address, as N/second, minute, hour or day.")] = (
        "600/minute"
    )

    catalogue_reads: Annotated[
        str, Doc("Reads of the catalogue per caller and process, as N/second, minute, hour or day.")
    ] = "6000/minute"

    max_body_bytes: Annotated[Count, Doc("Largest request body, also after gunzip, in bytes.")] = 16 * 1024 * 1024
    max_rows: Annotated[Count, Doc("Most rows in one request.")] = 100_000
    max_buffered_bytes: Annotated[
        Count, Doc("Bytes of all request bodies being read in one process; beyond that they are answered 503.")
    ] = 256 * 1024 * 1024
    body_timeout_s: Annotated[Seconds, Doc("Time a request body may take to arrive, in seconds.")] = 20.0
    default_timeout_ms: Annotated[
        Annotated[int, Meta(ge=50, le=60_000)], Doc("Time to answer when the client names none, in milliseconds.")
    ] = 10_000
    max_connections: Annotated[
        Count,
        Doc(
            "Open connections of one process on the public port; more are answered 503 and closed, unless an idle one can go."
        ),
    ] = 10_000
    max_in_flight: Annotated[Count, Doc("Requests in one process at once; more are answered 503.")] = 2_000
    max_batch_rows: Annotated[Count, Doc("Most rows that requests of one model version are gathered to.")] = 4_096
    max_waiting_rows: Annotated[
        Count,
        Doc(
            "Most rows that may wait for a scorer; more are answered 503. Each KiB of a request counts as a row at least."
        ),
    ] = 200_000

    lost_r_s: Annotated[
        Seconds,
        Doc(
            "Seconds of R per minute that a caller's rows may cost a version by crashes and hangs; beyond, it is answered 429."
        ),
    ] = 6.0

    drain_delay_s: Annotated[
        Annotated[float, Meta(ge=0, le=300)],
        Doc("After SIGTERM: unready but still serving, in seconds, so that routing follows."),
    ] = 0.0
    drain_s: Annotated[
        Seconds, Doc("After that: the longest wait for requests in flight, in seconds; one may last 60.")
    ] = 65.0
    log_format: Annotated[Literal["json", "console"], Doc("json or console.")] = "json"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Doc("debug, info, warning or error.")] = "info"
    otel_endpoint: OtelEndpoint = None
    otel_certificate: OtelCertificate = None
    otel_service_name: OtelServiceName = "scoregate-gateway"
    otel_sampler: OtelSampler = "parentbased_always_on"
    otel_sampler_ratio: OtelSamplerRatio = 1.0

    def __post_init__(self) -> None:
        refuse(self._mistakes())

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Names and values, of an address of Redis without what stands before its host or in its query."""
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        if self.redis_url:
            shown["redis_url"] = _masked(self.redis_url)
        return list(shown.items())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def _mistakes(self) -> Iterator[str]:
        """Rules of one setting that a type cannot say, and of several."""
        for url in self.scorer_urls:
            if not _SCORER_URL.fullmatch(url):
                yield f"{PREFIX}SCORER_URLS: {_masked(url)!r} must be http:// or https://, a host and perhaps a port, and no more"
        for name, rate in (
            ("FAILED_LOGINS", self.failed_logins),
            ("PUBLIC_PAGES", self.public_pages),
            ("CATALOGUE_READS", self.catalogue_reads),
        ):
            if not _RATE.fullmatch(rate):
                yield f"{PREFIX}{name}: {rate!r} must be N/second, N/minute, N/hour or N/day, with N from 1"
        for network in self.trusted_proxies:
            try:
                ip_network(network, strict=False)
            except ValueError as error:
                yield f"{PREFIX}TRUSTED_PROXIES: {network!r} is no address and no CIDR range: {error}"
        if not self.authority.startswith("https://"):
            yield f"{PREFIX}AUTHORITY must begin with https://: keys over plain HTTP could be anyone's"
        redis_url = self.redis_url or ""
        if redis_url and not _REDIS_URL.fullmatch(redis_url):
            yield (
                f"{PREFIX}REDIS_URL must be redis://, rediss://, redis+cluster:// or rediss+cluster://, a host and perhaps a port "
                "and a database's number, or unix:// and a path; percent-encode what is special in a password"
            )
        if self.redis_credentials == "entra":
            if not redis_url.startswith("rediss"):
                yield (
                    f"{PREFIX}REDIS_CREDENTIALS=entra needs a {PREFIX}REDIS_URL that begins with rediss: a token is a password"
                )
            if self.redis_password_file or "@" in redis_url:
                yield (
                    f"{PREFIX}REDIS_CREDENTIALS=entra: then there is no {PREFIX}REDIS_PASSWORD_FILE, "
                    f"and no user or password in {PREFIX}REDIS_URL"
                )
        if self.redis_ca_file and not redis_url.startswith("rediss"):
            yield f"{PREFIX}REDIS_CA_FILE is of use only with a {PREFIX}REDIS_URL that begins with rediss"
        yield from endpoint_mistakes(self.otel_endpoint)
        for name, values in (
            ("SCORER_URLS", self.scorer_urls),
            ("TENANTS", self.tenants),
            ("AUDIENCES", self.audiences),
        ):
            if not values:
                yield f"{PREFIX}{name} is empty"


def _masked(url: str) -> str:
    return re.sub(r"\?.*", "?***", re.sub(r"//.*@", "//***@", url))
