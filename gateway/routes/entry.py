"""Who may come in: authenticate, authorise, precheck. All that is asked before a body is read, for every route and for the door.

What is the same for each request of a caller for a model version is resolved once (`Asked`). Nothing here reads a body or charges a
limit, and a refusal leaves nothing to be undone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from starlette.requests import Request
from starlette.types import Scope

from gateway.core.caller import Caller
from gateway.core.catalogue import Index, Model, Served
from gateway.core.coalesce import Place
from gateway.core.contract import Contract
from gateway.core.contracts import Contracts
from gateway.core.heads import Heads, Known, Sent
from gateway.core.policy import Grant, Policy
from gateway.core.shares import Shares
from gateway.core.windows import FEW, Windows
from gateway.metrics import Metrics
from gateway.settings import GatewaySettings
from gateway.shell.admit import Admission
from gateway.shell.authenticate import Authenticator
from gateway.shell.coalesce import Forwarder
from gateway.shell.edge import EdgeLimiter
from gateway.shell.pods import PodClient
from shared.deadline import parse_timeout_ms
from shared.errors import (
    MalformedRequestError,
    NotFoundError,
    OverloadedError,
    ScoregateError,
    UnauthenticatedError,
)
from shared.messages import ALONE

#: Of a model's name and of a version: no longer one exists, and messages repeat what was asked for.
MAX_NAME = 63
#: Of what `authorise` remembers.
MAX_ASKED = 10_000
#: Of the time it has, what a request may have waited when it is first looked at, if its caller has many in flight.
LOOKED_AT = 0.2


@dataclass(frozen=True, slots=True)
class Asked:
    """A caller's grant for a model version, and all else that is the same for each of its requests."""

    caller: Caller
    grant: Grant
    served: Served
    contract: Contract
    place: Place
    own_place: Place  # among the caller's own requests only
    pods: Callable[[], frozenset[str]]


def too_many() -> OverloadedError:
    """What a request is refused with for which there is no place in this process."""
    return OverloadedError("this gateway has as many requests in flight as it takes; try again", retry_after_ms=1000)


def _check_names(model: str, version: str | None) -> None:
    if len(model) > MAX_NAME or len(version or "") > MAX_NAME:
        raise NotFoundError(f"there is no model or version of that name: they have at most {MAX_NAME} characters")


