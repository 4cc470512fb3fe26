"""The composition root: makes every part from the settings and puts them together. Nothing else knows all of them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from starlette.routing import Router
from starlette.types import ASGIApp

from gateway.core.claims import TokenRules
from gateway.core.coalesce import Coalescer
from gateway.core.contracts import Contracts
from gateway.core.crowd import Crowd
from gateway.core.losses import Losses
from gateway.core.policy import Policy
from gateway.core.policy_file import read_policy
from gateway.metrics import Metrics
from gateway.middleware.errors import Errors
from gateway.routes.dispatch import Dispatch
from gateway.routes.docs import docs_routes
from gateway.routes.door import Door
from gateway.routes.entry import Entry
from gateway.routes.internal import internal_app
from gateway.routes.pipeline import Pipeline
from gateway.routes.v1 import Score, V1Form, v1_routes
from gateway.routes.v2 import V2Form, v2_routes
from gateway.settings import PREFIX, GatewaySettings
from gateway.shell.admit import Admission
from gateway.shell.authenticate import Authenticator
from gateway.shell.coalesce import Forwarder, Waiting
from gateway.shell.edge import EdgeLimiter
from gateway.shell.keys import EntraKeys, Outcome, discovery_urls, entra_client
from gateway.shell.limits_redis import RedisCounterStore
from gateway.shell.pods import PodClient
from gateway.shell.redis_login import EntraLogin, msal_source
from shared.internal_token import load_private_key
from shared.tracing_settings import tracer_of

if TYPE_CHECKING:
    from gateway.shell.tracing import RequestTracing

log = structlog.get_logger(__name__)
#: Between two looks at what waits.
TICK_S = 0.25


@dataclass(frozen=True, slots=True)
class Parts:
    """Stages of another make, for tests and for benchmarks of what a stage costs (`load_tests/bench/without.py`).

    No setting leads here: `python -m gateway` always has its own.
    """

    authenticator: Authenticator | None = None
    admission: Admission | None = None
    contracts: Contracts | None = None


class Gateway:
    """One process' gateway: two ASGI apps and what runs behind them. `start` and `close` once each, in one event loop."""

    def __init__(self, settings: GatewaySettings, policy: Policy, parts: Parts | None = None) -> None:
        parts = parts or Parts()
        self.metrics = Metrics()
        self.draining = False
        self._ticking: asyncio.Task[None] | None = None
        self._said: tuple[str, frozenset[str]] | None = None
        with _said_of("CA_FILE"):
            self._keys_client = entra_client(settings.ca_file)
        self._keys = EntraKeys(
            discovery_urls(settings.authority, settings.tenants), self._keys_client, on_fetch=self._on_fetch
        )
        rules = TokenRules.of(
            authority=settings.authority,
            tenants=settings.tenants,
            audiences=settings.audiences,
            issuers=settings.issuers,
            admission=policy.admission,
        )
        self._admission = parts.admission or Admission(counter_store(settings), observer=self.metrics)
        self._contracts = parts.contracts or Contracts(settings.max_rows)
        with _said_of("INTERNAL_KEY_FILE"):
            key = load_private_key(Path(settings.internal_key_file).read_bytes())
        self._pods = PodClient(
            settings.scorer_urls,
            key,
            name=f"gateway@{socket.gethostname()}",
            poll_s=settings.catalogue_poll_s,
            on_change=self._on_catalogue,
        )
        coalescer: Coalescer[Waiting] = Coalescer(
            slots=1, max_batch_rows=settings.max_batch_rows, max_waiting_rows=settings.max_waiting_rows
        )
        self._tracing = request_tracing(settings)
        losses = Losses(settings.lost_r_s)
        self._forwarder = Forwarder(self._pods, coalescer, self.metrics.batch, self._departed, losses, self._tracing)
        self.entry = Entry(
            settings,
            policy,
            parts.authenticator or Authenticator(self._keys, rules),
            self._admission,
            EdgeLimiter(
                settings.trusted_proxies,
                failures=settings.failed_logins,
                pages=settings.public_pages,
                reads=settings.catalogue_reads,
            ),
            self._pods,
            self._contracts,
            self._forwarder,
            self.metrics,
        )
        self.pipeline = Pipeline(settings, self.entry, self._admission, self._forwarder, self.metrics, self._tracing)
        routes = [
            *v1_routes(self.entry, self.pipeline),
            *v2_routes(self.entry, self.pipeline, self.unready),
            *docs_routes(self.entry),
        ]
        router = Router(routes=routes, redirect_slashes=False)
        errors = Errors(Dispatch(router, scores(self.pipeline)))
        self.public: ASGIApp = errors
        self.crowd: Crowd[Any] = Crowd(settings.max_connections)
        self.door = Door(self.entry, self.metrics, errors.note)
        self.entry.on_turned_away = self.door.remember
        self.internal: ASGIApp = internal_app(self.metrics, self.unready, self._refresh)

    def _departed(self) -> None:
        """R works: what nobody waits for has its turn."""
        self._admission.hurry()
        self.metrics.settle()

    async def start(self) -> None:
        """Connect to everything. Nothing that is away stops the start: readiness says what is missing."""
        if self._admission_is_local:
            log.warning("gateway.limits.memory", reason="GATEWAY_REDIS_URL is not set: each process counts for itself")
        if self._tracing is not None:
            self._tracing.tracer.start()
        await self._keys.__aenter__()
        await self._admission.start()
        await self._pods.start()
        self._ticking = asyncio.create_task(self._tick(), name="tick")

    async def close(self) -> None:
        """Stop all that `start` started."""
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.wait({self._ticking})
        await self._forwarder.close()
        await self._pods.close()
        await self._admission.aclose()
        await self._keys.__aexit__(None, None, None)
        await self._keys_client.aclose()
        if self._tracing is not None:
            await self._tracing.tracer.close()

    def drain(self) -> None:
        """Readiness off: no new connections, please."""
        self.draining = True
        log.info("gateway.draining", in_flight=self.pipeline.in_flight)

    def unready(self) -> list[str]:
        """Why requests should not be sent here; empty when they may. Once ready, never unready for a neighbour."""
        reasons = ["draining"] if self.draining else []
        if not self._keys.ever_obtained:
            reasons.append("Entra ID's signing keys have not been obtained yet")
        if not self._pods.ever_had_catalogue:
            reasons.append("no scorer has told its catalogue yet")
        return reasons

    @property
    def _admission_is_local(self) -> bool:
        return self.pipeline.settings.redis_url is None

    async def _tick(self) -> None:
        while True:
            now = time.monotonic()
            self._forwarder.tick(now)
            await asyncio.sleep(TICK_S)

    def _refresh(self) -> None:
        self.metrics.demands(self._forwarder.coalescer.demand())
        self.metrics.in_flight.set(self.pipeline.in_flight)
        self.metrics.connections.set(len(self.crowd))
        self.metrics.keys_age.set(self._keys.age_s or 0)
        self.metrics.waiting_rows.set(self._forwarder.coalescer.waiting_rows)

    def _on_fetch(self, outcome: Outcome, kids: frozenset[str], detail: str) -> None:
        if (outcome, kids) == self._said:
            return
        self._said = (outcome, kids)
        if outcome == "ok":
            log.info("gateway.keys.fetched", keys=len(kids))
        else:
            log.warning("gateway.keys.fetch_failed", detail=detail, keys=len(kids))

    def _on_catalogue(self) -> None:
        served = [v for model in self._pods.index.models.values() for v in model.versions.values()]
        self._contracts.keep(v.entry for v in served)
        for v in served:
            if v.ready:
                self._contracts.of(v.entry)
        log.info(
            "gateway.catalogue",
            models={name: model.default for name, model in self._pods.index.models.items()},
            unready=[f"{v.entry.model}@{v.entry.version}" for v in served if not v.ready],
        )


