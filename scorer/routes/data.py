"""The data port, behind the internal token: the catalogue, OIP v2 about the pod, and the way to `Infer`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from scorer.routes.infer import Infer
from scorer.shell.versions import Versions

_INFER = ("", "v2", "models", "versions", "infer")


class Dispatch:
    """Finds the way to `Infer` by cutting the path; all else goes to Starlette's router, which tries one pattern after another."""

    def __init__(self, infer: ASGIApp, others: ASGIApp) -> None:
        self._infer = infer
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST /v2/models/{model}/versions/{version}/infer`."""
        if scope["type"] == "http" and scope["method"] == "POST":
            parts = scope["path"].split("/")
            if len(parts) == 7 and (*parts[:3], parts[4], parts[6]) == _INFER:
                scope["path_params"] = {"model": parts[3], "version": parts[5]}
                await self._infer(scope, receive, send)
                return
        await self._others(scope, receive, send)


def data_routes(versions: Versions, infer: Infer) -> list[Route]:
    """For gateways, behind the internal token."""

    async def catalogue(request: Request) -> Response:
        body, etag = versions.catalogue()
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers={"ETag": etag})
        return Response(body, media_type="application/json", headers={"ETag": etag})

    async def live(_: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(_: Request) -> Response:
        reasons = versions.not_ready()
        return JSONResponse({"ready": not reasons}, status_code=503 if reasons else 200)

    async def index(_: Request) -> Response:
        return JSONResponse([
            {"name": v.model, "version": v.version, "state": v.state.upper(), "reason": v.reason or ""}
            for v in versions.versions.values()
        ])  # fmt: skip

    return [
        Route("/v2/models/{model}/versions/{version}/infer", infer, methods=["POST"]),
        Route("/internal/catalogue", catalogue, methods=["GET"]),
        Route("/v2/health/live", live, methods=["GET"]),
        Route("/v2/health/ready", ready, methods=["GET"]),
        Route("/v2/repository/index", index, methods=["POST"]),
    ]