class Entry:
    """The way in to one gateway process, composed by `gateway.app`."""

    def __init__(
        self,
        settings: GatewaySettings,
        policy: Policy,
        authenticator: Authenticator,
        admission: Admission,
        edge: EdgeLimiter,
        pods: PodClient,
        contracts: Contracts,
        forwarder: Forwarder,
        metrics: Metrics,
    ) -> None:
        self.settings = settings
        self.policy = policy
        self.authenticator = authenticator
        self.admission = admission
        self.edge = edge
        self.pods = pods
        self.contracts = contracts
        self.forwarder = forwarder
        self.metrics = metrics
        #: The requests that are in, by caller; and how many of a caller's can be answered in time.
        self.shares = Shares(settings.max_in_flight)
        self.windows = Windows(settings.max_in_flight)
        self.heads = Heads()
        #: Told of each request that was refused before its body was read: its Authorization, its target, and what it asked for.
        self.on_turned_away: Callable[[bytes, bytes, Asked], None] = lambda *_: None
        #: By caller, model and version, as asked for under the index that they are of.
        self._asked: dict[tuple[Caller, str, str | None], Asked] = {}
        self._asked_of: Index | None = None

    @property
    def index(self) -> Index:
        """What the pods serve."""
        return self.pods.index

    async def authenticate(self, scope: Scope, headers: dict[bytes, bytes], digest: bytes | None = None) -> Caller:
        """The caller; a failure counts against the address it came from, a success never does. `digest`: of the token, if known."""
        caller = None if digest is None else self.authenticator.recall(digest)
        try:
            if caller is None:
                caller = await self.authenticator.authenticate(headers.get(b"authorization"))
        except UnauthenticatedError as error:
            self.metrics.authentications.labels(error.reason).inc()
            address = self.edge.client_address(scope)
            self.edge.check_failed(address)
            self.edge.failed(address)
            raise
        scope["state"]["caller"] = caller.key  # for the log of a refusal
        return caller

    async def identify(self, scope: Scope) -> tuple[Caller, dict[bytes, bytes]]:
        """The caller, and the fields of the head, which may be known."""
        known: Known | None = scope["state"].get("known")
        if known is None:
            headers = dict(scope["headers"])
            return await self.authenticate(scope, headers), headers
        sent: Sent = scope["state"]["sent"]
        headers = {**known.headers, b"authorization": sent.authorization}
        return await self.authenticate(scope, headers, sent.digest), headers

    async def reader(self, request: Request) -> Caller:
        """The caller of a route that shows what there is; raises TooManyRequestsError for one who looks too often."""
        caller = await self.authenticate(request.scope, dict(request.scope["headers"]))
        self.edge.read(caller.key)
        return caller

    def authorise(self, caller: Caller, model: str, version: str | None) -> Asked:
        """The grant, and the version that will answer: resolved once, here. Remembered until the index changes."""
        if self._asked_of is not self.pods.index or len(self._asked) >= MAX_ASKED:
            self._asked_of = self.pods.index
            self._asked.clear()
        asked = self._asked.get((caller, model, version))
        if asked is None:
            _check_names(model, version)
            grant = self.policy.authorise(caller, model, known=model in self.index.models)
            asked = self._asked[caller, model, version] = self._resolve(caller, grant, self.index.find(model, version))
        return asked

    def _resolve(self, caller: Caller, grant: Grant, served: Served) -> Asked:
        entry, rules = served.entry, grant.rules
        model, version, digest = entry.model, entry.version, entry.digest

        def pods() -> frozenset[str]:
            models = self.pods.index.models
            now = models[model].versions.get(version) if model in models else None
            if now is None:  # retracted meanwhile: pods go on serving it for those it was promised to
                return served.pods
            return now.pods if now.entry.digest == digest else frozenset()

        lane, group = (model, version, digest), (model, version)
        off = rules.coalesce == "off"
        alone = off or not entry.batchable
        share = sha256(caller.key.encode()).hexdigest()[:32]  # who it is does not concern the scorer
        own = Place((*lane, caller.key), group, caller.key, alone, ALONE if off else share)
        shared = own if rules.coalesce == "own" else Place(lane, group, caller.key, alone, ALONE if off else "")
        return Asked(caller, grant, served, self.contracts.of(entry, rules.max_rows), shared, own, pods)

    def model(self, caller: Caller, name: str) -> Model:
        """A model that the caller may score, to be shown."""
        _check_names(name, None)
        self.policy.authorise(caller, name, known=name in self.index.models)
        return self.index.models[name]

    def may_enter(self, asked: Asked, began_s: float, allowed_s: float, entering: int = 0) -> None:
        """Raise what a request is refused with before its body is read. It began then, and has so many seconds.

        `entering`: so many of the same caller's were let in and have not come here yet. Of a caller with many in flight, what has
        waited for long only to be looked at would wait for long at each further step, too.
        """
        key = asked.caller.key
        held = self.shares.held(key) + entering
        if not self.shares.fits(key, 1 + entering):
            raise too_many()
        self.admission.precheck(key, asked.grant.limits)
        waited_s = time.monotonic() - began_s
        if waited_s > (allowed_s if held < FEW else LOOKED_AT * allowed_s):
            raise OverloadedError(
                "this gateway is too busy to answer within the time that this request allows; try again",
                retry_after_ms=1000,
            )
        if not self.windows.fits(key, held, allowed_s):
            raise OverloadedError(
                "this gateway has as many requests of yours as it can answer in time; try again", retry_after_ms=1000
            )
        self.forwarder.check(asked.place, began_s + allowed_s)

    def enter(self, asked: Asked, scope: Scope, headers: dict[bytes, bytes], began_s: float, allowed_s: float) -> None:
        """`may_enter`, and whoever wants to know is told if not."""
        try:
            self.may_enter(asked, began_s, allowed_s)
        except ScoregateError:
            query = scope["query_string"]
            target = scope.get("raw_path", b"") + (b"?" + query if query else b"")
            self.on_turned_away(headers.get(b"authorization", b""), target, asked)
            raise

    def timeout_ms(self, text: bytes | None, grant: Grant) -> int:
        """What the client allows (`X-Request-Timeout-Ms`), or the default. Raises MalformedRequestError for what is no time."""
        if text is None:
            return grant.rules.timeout_ms or self.settings.default_timeout_ms
        try:
            return parse_timeout_ms(text.decode("latin-1"))
        except ValueError as error:
            raise MalformedRequestError(f"X-Request-Timeout-Ms {error}") from error

    def learn(self, scope: Scope) -> None:
        """It was answered with 200: its head need not be parsed again."""
        sent: Sent | None = scope["state"].get("sent")
        if sent is not None:
            self.heads.learn(sent, dict(scope))
