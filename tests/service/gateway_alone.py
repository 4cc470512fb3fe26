"""A real gateway on a real socket with scorers that are a page of Python: for what a scorer's time, fate and words do to callers.

Callers name themselves: `Authorization: Bearer NAME` is who they are. Limits are in memory; there are none unless a test says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from joserfc.jwk import OKPKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.app import Gateway, Parts
from gateway.core.caller import Caller
from gateway.core.policy import GrantRule, Policy
from gateway.server import protocol
from gateway.settings import GatewaySettings
from gateway.shell.authenticate import Authenticator
from shared import serving
from shared.catalogue import Catalogue, VersionEntry
from shared.messages import HEADER_LENGTH, SHARE_HEADER, ItemError, decode_request, encode_response
from shared.signature import Field, Signature, Type
from shared.stages import TIMES_HEADER, Times
from shared.wire import Frame, pack_frame, tensor_specs, unpack_frame

INPUTS = (Field(name="x", type=Type.DOUBLE),)
OUTPUTS = (Field(name="prediction", type=Type.DOUBLE, nullable=True),)
SIGNATURE = Signature(inputs=INPUTS, outputs=OUTPUTS)


def entry(name: str, **more: Any) -> VersionEntry:
    return VersionEntry(model=name, version="1", state="ready", digest=name, signature=SIGNATURE, **more)


@dataclass
class FakePod:
    """Doubles every number, each run after `takes_s(model, rows)`; says of that what `times` makes of it."""

    models: Sequence[str] = ("m",)
    workers: int = 2
    takes_s: Callable[[str, int], float] = lambda _model, _rows: 0.0
    times: Callable[[float], Times] = lambda took_s: Times(0.0, took_s)
    url: str = ""
    calls: list[tuple[str, list[int]]] = field(default_factory=list)
    batchable: bool = True
    shares: list[str] = field(default_factory=list)  # with whom each call may share a run

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/internal/catalogue", self._catalogue),
                Route("/v2/models/{model}/versions/{version}/infer", self._infer, methods=["POST"]),
            ]
        )

    async def _catalogue(self, _: Request) -> Response:
        entries = tuple(entry(name, batchable=self.batchable) for name in self.models)
        return Response(msgspec.json.encode(Catalogue(pod="fake", workers=self.workers, versions=entries)))

    async def _infer(self, request: Request) -> Response:
        frame, items = decode_request(tensor_specs(INPUTS), await request.body(), int(request.headers[HEADER_LENGTH]))
        model = request.path_params["model"]
        self.calls.append((model, items))
        self.shares.append(request.headers.get(SHARE_HEADER, ""))
        began = asyncio.get_running_loop().time()
        if takes_s := self.takes_s(model, frame.rows):
            await asyncio.sleep(takes_s)
        took_s = asyncio.get_running_loop().time() - began
        head, body = self.answer(model, frame, items)
        headers = {HEADER_LENGTH: str(head), TIMES_HEADER: self.times(took_s).header().decode()}
        return Response(body, headers=headers)

    def answer(
        self, model: str, frame: Frame, items: Sequence[int], errors: Sequence[ItemError] = ()
    ) -> tuple[int, bytes]:
        ((numbers),) = unpack_frame(INPUTS, frame)
        doubled = pack_frame(OUTPUTS, [[2.0 * n for n in numbers]])  # type: ignore[operator,misc]
        return encode_response(model, "1", tensor_specs(OUTPUTS), doubled, items, errors)


class Named(Authenticator):
    """Everybody is who they say."""

    def __init__(self) -> None:
        self._callers: dict[bytes, Caller] = {}
        self.asked = 0

    def recall(self, digest: bytes) -> Caller | None:  # noqa: ARG002  all are known by name
        """Nobody."""
        return None

    async def authenticate(self, authorization: bytes | None) -> Caller:
        self.asked += 1
        name = (authorization or b"").removeprefix(b"Bearer ")
        if name not in self._callers:
            self._callers[name] = Caller(
                "t", name.decode(), "app", "a", frozenset({"score"}), frozenset(), name.decode(), math.inf
            )
        return self._callers[name]


@dataclass
class Running:
    """A gateway that serves."""

    gateway: Gateway
    url: str
    internal_url: str


async def becomes_true(fact: Callable[[], object]) -> None:
    """Lets the event loop run until the fact is one; fails loudly after 20 s."""
    async with asyncio.timeout(20):
        while not fact():  # noqa: ASYNC110  the fact has no event
            await asyncio.sleep(0)


@asynccontextmanager
async def served(app: Any, **options: Any) -> AsyncIterator[str]:
    """An ASGI app on a free port of this process' event loop."""
    sock = serving.listen("127.0.0.1", 0)
    config = uvicorn.Config(
        app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1, **options
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        yield serving.url_of(sock)
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def running(
    folder: Path, *pods: FakePod, policy: Policy | None = None, **settings: Any
) -> AsyncIterator[Running]:
    """The gateway, once it knows the pods' models."""
    key = folder / "key.pem"
    key.write_bytes(OKPKey.generate_key("Ed25519", private=True).as_pem(private=True))
    async with contextlib.AsyncExitStack() as stack:
        for pod in pods:
            pod.url = await stack.enter_async_context(served(pod.app()))
        whole = GatewaySettings(
            scorer_urls=tuple(pod.url for pod in pods),
            internal_key_file=str(key),
            policy_file="unused",
            tenants=("11111111-1111-4111-8111-111111111111",),
            audiences=("a",),
            authority="https://127.0.0.1:9",
            **settings,
        )
        rules = policy or Policy(grants=(GrantRule(models=("*",), role="score"),))
        gateway = Gateway(whole, rules, Parts(authenticator=Named()))
        await gateway.start()
        stack.push_async_callback(gateway.close)
        internal = await stack.enter_async_context(served(gateway.internal))
        url = await stack.enter_async_context(served(gateway.public, http=protocol(gateway)))
        yield Running(gateway, url, internal)
