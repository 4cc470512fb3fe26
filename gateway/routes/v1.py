"""`/v1`: rows or columns of JSON in, predictions out; and the catalogue of what the caller may score."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.core.contract import Contract
from gateway.core.contract.catalogue_form import model_form
from gateway.core.contract.tokens import Steps
from gateway.routes.entry import Entry
from gateway.routes.pipeline import Headers, Pipeline
from gateway.routes.reply import reply
from shared.errors import NotFoundError, UnsupportedMediaTypeError
from shared.wire import Frame

_JSON = (b"content-type", b"application/json")


class V1Form:
    """`{"rows": …}` or `{"columns": …}` in, `{"model", "version", "predictions"}` out; of functions `inputs` and `outputs`."""

    def content_type(self, headers: dict[bytes, bytes]) -> None:
        """JSON only, in UTF-8."""
        kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if kind != b"application/json":
            raise UnsupportedMediaTypeError(
                "send JSON, with Content-Type: application/json", headers={"Accept": "application/json"}
            )

    def read(self, contract: Contract, body: bytes, headers: dict[bytes, bytes]) -> Steps[tuple[Frame, None]]:  # noqa: ARG002
        """The rows."""
        return (yield from contract.parse_steps(body, time.perf_counter)), None

    def write(self, contract: Contract, frame: Frame, asked: Any) -> Steps[tuple[Headers, bytes]]:  # noqa: ARG002
        """The answer."""
        return [_JSON], (yield from contract.write_v1_steps(frame))


class Score:
    """An ASGI endpoint for one form, so that nothing is built per request that is not needed."""

    def __init__(self, pipeline: Pipeline, form: Any) -> None:
        self._pipeline = pipeline
        self._form = form

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        return self._pipeline.score(self._form, scope, receive, send)


def v1_routes(entry: Entry, pipeline: Pipeline) -> list[Route]:
    """The addresses of `/v1`."""
    score = Score(pipeline, V1Form())

    async def models(request: Request) -> Response:
        caller = await entry.reader(request)
        names = entry.policy.listed(caller, entry.index.models)
        cards = [model_form(entry.index.models[name]) for name in names]
        return await reply(request, {"models": cards})

    async def model(request: Request) -> Response:
        caller = await entry.reader(request)
        name, version = request.path_params["model"], request.path_params.get("version")
        found = entry.model(caller, name)
        if version is not None and version not in found.versions:
            raise NotFoundError(f"model {name!r} has no version {version!r}")
        return await reply(request, model_form(found, version))

    return [
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/models/{model}", model, methods=["GET"]),
        Route("/v1/models/{model}/versions/{version}", model, methods=["GET"]),
        Route("/v1/models/{model}/score", score, methods=["POST"]),
        Route("/v1/models/{model}/versions/{version}/score", score, methods=["POST"]),
    ]