@contextmanager
def _said_of(setting: str) -> Iterator[None]:
    """What is wrong with a file names the setting that names the file."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise ValueError(f"{PREFIX}{setting}: {error}") from error


def scores(pipeline: Pipeline) -> dict[tuple[str, str], ASGIApp]:
    """Who serves the scoring routes of which interface."""
    return {("v1", "score"): Score(pipeline, V1Form()), ("v2", "infer"): Score(pipeline, V2Form())}


def counter_store(settings: GatewaySettings) -> RedisCounterStore | None:
    """Where callers are counted together; None where each process counts for itself. Raises as `build` does."""
    if settings.redis_url is None:
        return None
    secret = settings.redis_password_file
    with _said_of("REDIS_PASSWORD_FILE"):
        password = Path(secret).read_text(encoding="utf-8").strip() if secret else None
    return RedisCounterStore(
        settings.redis_url, password=password, login=redis_login(settings), ca_file=settings.redis_ca_file
    )


def request_tracing(settings: GatewaySettings) -> RequestTracing | None:
    """The maker of traces, where a collector is named; the extra is imported for it alone. Raises ValueError without it."""
    if (tracer := tracer_of(settings)) is None:
        return None
    from gateway.shell.tracing import RequestTracing  # noqa: PLC0415

    return RequestTracing(tracer)


def redis_login(settings: GatewaySettings) -> EntraLogin | None:
    """The identity that Redis is told, where it is told one instead of a password. Raises ValueError for half of one."""
    if settings.redis_credentials != "entra":
        return None
    source = msal_source(
        authority=settings.azure_authority_host,
        tenant=settings.azure_tenant_id,
        client_id=settings.azure_client_id,
        token_file=settings.azure_federated_token_file,
    )
    return EntraLogin(source)


def build(settings: GatewaySettings, parts: Parts | None = None) -> Gateway:
    """A gateway from its settings, with `parts` in place of its own.

    Raises ValueError for a file that cannot be read or used.
    """
    path = Path(settings.policy_file)
    with _said_of("POLICY_FILE"):
        policy = read_policy(path.read_text(encoding="utf-8"), path.name)
    return Gateway(settings, policy, parts)
