"""`/v2`: the Open Inference Protocol, JSON and binary tensors, as KServe's and Triton's clients speak it.

Errors are `{"error": …}`, as the protocol says.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.core.contract import Contract
from gateway.core.contract.oip import v2_model_metadata, v2_repository_index, v2_server_metadata
from gateway.core.contract.oip_request import OipRequest
from gateway.core.contract.tokens import Steps
from gateway.middleware.errors import request_id
from gateway.routes.entry import Entry
from gateway.routes.pipeline import Headers, Pipeline
from gateway.routes.reply import reply
from gateway.routes.v1 import Score
from shared.errors import MalformedRequestError, NotFoundError, UnavailableError, UnsupportedMediaTypeError
from shared.messages import HEADER_LENGTH
from shared.wire import Frame

_LENGTH = HEADER_LENGTH.encode()
_LENGTH_DIGITS = 12
_TAKEN = (b"", b"application/json", b"application/octet-stream", b"application/vnd.kserve.binary-tensor-data")


class V2Form:
    """An inference request: JSON, or a JSON header of `Inference-Header-Content-Length` bytes with binary tensors behind it."""

    def content_type(self, headers: dict[bytes, bytes]) -> None:
        """JSON or octets; OIP's clients often name none."""
        if headers.get(b"content-type", b"").split(b";")[0].strip().lower() not in _TAKEN:
            raise UnsupportedMediaTypeError("send application/json, or application/octet-stream with binary tensors")

    def read(self, contract: Contract, body: bytes, headers: dict[bytes, bytes]) -> Steps[tuple[Frame, OipRequest]]:
        """The rows, and the outputs asked for."""
        text = headers.get(_LENGTH)
        length = None
        if text is not None:
            if not text.isdigit() or len(text) > _LENGTH_DIGITS or int(text) > len(body):
                raise MalformedRequestError(
                    "Inference-Header-Content-Length is not the length of a JSON header in the body"
                )
            length = int(text)
        request = yield from contract.parse_v2_steps(body, length, time.perf_counter)
        return request.frame, request

    def write(self, contract: Contract, frame: Frame, asked: OipRequest) -> Steps[tuple[Headers, bytes]]:
        """The answer, binary where binary was asked for."""
        length, body = yield from contract.write_v2_steps(frame, asked)
        if length is None:
            return [(b"content-type", b"application/json")], body
        return [(b"content-type", b"application/octet-stream"), (_LENGTH, str(length).encode())], body


def v2_routes(entry: Entry, pipeline: Pipeline, unready: Callable[[], list[str]]) -> list[Route]:
    """The addresses of `/v2`. Health needs no token; everything else does."""
    infer = Score(pipeline, V2Form())

    async def server(request: Request) -> Response:
        await entry.reader(request)
        return await reply(request, v2_server_metadata())

    async def live(request: Request) -> Response:
        return Response(headers={"X-Request-Id": request_id(request.scope)})

    async def ready(request: Request) -> Response:
        if unready():
            raise UnavailableError("this gateway is not ready to score")
        return Response(headers={"X-Request-Id": request_id(request.scope)})

    async def model(request: Request) -> Response:
        caller = await entry.reader(request)
        name, version = request.path_params["model"], request.path_params.get("version")
        found = entry.model(caller, name)
        wanted = found.default if version is None else version
        if version is not None and version not in found.versions:
            raise NotFoundError(f"model {name!r} has no version {version!r}")
        if wanted is None:
            raise UnavailableError(f"no version of {name!r} is ready to serve by default; name one")
        versions = [v for v, served in found.versions.items() if served.ready]
        return await reply(request, v2_model_metadata(found.versions[wanted].entry, versions))

    async def model_ready(request: Request) -> Response:
        caller = await entry.reader(request)
        asked = entry.authorise(caller, request.path_params["model"], request.path_params.get("version"))
        if not entry.pods.pods.answers(asked.pods()):
            raise UnavailableError("no scorer that has this version answers just now", retry_after_ms=1000)
        return Response(headers={"X-Request-Id": request_id(request.scope)})

    async def index(request: Request) -> Response:
        caller = await entry.reader(request)
        names = entry.policy.listed(caller, entry.index.models)
        entries = [served.entry for name in names for served in entry.index.models[name].versions.values()]
        return await reply(request, v2_repository_index(entries))

    paths = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
    return [
        Route("/v2", server, methods=["GET"]),
        Route("/v2/health/live", live, methods=["GET"]),
        Route("/v2/health/ready", ready, methods=["GET"]),
        Route("/v2/repository/index", index, methods=["POST"]),
        *(Route(path, model, methods=["GET"]) for path in paths),
        *(Route(path + "/ready", model_ready, methods=["GET"]) for path in paths),
        *(Route(path + "/infer", infer, methods=["POST"]) for path in paths),
    ]
